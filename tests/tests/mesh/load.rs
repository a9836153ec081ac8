//! Rapid connections that go on while a test changes something, each verified.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use heddle_tests::bed::{Agent, Pod, Process};
use heddle_tests::peer::report::ConnectReport;

use crate::world::SOON;

/// Connections made by one process, four at a time, until told to end.
pub(crate) struct Load {
    process: Process,
}

impl Load {
    /// To `serve --ident` at each of the targets in turn.
    pub(crate) fn start(client: &Pod, targets: &str) -> Result<Self> {
        // More than can be made in the time that a test takes.
        let line = format!("connect --to {targets} --count 1000000000 --concurrency 4 --bytes 200 --ident --until-eof");
        Ok(Self { process: client.peer(&line)?.start()? })
    }

    /// Ends it and gives back what became of its connections.
    pub(crate) fn end(mut self) -> Result<ConnectReport> {
        self.process.close_stdin();
        let finished = self.process.wait(SOON * 2)?;
        let last = finished.stdout.last().map_or("", String::as_str);
        let report: ConnectReport = serde_json::from_str(last)?;
        ensure!(report.attempted > 50, "there was no load: {report:?}");
        Ok(report)
    }

    /// Ends it; a connection that failed is an error, which tells what the agents said about failures.
    pub(crate) fn end_without_failure(self, agents: &[&Agent]) -> Result<()> {
        let report = self.end()?;
        ensure!(report.all_good(report.attempted), "{report:?}\n{}", failures(agents)?);
        Ok(())
    }
}

/// What went wrong, each thing once with its count, as the agents saw it.
fn failures(agents: &[&Agent]) -> Result<String> {
    let mut counts = BTreeMap::<String, f64>::new();
    for agent in agents {
        for line in agent.access_log().iter().filter(|line| line["flag"] != "-") {
            *counts.entry(format!("{} {} {}", line["direction"], line["flag"], line["error"])).or_default() += 1.0;
        }
        let metrics = agent.metrics()?;
        for name in ["heddle_refused_connections_total", "heddle_kernel_events_total"] {
            for sample in metrics.matching(name, &[]).filter(|sample| sample.value > 0.0) {
                *counts.entry(format!("{name} {:?}", sample.labels)).or_default() += sample.value;
            }
        }
    }
    Ok(counts.into_iter().map(|(what, count)| format!("  {count} x {what}\n")).collect())
}
