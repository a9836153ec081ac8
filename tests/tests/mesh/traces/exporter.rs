//! Collectors that are gone, slow, or not who they should be: requests notice nothing, and spans are counted.

use std::time::{Duration, Instant};

use anyhow::Result;
use heddle_tests::bed::Agent;
use heddle_tests::collector::{Collector, Mood};
use serde_json::json;

use super::{Traced, eventually, watched, within};
use crate::world::SOON;

/// A batch waits for at most five seconds between two tries.
const AFTER_A_PAUSE: Duration = Duration::from_secs(20);

fn dropped(agent: &Agent, reason: &str) -> Result<f64> {
    Ok(agent.metrics()?.sum("heddle_spans_dropped_total", &[("reason", reason)]))
}

#[test]
fn spans_wait_for_a_collector_that_is_gone_or_busy() -> Result<()> {
    for protocol in ["grpc", "http"] {
        let mut traced = Traced::new("traces-gone", protocol, 100.0)?;
        traced.collector.go_down();
        for _ in 0..10 {
            traced.web.seen(traced.web.get("/"))?;
        }
        traced.web.world.a.wait_metrics("exports fail", SOON, |metrics| {
            metrics.sum("heddle_span_exports_total", &[("result", "unreachable")]) > 0.0
        })?;
        traced.collector.come_back()?;
        traced.collector.wait("all spans", AFTER_A_PAUSE, |spans| spans.len() == 20)?;
        traced.collector.forget();

        traced.collector.set_mood(Mood::Busy);
        for _ in 0..10 {
            traced.web.seen(traced.web.get("/"))?;
        }
        eventually("exports are refused for now", SOON, || Ok(traced.collector.keys().len() >= 2))?;
        traced.collector.set_mood(Mood::Takes);
        traced.collector.wait("all spans", AFTER_A_PAUSE, |spans| spans.len() == 20)?;
        for agent in [&traced.web.world.a, &traced.web.world.b] {
            assert_eq!(agent.metrics()?.sum("heddle_spans_dropped_total", &[]), 0.0, "{protocol}");
            assert_eq!(agent.metrics()?.sum("heddle_spans_exported_total", &[]), 20.0, "{protocol}");
        }
    }
    Ok(())
}

#[test]
fn spans_that_the_collector_does_not_want_are_counted_and_not_sent_again() -> Result<()> {
    for protocol in ["grpc", "http"] {
        let mut traced = Traced::new("traces-refused", protocol, 100.0)?;
        traced.collector.set_mood(Mood::Refuses);
        traced.web.seen(traced.web.get("/"))?;
        for agent in [&traced.web.world.a, &traced.web.world.b] {
            eventually("the span is counted", SOON, || Ok(dropped(agent, "refused")? == 1.0))?;
        }
        assert_eq!(traced.collector.keys().len(), 2, "one try each");
        traced.collector.set_mood(Mood::Takes);
        traced.web.seen(traced.web.get("/"))?;
        traced.pair()?;
    }
    Ok(())
}

#[test]
fn a_collector_that_never_answers_costs_spans_and_neither_requests_nor_memory() -> Result<()> {
    let mut traced = Traced::new("traces-silent", "grpc", 100.0)?;
    traced.collector.set_mood(Mood::Silent);
    // One batch is under way, and 8192 spans may wait.
    const REQUESTS: u32 = 11_000;
    let answers = traced.web.client.all(traced.web.get("/").times(REQUESTS, 8))?;
    let failed: Vec<_> = answers.iter().filter(|answer| answer.status != 200 || answer.ms > 5_000.0).collect();
    assert_eq!((answers.len(), failed.len()), (REQUESTS as usize, 0), "{:?}\n{}", failed.first(), traced.web.said()?);
    for agent in [&traced.web.world.a, &traced.web.world.b] {
        let metrics = agent.metrics()?;
        let queued = metrics.sum("heddle_spans_queued", &[]);
        assert!(queued <= 8192.0, "{queued}");
        assert!(dropped(agent, "queue_full")? > 0.0);
        // All that are not under way; those of a batch that was given up are lost, too.
        let lost = agent.metrics()?.sum("heddle_spans_dropped_total", &[]);
        assert!(queued + lost + 512.0 >= f64::from(REQUESTS), "{queued} wait, {lost} are lost");
    }
    // The agent's end waits for the collector no longer than it may.
    let began = Instant::now();
    traced.web.world.a.terminate(Duration::from_secs(20))?;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    Ok(())
}

#[test]
fn an_agent_that_ends_tells_its_last_spans() -> Result<()> {
    let mut traced = Traced::new("traces-last", "http", 100.0)?;
    for number in 1..=3 {
        traced.web.seen(traced.web.get("/"))?;
        traced.web.world.b.terminate(Duration::from_secs(20))?;
        let is_last = |span: &heddle_tests::collector::Seen| span.kind == "Server";
        let spans = traced.collector.spans();
        assert_eq!(spans.iter().filter(|span| is_last(span)).count(), number, "{spans:#?}");
        traced.web.world.b.restart()?;
        crate::world::enrolled(&traced.web.world.b, 1)?;
    }
    Ok(())
}

#[test]
fn a_collector_has_to_prove_who_it_is_and_gets_its_key() -> Result<()> {
    for protocol in ["grpc", "http"] {
        let (bed, node) = watched("traces-tls")?;
        let (collector, root) = Collector::start_tls(&node)?;
        let roots = bed.directory().join("collector.pem");
        // Of another authority, at first.
        std::fs::write(&roots, Collector::other_root()?)?;
        let otlp = json!({
            "endpoint": format!("https://{}", collector.address()), "protocol": protocol, "roots": roots,
            "headers": {"authorization": "Bearer secret"},
        });
        let mut traced = Traced { web: within(bed, &otlp, 100.0)?, collector };
        traced.web.seen(traced.web.get("/"))?;
        traced.web.world.a.wait_metrics("it is not believed", SOON, |metrics| {
            metrics.sum("heddle_span_exports_total", &[("result", "tls")]) > 0.0
        })?;
        assert_eq!(traced.collector.keys(), []);
        // Roots are read for each connection.
        std::fs::write(&roots, root)?;
        traced.collector.wait("both spans", AFTER_A_PAUSE, |spans| spans.len() == 2)?;
        assert!(traced.collector.keys().iter().all(|key| key.as_deref() == Some("Bearer secret")));
        assert!(!traced.web.world.a.config_json()?.to_string().contains("secret"));
    }
    Ok(())
}
