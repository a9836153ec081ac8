//! The runbook: a section for each alert, of metrics and commands that there are.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use heddle::observe::{AUTHORITY_TABLE, TABLE};

use crate::rules::alerts;

/// What each section has to say, in this order.
const PARTS: [&str; 4] = ["**Meaning.**", "**Impact.**", "**Look.**", "**Remedy.**"];

fn runbook() -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runbook.md");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Title and text of each section.
fn sections(runbook: &str) -> Vec<(&str, &str)> {
    runbook.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect()
}

#[test]
fn every_alert_has_a_section_and_every_section_an_alert() -> Result<()> {
    let runbook = runbook()?;
    let in_runbook: Vec<_> = sections(&runbook).into_iter().map(|(title, _)| title.to_owned()).collect();
    let alerts: Vec<_> = alerts()?.into_iter().map(|alert| alert.alert).collect();
    assert_eq!(in_runbook, alerts, "the sections of docs/runbook.md, and the alerts, in one order");
    Ok(())
}

#[test]
fn every_section_tells_meaning_impact_where_to_look_and_the_remedy() -> Result<()> {
    for (title, text) in sections(&runbook()?) {
        let places: Vec<_> = PARTS.iter().map(|part| text.find(part).unwrap_or(usize::MAX)).collect();
        assert!(places.is_sorted() && !places.contains(&usize::MAX), "{title}: {places:?}");
        let look = &text[places[2]..places[3]];
        assert!(look.contains("```console"), "{title} has no command to look with");
    }
    Ok(())
}

#[test]
fn every_metric_and_command_in_it_exists() -> Result<()> {
    let runbook = runbook()?;
    let metrics: BTreeSet<_> = TABLE.iter().chain(AUTHORITY_TABLE).map(|row| row.name).collect();
    assert!(!runbook.contains("_("), "names of metrics are written out, so that this test can find them");
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut found = 0;
    for word in runbook.split(|char| !is_part(char)) {
        if ["heddle_", "istio_", "process_"].iter().any(|prefix| word.starts_with(prefix)) {
            found += 1;
            assert!(metrics.contains(word) || is_start_of_several(word, &metrics), "there is no metric {word}");
        }
    }
    assert!(found > 20, "{found} metrics");
    for line in runbook.lines().filter_map(|line| line.strip_prefix("# heddle ")) {
        let command = line.split(' ').next().unwrap_or_default();
        assert!(["status", "check", "agent"].contains(&command), "there is no command `heddle {command}`");
    }
    Ok(())
}

/// `grep heddle_crl_` shows all of a family.
fn is_start_of_several(word: &str, metrics: &BTreeSet<&str>) -> bool {
    word.ends_with('_') && metrics.iter().filter(|metric| metric.starts_with(word)).count() > 1
}
