//! The test's own hand on a `heddle-peer http`: orders go in by its standard input, and what came of them comes out.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::report::{Answer, Ask, Done, Order, Raw, RawAnswer, What};
use crate::bed::{Pod, Process};

/// Longer than any order's own limits.
const DONE_WITHIN: Duration = Duration::from_secs(100);

/// A `heddle-peer http` in a pod.
pub struct Client {
    process: Process,
    next: u64,
}

impl Client {
    /// Starts it.
    pub fn of(pod: &Pod) -> Result<Self> {
        Ok(Self { process: pod.peer("http --deadline 900")?.start()?, next: 0 })
    }

    /// One request and what came of it.
    pub fn ask(&mut self, ask: Ask) -> Result<Answer> {
        self.all(ask)?.pop().context("no answer to an order")
    }

    /// All requests of an order.
    pub fn all(&mut self, ask: Ask) -> Result<Vec<Answer>> {
        let id = self.begin(ask)?;
        self.end(id)
    }

    /// Begins with an order; others may follow before its end.
    pub fn begin(&mut self, ask: Ask) -> Result<u64> {
        self.order(What::Ask(ask))
    }

    /// Waits for the end of an order.
    pub fn end(&mut self, id: u64) -> Result<Vec<Answer>> {
        Ok(self.done(id)?.answers)
    }

    /// Sends bytes, and reads until the other end closes or so much time has passed.
    pub fn raw(&mut self, to: SocketAddr, bytes: &str, wait_ms: u64) -> Result<RawAnswer> {
        self.pieces(Raw { to, pieces: vec![bytes.to_owned()], pause_ms: 0, wait_ms, until: None })
    }

    /// Sends bytes piece by piece.
    pub fn pieces(&mut self, raw: Raw) -> Result<RawAnswer> {
        let id = self.begin_raw(raw)?;
        self.end_raw(id)
    }

    /// Begins to send bytes piece by piece.
    pub fn begin_raw(&mut self, raw: Raw) -> Result<u64> {
        self.order(What::Raw(raw))
    }

    /// Waits for the end of that.
    pub fn end_raw(&mut self, id: u64) -> Result<RawAnswer> {
        self.done(id)?.raw.context("no answer to raw bytes")
    }

    fn order(&mut self, what: What) -> Result<u64> {
        self.next += 1;
        self.process.write_line(&serde_json::to_string(&Order { id: self.next, what })?)?;
        Ok(self.next)
    }

    fn done(&mut self, id: u64) -> Result<Done> {
        let begin = format!("{{\"id\":{id},");
        let line = self.process.wait_line(DONE_WITHIN, |line| line.starts_with(&begin))?;
        Ok(serde_json::from_str(&line)?)
    }
}
