//! A few lines of the agents' real `/metrics`, compared with what the client knows that it did.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::cast::Cast;
use super::super::screen::Look;
use super::super::story::Story;
use crate::bed::Metrics;

const REQUESTS: &str = "istio_requests_total";
const ANSWERED: &str = "istio_response_bytes_sum";
const CONNECTIONS: &str = "istio_tcp_connections_opened_total";
/// A request is counted at its end, which the client may see first.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);

/// A metric, the labels that choose its samples, and the further labels that are worth showing.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

const TO_SERVICE: &[(&str, &str)] =
    &[("reporter", "source"), ("source_workload", "client"), ("destination_service_name", "server")];
const SOURCE: &[(&str, &str)] = &[("reporter", "source"), ("source_workload", "client")];
const DESTINATION: &[(&str, &str)] = &[("reporter", "destination"), ("source_workload", "client")];

const ROWS: &[Row<'_>] = &[
    (REQUESTS, TO_SERVICE, &["destination_workload", "response_code", "connection_security_policy"]),
    ("heddle_handshakes_total", &[("side", "client")], &["result", "version", "group"]),
    ("heddle_kernel_events_total", &[("event", "outbound_captured")], &[]),
];

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("metrics", "What the metrics say");
    story.text("From http://127.0.0.1:15020/metrics on node-a; of Istio's labels only some are shown.");
    story.pause();
    let (requests, bytes) = cast.meshed.get();
    let [a, b] = settled(cast, requests as f64)?;
    for row in ROWS {
        show(story, &a, row);
    }
    story.pause();
    let counted = [a.sum(REQUESTS, SOURCE), b.sum(REQUESTS, DESTINATION)];
    story.record("requests", requests);
    story.record("counted", counted);
    story.expect(
        counted == [requests as f64; 2],
        &format!("node-a and node-b counted the client's {requests} requests"),
        || format!("node-a counted {}, node-b {}", counted[0], counted[1]),
    );
    let told = [a.sum(ANSWERED, SOURCE), b.sum(ANSWERED, DESTINATION)];
    story.record("response_bytes", told);
    story.expect(told == [bytes as f64; 2], &format!("and the {bytes} bytes of the answers"), || {
        format!("node-a {}, node-b {}", told[0], told[1])
    });
    let connections = [a.sum(CONNECTIONS, SOURCE), b.sum(CONNECTIONS, DESTINATION)];
    story.expect(connections == [0.0; 2], "and none of them a second time, as a TCP connection", || {
        format!("node-a {}, node-b {}", connections[0], connections[1])
    });
    Ok(())
}

/// Both agents' metrics, once they have counted so many requests of the client or should have.
fn settled(cast: &Cast<'_>, requests: f64) -> Result<[Metrics; 2]> {
    let deadline = Instant::now() + COUNTED_WITHIN;
    loop {
        let (a, b) = (cast.agent_a.agent.metrics()?, cast.agent_b.agent.metrics()?);
        let counted = [a.sum(REQUESTS, SOURCE), b.sum(REQUESTS, DESTINATION)];
        if counted == [requests; 2] || Instant::now() > deadline {
            return Ok([a, b]);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn show(story: &Story, metrics: &Metrics, (name, chosen, shown): &Row<'_>) {
    for sample in metrics.matching(name, chosen) {
        story.plain(&format!("{name:<62}{:>11}", sample.value));
        let names = chosen.iter().map(|(name, _)| *name).chain(shown.iter().copied());
        let labels: Vec<String> =
            names.filter_map(|name| Some(format!("{name}={}", sample.labels.get(name)?))).collect();
        for line in super::super::screen::wrap(&labels.join(" "), 70) {
            story.plain(&story.paint(Look::Faint, &format!("  {line}")));
        }
    }
}
