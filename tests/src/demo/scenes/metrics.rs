//! A few lines of the agents' real `/metrics`, compared with what the client knows that it did.

use anyhow::Result;

use super::super::cast::Cast;
use super::super::screen::Look;
use super::super::story::Story;
use crate::bed::Metrics;

const OPENED: &str = "istio_tcp_connections_opened_total";
const SENT: &str = "istio_tcp_sent_bytes_total";

/// A metric, the labels that choose its samples, and the further labels that are worth showing.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

const TO_SERVICE: &[(&str, &str)] =
    &[("reporter", "source"), ("source_workload", "client"), ("destination_service_name", "server")];
const SOURCE: &[(&str, &str)] = &[("reporter", "source"), ("source_workload", "client")];
const DESTINATION: &[(&str, &str)] = &[("reporter", "destination"), ("source_workload", "client")];

const ROWS: &[Row<'_>] = &[
    (OPENED, TO_SERVICE, &["destination_workload", "connection_security_policy"]),
    ("heddle_handshakes_total", &[("side", "client")], &["result", "version", "group"]),
    ("heddle_kernel_events_total", &[("event", "outbound_captured")], &[]),
];

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("metrics", "What the metrics say");
    story.text("From http://127.0.0.1:15020/metrics on node-a; of Istio's labels only some are shown.");
    story.pause();
    let (a, b) = (cast.agent_a.agent.metrics()?, cast.agent_b.agent.metrics()?);
    for row in ROWS {
        show(story, &a, row);
    }
    story.pause();
    let calls = cast.meshed_calls.get();
    let counted = [a.sum(OPENED, SOURCE), b.sum(OPENED, DESTINATION)];
    story.record("calls", calls);
    story.record("opened", counted);
    story.expect(
        counted == [calls as f64; 2],
        &format!("node-a and node-b counted the client's {calls} calls"),
        || format!("node-a counted {}, node-b {}", counted[0], counted[1]),
    );
    let bytes = [a.sum(SENT, SOURCE), b.sum(SENT, DESTINATION)];
    story.record("sent_bytes", bytes);
    let agree = bytes[0] == bytes[1] && bytes[0] > 0.0;
    story.expect(agree, &format!("and agree on the bytes that it sent: {}", bytes[0]), || {
        format!("node-a {}, node-b {}", bytes[0], bytes[1])
    });
    Ok(())
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
