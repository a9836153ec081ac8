//! The dashboard: complete, and of metrics that there are.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use heddle_tests::monitoring::Dashboard;

use crate::expression;
use crate::known::Known;
use crate::promtool::promtool;

#[test]
fn every_panel_has_an_id_of_its_own_a_title_a_unit_and_a_query() -> Result<()> {
    let dashboard = Dashboard::delivered()?;
    let mut ids = BTreeSet::new();
    for panel in &dashboard.panels {
        assert!(ids.insert(panel.id), "the id {} is there twice", panel.id);
        assert!(!panel.title.is_empty(), "panel {} has no title", panel.id);
        if !panel.is_row() {
            assert!(!panel.unit().is_empty(), "{} has no unit", panel.title);
            assert!(!panel.description.is_empty(), "{} says nothing", panel.title);
            assert!(panel.queries() > 0, "{} asks nothing", panel.title);
        }
    }
    let rows = dashboard.panels.iter().filter(|panel| panel.is_row()).count();
    ensure!(rows == 5 && ids.len() > 40, "{rows} rows, {} panels", ids.len());
    Ok(())
}

#[test]
fn it_can_be_narrowed_down_by_data_source_node_namespace_and_workload() -> Result<()> {
    let dashboard = Dashboard::delivered()?;
    let names: Vec<_> = dashboard.variables().iter().map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["datasource", "reporter", "node", "namespace", "workload"]);
    let known = Known::new()?;
    let queries = dashboard.label_queries()?;
    assert_eq!(queries.len(), 3);
    for (selector, label) in queries {
        assert_eq!(known.unknown_in(&selector)?, [""; 0]);
        let read = expression::read(&selector)?;
        assert_eq!(known.unknown_label(&read.selectors[0], &label), [""; 0]);
    }
    Ok(())
}

#[test]
fn every_query_uses_what_there_is() -> Result<()> {
    let (dashboard, known) = (Dashboard::delivered()?, Known::new()?);
    for panel in &dashboard.panels {
        for expression in dashboard.expressions(panel, "5m")? {
            // `.*` stands for what a variable has chosen.
            let unknown: Vec<_> =
                known.unknown_in(&expression)?.into_iter().filter(|it| !it.ends_with("`.*`")).collect();
            assert_eq!(unknown, [""; 0], "{}", panel.title);
        }
    }
    Ok(())
}

#[test]
fn every_query_is_one_that_prometheus_can_read() -> Result<()> {
    let dashboard = Dashboard::delivered()?;
    let (mut rules, mut count) = ("groups:\n  - name: dashboard\n    rules:\n".to_owned(), 0);
    for panel in &dashboard.panels {
        for expression in dashboard.expressions(panel, "5m")? {
            count += 1;
            writeln!(rules, "      - record: panel:{count}\n        expr: '{expression}'")?;
        }
    }
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, rules)?;
    let said = promtool("check rules", &file)?;
    ensure!(said.contains(&format!("{count} rules found")), "{said}");
    Ok(())
}
