//! A real Prometheus scrapes both agents under traffic: what its queries say by workload is what the clients counted.
//!
//! Counters are compared exactly, rates within bounds that follow from the times of the scrapes (`window.rs`).

mod window;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::Node;
use heddle_tests::monitoring::{self, Dashboard};
use heddle_tests::peer::http::report::{Answer, Ask};
use heddle_tests::prometheus::Prometheus;

use self::window::Window;
use crate::http::tools::{Client, Web};
use crate::world::{SOON, eventually};

/// Requests of one round, and how the slow ones of a workload are.
struct Load {
    plain: u32,
    failing: u32,
    slow: u32,
    given_up: u32,
    delay_ms: u32,
}

const OF_CLIENT: Load = Load { plain: 20, failing: 3, slow: 4, given_up: 1, delay_ms: 300 };
const OF_NEAR: Load = Load { plain: 30, failing: 1, slow: 5, given_up: 2, delay_ms: 60 };

/// Of the ranges of Istio's histograms, from the first that any delay is in.
const BOUNDS: [f64; 11] = [25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4];
/// The agent may note the end of a response a moment after the client has it.
const LATER_MS: f64 = 10.0;

/// What a client counted.
#[derive(Default)]
struct Counted {
    answers: Vec<Answer>,
}

impl Counted {
    fn all(&self) -> f64 {
        self.answers.len() as f64
    }

    fn errors(&self) -> f64 {
        self.answers.iter().filter(|answer| answer.status >= 500).count() as f64
    }

    fn without_answer(&self) -> f64 {
        self.answers.iter().filter(|answer| answer.status == 0).count() as f64
    }

    /// The upper bound of the range that holds the 99th percentile of those that were answered.
    fn p99_at_most(&self) -> Result<f64> {
        let answered = self.answers.iter().filter(|answer| answer.status != 0);
        let mut times: Vec<f64> = answered.map(|answer| answer.ms + LATER_MS).collect();
        times.sort_by(f64::total_cmp);
        let rank = (times.len() as f64 * 0.99).ceil() as usize;
        let p99 = times.get(rank.saturating_sub(1)).context("no answer")?;
        BOUNDS.into_iter().find(|bound| p99 <= bound).context("an answer took more than a minute")
    }
}

/// Prometheus, the two agents that it scrapes, and two workloads that send requests to a third.
struct Watched {
    // Before the bed, so that it ends first.
    prometheus: Prometheus,
    web: Web,
    near: Client,
}

impl Watched {
    fn new(name: &str) -> Result<Self> {
        let web = Web::new(name)?;
        let near = Client::of(&web.world.near)?;
        let watch = web.world.bed.node("watch")?;
        let nodes = [web.world.client.node(), web.world.far.node()];
        let prometheus = Prometheus::start(&watch, &nodes, &monitoring::file("alerts.yaml"))?;
        prometheus.wait_scrape()?;
        Ok(Self { prometheus, web, near })
    }

    fn nodes(&self) -> [&Node; 2] {
        [self.web.world.client.node(), self.web.world.far.node()]
    }

    /// One round of both workloads at a time.
    fn round(&mut self, counted: &mut [Counted; 2]) -> Result<()> {
        let asks = [OF_CLIENT, OF_NEAR].map(|load| asks(&self.web, &load));
        let mut begun = Vec::new();
        for (client, asks) in [&mut self.web.client, &mut self.near].into_iter().zip(asks) {
            begun.push(asks.into_iter().map(|ask| client.begin(ask)).collect::<Result<Vec<_>>>()?);
        }
        let clients = [&mut self.web.client, &mut self.near];
        for ((client, begun), counted) in clients.into_iter().zip(begun).zip(counted) {
            for id in begun {
                counted.answers.extend(client.end(id)?);
            }
        }
        Ok(())
    }

    /// Waits until a counter by workload is what was counted, which it must reach and not pass.
    fn wait_counts(&self, what: &str, expression: &str, expected: [f64; 2]) -> Result<()> {
        let mut last = BTreeMap::new();
        let reached = eventually(what, SOON, || {
            last = self.prometheus.by("source_workload", expression, SystemTime::now())?;
            Ok(last == by_workload(expected))
        });
        reached.with_context(|| format!("`{expression}` is {last:?}, and {expected:?} were sent"))
    }
}

