//! Rapid connections that go on while a test changes something, each verified.

use anyhow::{Result, ensure};
use heddle_tests::bed::{Agent, Pod, Process};
use heddle_tests::peer::report::ConnectReport;

use crate::world::{SOON, failures};

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
