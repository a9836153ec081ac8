//! Which metrics, labels and label values there are: as the agent declares them, and as the scrape configuration adds to them.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use heddle::observe::{AUTHORITY_TABLE, Kind, MetricSpec, NO_FLAG, ResponseFlag, TABLE, metrics_reference};
use heddle_tests::monitoring;
use serde::Deserialize;

use crate::expression::{self, Expression, Selector};

/// What Prometheus itself says of every target.
const OF_EVERY_TARGET: &str = "up";

#[derive(Deserialize)]
struct Scraping {
    scrape_configs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    job_name: String,
    relabel_configs: Vec<Relabel>,
}

#[derive(Deserialize)]
struct Relabel {
    target_label: Option<String>,
}

/// All that expressions can use.
pub(crate) struct Known {
    jobs: Vec<Job>,
    reference: String,
}

impl Known {
    pub(crate) fn new() -> Result<Self> {
        let text = std::fs::read_to_string(monitoring::file("prometheus.yaml"))?;
        let scraping: Scraping = serde_saphyr::from_str(&text).context("prometheus.yaml")?;
        Ok(Self { jobs: scraping.scrape_configs, reference: metrics_reference() })
    }

    /// What an expression uses that is not there; nothing where all is well.
    pub(crate) fn unknown_in(&self, text: &str) -> Result<Vec<String>> {
        let Expression { selectors, groupings } = expression::read(text)?;
        let mut unknown: Vec<_> = selectors.iter().flat_map(|selector| self.unknown_in_selector(selector)).collect();
        for grouping in &groupings {
            for selector in &selectors[grouping.over.clone()] {
                unknown.extend(grouping.labels.iter().flat_map(|label| self.unknown_label(selector, label)));
            }
        }
        Ok(unknown)
    }

    fn unknown_in_selector(&self, selector: &Selector) -> Vec<String> {
        let labels = selector.matchers.iter().flat_map(|matcher| self.unknown_label(selector, &matcher.label));
        let values = selector.matchers.iter().flat_map(|matcher| {
            let closed = selector.names.iter().find_map(|name| self.closed_values(name, &matcher.label));
            let is_known = move |value: &&str| closed.as_ref().is_none_or(|closed| closed.iter().any(|it| it == value));
            let unknown = matcher.values().into_iter().filter(move |value| !is_known(value));
            unknown.map(|value| format!("{}: {} is never `{value}`", selector.names.join("|"), matcher.label))
        });
        labels.chain(values).collect()
    }

    /// What is wrong with a label of a selector, if anything.
    pub(crate) fn unknown_label(&self, selector: &Selector, label: &str) -> Vec<String> {
        let wrong = |name: &String| match self.labels(selector, name) {
            Err(error) => Some(format!("{name}: {error:#}")),
            Ok(labels) => (!labels.contains(label)).then(|| format!("{name} has no label {label}")),
        };
        selector.names.iter().filter_map(wrong).collect()
    }

    fn labels(&self, selector: &Selector, name: &str) -> Result<BTreeSet<String>> {
        // Which table has the metric depends on the job; without one, a metric that both have would be added up.
        let job = selector.matchers.iter().find(|matcher| matcher.label == "job" && matcher.operator == "=");
        let job = &job.context("the selector does not say which job")?.value;
        let of_job = self.jobs.iter().find(|it| it.job_name == *job).context("there is no such job")?;
        let table = if job == "heddle" { TABLE } else { AUTHORITY_TABLE };
        let of_target = of_job.relabel_configs.iter().filter_map(|relabel| relabel.target_label.clone());
        let of_target = of_target.chain(["job", "instance"].map(str::to_owned));
        let own = if name == OF_EVERY_TARGET { Vec::new() } else { series(table, name)? };
        Ok(own.into_iter().map(str::to_owned).chain(of_target).collect())
    }

    /// The values of a label, where the agent has a closed list of them.
    fn closed_values(&self, name: &str, label: &str) -> Option<Vec<String>> {
        match label {
            "response_flags" => {
                let flags = ResponseFlag::ALL.into_iter().map(ResponseFlag::as_str).chain([NO_FLAG]);
                return Some(flags.map(str::to_owned).collect());
            }
            "reporter" => return Some(["source", "destination"].map(str::to_owned).to_vec()),
            _ => {}
        }
        self.reference.lines().find_map(|line| {
            let cells: Vec<_> = line.trim_matches(['|', ' ']).split(" | ").collect();
            let [names, of, values] = cells[..] else { return None };
            let is_it = of == label && names.split(", ").any(|it| it == name);
            is_it.then(|| values.split(", ").map(|value| value.trim_matches('`').to_owned()).collect())
        })
    }
}

/// The labels of a series that a table makes. A histogram makes three kinds of them, and none of its own name.
fn series(table: &[MetricSpec], name: &str) -> Result<Vec<&'static str>> {
    let row = |name: &str, is_histogram: bool| {
        table.iter().find(|row| row.name == name && (row.kind == Kind::Histogram) == is_histogram)
    };
    let part = |ending: &str| name.strip_suffix(ending).and_then(|name| row(name, true));
    if let Some(row) = row(name, false).or(part("_sum")).or(part("_count")) {
        return Ok(row.labels.to_vec());
    }
    let row = part("_bucket").context("there is no such metric")?;
    Ok(row.labels.iter().copied().chain(["le"]).collect())
}

#[test]
fn what_is_not_there_is_told() {
    let known = Known::new().unwrap();
    for (expression, problem) in [
        ("up{job=\"heddle\",node=\"a\"}", None),
        ("heddle_ca_pods{job=\"heddle-ca\"}", None),
        ("sum by (le, node) (rate(heddle_detection_seconds_bucket{job=\"heddle\"}[5m]))", None),
        ("heddle_enrolled_pod{job=\"heddle\"}", Some("no such metric")),
        ("heddle_ca_pods{job=\"heddle\"}", Some("no such metric")),
        ("heddle_detection_seconds{job=\"heddle\"}", Some("no such metric")),
        ("heddle_enrolled_pods_bucket{job=\"heddle\"}", Some("no such metric")),
        ("heddle_enrolled_pods{job=\"heddle\",zone=\"a\"}", Some("no label zone")),
        ("sum by (zone) (heddle_enrolled_pods{job=\"heddle\"})", Some("no label zone")),
        ("sum(heddle_enrolled_pods{job=\"heddle\"}) without (zone)", Some("no label zone")),
        ("sum by (le) (heddle_enrolled_pods{job=\"heddle\"})", Some("no label le")),
        ("heddle_certificates{job=\"heddle\",state=\"fine\"}", Some("never `fine`")),
        ("heddle_certificates{job=\"heddle\",state=~\"valid|fine\"}", Some("never `fine`")),
        ("istio_requests_total{job=\"heddle\",response_flags!=\"XX\"}", Some("never `XX`")),
        ("up{job=\"hedle\"}", Some("no such job")),
        ("sum by (node) (process_open_fds)", Some("which job")),
    ] {
        let unknown = known.unknown_in(expression).unwrap();
        match problem {
            None => assert_eq!(unknown, [""; 0], "{expression}"),
            Some(problem) => assert!(unknown.iter().any(|it| it.contains(problem)), "{expression}: {unknown:?}"),
        }
    }
}
