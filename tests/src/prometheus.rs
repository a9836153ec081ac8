//! A real Prometheus, Debian's package, on a node of a bed: scrapes agents every second and answers queries.
//!
//! It runs in the node's network namespace, listens on its loopback, and keeps its data in the bed's directory, so that all of
//! it goes with the bed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::bed::{Node, Process};

const AT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
const METRICS: u16 = 15020;
/// The labels of a target, as the scrape configuration in `deploy/monitoring` gives them.
const JOB: &str = "heddle";
/// To start, and to do a scrape that is due every second, on a machine that is busy with other tests.
const WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A running Prometheus; killed when dropped.
pub struct Prometheus {
    node: Node,
    process: Process,
    targets: usize,
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Prometheus {
    /// Starts it on a node, to scrape the agents of other nodes and evaluate the rules of a file.
    pub fn start(on: &Node, agents: &[&Node], rules: &Path) -> Result<Self> {
        let directory = on.directory().join("prometheus");
        std::fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
        let file = configure(&directory, agents, rules)?;
        let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
        let launch = on.command("prometheus")?.arg(option("config.file", &file));
        let launch = launch.arg(option("storage.tsdb.path", &directory.join("data")));
        let process = launch.words(&format!("--web.listen-address={AT} --log.level=warn")).start()?;
        let mut prometheus = Self { node: on.clone(), process, targets: agents.len() };
        prometheus.wait_ready()?;
        Ok(prometheus)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        while !self.node.netns().get(AT, "/-/ready", ANSWER_WITHIN).is_ok_and(|answer| answer.status == 200) {
            let runs = self.process.running()?;
            ensure!(
                runs,
                "{}",
                self.process.describe("ended at once; `cargo xtask setup --with-test-tools` installs it")
            );
            ensure!(Instant::now() < deadline, "{}", self.process.describe("was not ready in time"));
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits until every agent was scraped once more, so that what has happened before now is known.
    pub fn wait_scrape(&self) -> Result<()> {
        let (now, deadline) = (seconds(SystemTime::now()), Instant::now() + WITHIN);
        let up = format!("up{{job=\"{JOB}\"}}");
        let scraped = format!("count(timestamp({up}) > {now} and on (instance) {up} == 1)");
        loop {
            let count = self.query(&scraped)?.first().map_or(0.0, |point| point.value);
            if count == self.targets as f64 {
                return Ok(());
            }
            let matter = format!("has scraped {count} of {} agents", self.targets);
            ensure!(Instant::now() < deadline, "{}", self.process.describe(&matter));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What an expression comes to now.
    pub fn query(&self, expression: &str) -> Result<Vec<Point>> {
        self.query_at(expression, SystemTime::now())
    }

    /// What it comes to at a time.
    pub fn query_at(&self, expression: &str, time: SystemTime) -> Result<Vec<Point>> {
        let answer = self.ask("query", &[("query", expression), ("time", &seconds(time).to_string())])?;
        let kind = answer["resultType"].as_str().unwrap_or_default();
        ensure!(kind == "vector", "`{expression}` gives a {kind}");
        let series: Vec<Series> = typed(&answer["result"])?;
        series.into_iter().map(Series::point).collect()
    }

    /// The same by the value of a label; two series with one value are an error.
    pub fn by(&self, label: &str, expression: &str, time: SystemTime) -> Result<BTreeMap<String, f64>> {
        let mut by = BTreeMap::new();
        for point in self.query_at(expression, time)? {
            let value = point.labels.get(label).with_context(|| format!("no {label} in {point:?}"))?;
            ensure!(by.insert(value.clone(), point.value).is_none(), "several series of {value} in `{expression}`");
        }
        Ok(by)
    }

    /// The times of the scrapes of a node's agent between two times, in seconds since 1970.
    pub fn scrapes(&self, of: &Node, from: SystemTime, to: SystemTime) -> Result<Vec<f64>> {
        let window = to.duration_since(from)?.as_millis();
        let up = format!("up{{job=\"{JOB}\",node=\"{}\"}}[{window}ms]", of.name());
        let answer = self.ask("query", &[("query", &up), ("time", &seconds(to).to_string())])?;
        let values: Vec<(f64, String)> = typed(&answer["result"][0]["values"])?;
        Ok(values.into_iter().map(|(time, _)| time).collect())
    }

    /// The groups of rules as it has them.
    pub fn rules(&self) -> Result<Vec<Value>> {
        typed(&self.ask("rules", &[])?["groups"])
    }

    fn ask(&self, what: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let answer = self.node.netns().get(AT, &format!("/api/v1/{what}?{}", query.join("&")), ANSWER_WITHIN)?;
        let text = answer.text();
        let mut value: Value = serde_json::from_str(&text).with_context(|| format!("{}: {text}", answer.status))?;
        ensure!(value["status"] == "success", "{parameters:?}: {value}");
        Ok(value["data"].take())
    }
}

#[derive(serde::Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Series {
    fn point(self) -> Result<Point> {
        let value = match self.value.1.as_str() {
            "+Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number.parse().with_context(|| format!("`{number}` is no number"))?,
        };
        Ok(Point { labels: self.metric, value })
    }
}

fn configure(directory: &Path, agents: &[&Node], rules: &Path) -> Result<PathBuf> {
    let target = |node: &&Node| json!({"targets": [SocketAddr::from((node.wire_v4(), METRICS))], "labels": {"node": node.name()}});
    let config = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{"job_name": JOB, "static_configs": agents.iter().map(target).collect::<Vec<_>>()}],
    });
    let file = directory.join("prometheus.yaml");
    // JSON is YAML.
    std::fs::write(&file, config.to_string()).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

fn typed<T: DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).with_context(|| format!("Prometheus answered {value}"))
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
