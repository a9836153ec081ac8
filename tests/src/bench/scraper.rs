//! A scraper as Prometheus is one: the metrics of each agent, whole, once a second, not of both at the same moment.
//! What it does with them would be done by another machine: it reads them and throws them away.

use std::io::{BufReader, Read, Write, copy, sink};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::bed::Node;

const EVERY: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(10);
const METRICS: u16 = 15020;
const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n";
const ANSWERED: &[u8] = b"HTTP/1.1 200 ";
/// Of the socket, at once.
const READ: usize = 256 << 10;

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
            let mut next = nodes.iter().cycle();
            while ended.recv_timeout(EVERY / nodes.len() as u32) == Err(RecvTimeoutError::Timeout) {
                next.next().map_or(Ok(()), scrape)?;
                scrapes += 1;
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

fn scrape(node: &Node) -> Result<()> {
    let agent = SocketAddr::from(([127, 0, 0, 1], METRICS));
    let mut stream = node.netns().run(|| Ok(TcpStream::connect_timeout(&agent, WITHIN)?))?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.write_all(REQUEST)?;
    let mut answer = BufReader::with_capacity(READ, stream);
    let mut status = [0; ANSWERED.len()];
    answer.read_exact(&mut status)?;
    ensure!(status == ANSWERED, "a scrape was answered {}", String::from_utf8_lossy(&status));
    copy(&mut answer, &mut sink())?;
    Ok(())
}
