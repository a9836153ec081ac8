//! A scraper as Prometheus is one: the metrics of both agents, whole, every second.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::bed::Node;

const EVERY: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(10);
const METRICS: u16 = 15020;

/// One at work; ended when dropped.
pub(super) struct Scraper {
    end: Sender<()>,
    thread: JoinHandle<Result<usize>>,
}

impl Scraper {
    /// Begins with the agents of these nodes.
    pub(super) fn start(nodes: [Node; 2]) -> Self {
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || {
            let mut scrapes = 0;
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                for node in &nodes {
                    let answer = node.netns().get(([127, 0, 0, 1], METRICS).into(), "/metrics", WITHIN)?;
                    ensure!(answer.status == 200, "a scrape was answered {}", answer.status);
                    scrapes += 1;
                }
            }
            Ok(scrapes)
        });
        Self { end, thread }
    }

    /// Ends it; an error if it did nothing, or was not answered.
    pub(super) fn end(self) -> Result<()> {
        drop(self.end);
        let scrapes =
            self.thread.join().map_err(|_| anyhow!("the scraper panicked"))?.context("scraping the agents")?;
        ensure!(scrapes > 0, "nothing was scraped");
        Ok(())
    }
}
