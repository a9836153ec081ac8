//! A program of the standing load that says how it stands whenever it is asked.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

use crate::bed::{Pod, Process};

/// It only has to read a line and write one, on a machine that may be busy.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const LISTEN_WITHIN: Duration = Duration::from_secs(10);

/// A running program whose reports are of this kind.
pub(super) struct Reporter<T> {
    process: Process,
    report: PhantomData<T>,
}

impl<T: DeserializeOwned> Reporter<T> {
    /// A client: `line` has the words of `heddle-peer`.
    pub(super) fn client(pod: &Pod, line: &str) -> Result<Self> {
        // Whoever starts it ends it; the limit is for when that fails.
        Ok(Self { process: pod.peer(&format!("--deadline 86400 {line}"))?.start()?, report: PhantomData })
    }

    /// A server, which listens when this is back.
    pub(super) fn server(pod: &Pod, line: &str) -> Result<Self> {
        Ok(Self { process: listening(pod, line)?, report: PhantomData })
    }

    /// How it stands.
    pub(super) fn ask(&mut self) -> Result<T> {
        let before = self.process.stdout().len();
        self.process.write_line("report")?;
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            if let Some(line) = self.process.stdout().get(before) {
                return serde_json::from_str(line).with_context(|| format!("the report `{line}`"));
            }
            ensure!(self.process.running()?, "{}", self.process.describe("ended"));
            ensure!(Instant::now() < deadline, "{}", self.process.describe("did not report"));
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Any server of `heddle-peer`, once it listens.
pub(super) fn listening(pod: &Pod, line: &str) -> Result<Process> {
    let mut process = pod.peer(line)?.start()?;
    process.wait_line(LISTEN_WITHIN, |line| line.contains("\"listening\""))?;
    Ok(process)
}
