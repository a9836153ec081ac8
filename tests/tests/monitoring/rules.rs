//! The alerts: complete, of metrics that there are, tested, and the same for the Prometheus operator.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use heddle_tests::monitoring;
use serde::Deserialize;
use serde_json::Value;

use crate::known::Known;
use crate::promtool::promtool;

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

/// An alert of `alerts.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alert {
    pub(crate) alert: String,
    pub(crate) expr: String,
    r#for: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// All that are delivered.
pub(crate) fn alerts() -> Result<Vec<Alert>> {
    let text = fs::read_to_string(monitoring::file("alerts.yaml"))?;
    let Groups { groups } = serde_saphyr::from_str(&text).context("alerts.yaml")?;
    let alerts: Vec<_> = groups.into_iter().flat_map(|group| group.rules).collect();
    ensure!(!alerts.is_empty(), "no alerts");
    Ok(alerts)
}

fn test_files() -> Result<Vec<PathBuf>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring");
    let files = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files)
}

#[test]
fn every_alert_uses_what_there_is() -> Result<()> {
    let known = Known::new()?;
    for alert in alerts()? {
        assert_eq!(known.unknown_in(&alert.expr)?, [""; 0], "{}", alert.alert);
    }
    Ok(())
}

#[test]
fn every_alert_waits_has_a_severity_and_says_what_is_the_matter() -> Result<()> {
    let mut names = BTreeSet::new();
    for Alert { alert, r#for, labels, annotations, .. } in alerts()? {
        assert!(alert.starts_with("Heddle") && names.insert(alert.clone()), "{alert}: its name");
        assert!(r#for.trim_end_matches(['m', 'h']).parse::<u32>()? > 0, "{alert} waits for {}", r#for);
        assert!(matches!(labels["severity"].as_str(), "critical" | "warning"), "{alert}: {labels:?}");
        for text in ["summary", "description"] {
            let text = annotations.get(text).with_context(|| format!("{alert} has no {text}"))?;
            assert!(text.ends_with('.'), "{alert}: {text}");
        }
        assert_eq!(annotations["runbook_url"], format!("docs/runbook.md#{}", alert.to_lowercase()));
        assert_eq!((labels.len(), annotations.len()), (1, 3), "{alert}");
    }
    Ok(())
}

#[test]
fn prometheus_takes_the_rules_and_the_scrape_configuration() -> Result<()> {
    let said = promtool("check rules --lint=all --lint-fatal", &monitoring::file("alerts.yaml"))?;
    ensure!(said.contains(&format!("{} rules found", alerts()?.len())), "{said}");
    // Debian builds Prometheus without the discovery of pods: it gets a target of another kind in its place.
    let text = fs::read_to_string(monitoring::file("prometheus.yaml"))?;
    let other = text.replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: [{targets: [\"a:1\"]}]");
    let directory = tempfile::tempdir()?;
    fs::copy(monitoring::file("alerts.yaml"), directory.path().join("alerts.yaml"))?;
    let file = directory.path().join("prometheus.yaml");
    fs::write(&file, other)?;
    let said = promtool("check config", &file)?;
    ensure!(said.contains("is valid prometheus config file"), "{said}");
    Ok(())
}

#[test]
fn every_alert_fires_when_it_should_and_is_silent_when_it_should() -> Result<()> {
    for file in test_files()? {
        promtool("test rules", &file)?;
    }
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in test_files()? {
        let text = fs::read_to_string(&file)?;
        let cases: Value = serde_saphyr::from_str(&text).with_context(|| file.display().to_string())?;
        for case in cases["tests"].as_array().context("no tests")? {
            for expected in case["alert_rule_test"].as_array().context("a test of nothing")? {
                let name = expected["alertname"].as_str().context("a test of no alert")?.to_owned();
                let none = expected["exp_alerts"].as_array().is_none_or(Vec::is_empty);
                if none {
                    silent.insert(name)
                } else {
                    fires.insert(name)
                };
            }
        }
    }
    let names: BTreeSet<_> = alerts()?.into_iter().map(|alert| alert.alert).collect();
    assert_eq!(names, fires, "alerts, and those that a test sees firing");
    assert_eq!(names, silent, "alerts, and those that a test sees silent");
    Ok(())
}

/// The head of the manifest; its rest is `alerts.yaml`.
const MANIFEST: &str = "\
# For the Prometheus operator. Made from alerts.yaml; do not edit. Make it again with
# `HEDDLE_BLESS=1 cargo test -p heddle-tests --test monitoring operator`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: heddle
  labels: {app.kubernetes.io/name: heddle}
spec:
";

#[test]
fn the_operator_gets_the_same_rules() -> Result<()> {
    let path = monitoring::file("prometheusrule.yaml");
    let text = fs::read_to_string(monitoring::file("alerts.yaml"))?;
    if std::env::var_os("HEDDLE_BLESS").is_some() {
        let groups = &text[text.find("groups:").context("no groups")?..];
        let indented = groups.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
        fs::write(&path, MANIFEST.to_owned() + &indented.collect::<String>())?;
    }
    let rules: Value = serde_saphyr::from_str(&text)?;
    let manifest: Value = serde_saphyr::from_str(&fs::read_to_string(&path)?)?;
    assert_eq!(manifest["kind"], "PrometheusRule");
    assert!(
        manifest["spec"] == rules,
        "prometheusrule.yaml is not alerts.yaml: its first lines tell how to make it again"
    );
    Ok(())
}