fn asks(web: &Web, load: &Load) -> [Ask; 4] {
    let ask = |behave: &str, times: u32| web.get("/").behave(behave).times(times, 2);
    // Over HTTP/1.1 a client that closes may still be reading, so that only the answer finds out.
    let given_up = Ask { timeout_ms: 100, h2: true, ..ask("delay=5000", load.given_up) };
    let slow = ask(&format!("delay={}", load.delay_ms), load.slow);
    [ask("size=100", load.plain), ask("status=500", load.failing), slow, given_up]
}

fn by_workload([client, near]: [f64; 2]) -> BTreeMap<String, f64> {
    BTreeMap::from([("client".to_owned(), client), ("near".to_owned(), near)])
}

fn of_requests(reporter: &str, more: &str) -> String {
    format!("istio_requests_total{{reporter=\"{reporter}\",destination_workload=\"far\"{more}}}")
}

fn sum(of: &str) -> String {
    format!("sum by (source_workload) ({of})")
}

#[test]
fn request_rate_error_rate_and_p99_by_workload_are_what_the_clients_counted() -> Result<()> {
    let mut watched = Watched::new("prometheus")?;
    // Every series is there before the window begins: rate() does not see how a counter came to its first value.
    let mut before = <[Counted; 2]>::default();
    watched.round(&mut before)?;
    watched.wait_counts("all are scraped", &sum(&of_requests("source", "")), before.each_ref().map(Counted::all))?;
    let from = SystemTime::now();
    watched.prometheus.wait_scrape()?;
    let mut counted = <[Counted; 2]>::default();
    for _ in 0..8 {
        watched.round(&mut counted)?;
        std::thread::sleep(Duration::from_millis(500));
    }
    exact_counts(&watched, &before, &counted)?;
    watched.prometheus.wait_scrape()?;
    let window = Window::new(&watched, from)?;
    window.rates(&watched, &counted)?;
    window.latency(&watched, &counted)
}

/// Every request was counted once at each node, the errors as such, and those without an answer too.
fn exact_counts(watched: &Watched, before: &[Counted; 2], counted: &[Counted; 2]) -> Result<()> {
    type Part = (&'static str, fn(&Counted) -> f64);
    let parts: [Part; 3] = [
        ("", Counted::all),
        (",response_code=\"500\"", Counted::errors),
        (",response_code=\"0\",response_flags=\"DC\"", Counted::without_answer),
    ];
    for (more, part) in parts {
        let expected = [0, 1].map(|of| part(&before[of]) + part(&counted[of]));
        ensure!(expected.iter().all(|count| *count > 0.0), "{more}: nothing was sent: {expected:?}");
        for reporter in ["source", "destination"] {
            watched.wait_counts(&format!("{reporter} {more}"), &sum(&of_requests(reporter, more)), expected)?;
        }
    }
    Ok(())
}

/// Panels that stay empty without the objects, documents or programs that this test has not got.
const EMPTY_HERE: [&str; 8] = [
    "gRPC calls by status",
    "Connections opened",
    "Connections that failed",
    "Bytes",
    "Policies at work",
    "Certificate authority",
    "Root of the authority",
    "Watches that are not open",
];

#[test]
fn every_panel_of_the_dashboard_is_answered_and_no_rule_fails() -> Result<()> {
    let mut watched = Watched::new("dashboard")?;
    let mut counted = <[Counted; 2]>::default();
    for _ in 0..2 {
        watched.round(&mut counted)?;
        watched.prometheus.wait_scrape()?;
    }
    let dashboard = Dashboard::delivered()?;
    let mut empty = Vec::new();
    for panel in &dashboard.panels {
        let mut points = 0;
        for expression in dashboard.expressions(panel, "1m")? {
            points += watched.prometheus.query(&expression).with_context(|| panel.title.clone())?.len();
        }
        if points == 0 && !panel.is_row() {
            empty.push(panel.title.as_str());
        }
    }
    assert_eq!(empty, EMPTY_HERE);
    // One that Prometheus has not evaluated yet is `unknown`.
    let mut rules = Vec::new();
    eventually("every rule was evaluated well", SOON, || {
        let groups = watched.prometheus.rules()?;
        rules = groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect();
        Ok(rules.iter().all(|rule| rule["health"] == "ok"))
    })?;
    // Their metrics are NaN here, which is neither above nor below anything.
    for name in ["HeddleRunsOnSavedState", "HeddleRevocationListLate", "HeddleCertificateExpiresSoon"] {
        let rule = rules.iter().find(|rule| rule["name"] == name).with_context(|| format!("no rule {name}"))?;
        assert_eq!(rule["state"], "inactive", "{rule}");
    }
    Ok(())
}
