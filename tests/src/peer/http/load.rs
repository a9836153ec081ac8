//! `heddle-peer http-load`: requests one after the other on each of some connections, until standard input ends; a
//! line there asks how it stands.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::client::one;
use super::patterned;
use super::report::{Answer, Ask, LoadReport};
use crate::peer::print;
use crate::peer::report::{Quantiles, Receipt};

/// Samples of durations that are kept.
const SAMPLES: usize = 1 << 20;
/// Descriptions of what went wrong that are kept.
const EXAMPLES: usize = 5;

#[derive(Args)]
pub(crate) struct HttpLoad {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// In HTTP/2.
    #[arg(long)]
    h2: bool,
    /// The Host header.
    #[arg(long)]
    host: Option<String>,
    /// The method.
    #[arg(long, default_value = "GET")]
    method: String,
    /// The target.
    #[arg(long, default_value = "/")]
    target: String,
    /// What the server is told.
    #[arg(long)]
    behave: Option<String>,
    /// Bytes of the body.
    #[arg(long, default_value_t = 0)]
    body_bytes: u64,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    concurrency: u32,
    /// A connection is used for so many requests.
    #[arg(long, default_value_t = 50)]
    per_connection: u32,
    /// Milliseconds between two requests on a connection.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// What the server saw has to be of one generation: a path that begins with `/gN/` and a header `x-generation: N`.
    #[arg(long)]
    agree: bool,
    /// The server sends the body back (`--behave echo`): what comes has to be what was sent.
    #[arg(long)]
    echoed: bool,
}

#[derive(Default)]
struct Found {
    report: LoadReport,
    latency: Vec<u64>,
    generations: BTreeSet<String>,
}

/// Runs until standard input ends.
pub(crate) fn run(load: &HttpLoad) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(until_told(load))
}

async fn until_told(load: &HttpLoad) -> Result<()> {
    let (begin, ended, found) = (Instant::now(), Arc::new(AtomicBool::new(false)), Arc::new(Mutex::<Found>::default()));
    let mut ask = Ask {
        h2: load.h2,
        host: load.host.clone(),
        body_bytes: load.body_bytes,
        ..Ask::to(load.to).target(&load.target).method(&load.method)
    };
    if let Some(behave) = &load.behave {
        ask = ask.behave(behave);
    }
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..load.concurrency {
        let (ask, ended, found) = (ask.clone(), Arc::clone(&ended), Arc::clone(&found));
        let (agree, pause, per_connection) = (load.agree, Duration::from_millis(load.pause_ms), load.per_connection);
        let echoed = load.echoed.then(|| patterned(load.body_bytes));
        asking.spawn(async move {
            let (mut link, mut used) = (None, 0);
            while !ended.load(Ordering::Relaxed) {
                if used == per_connection {
                    (link, used) = (None, 0);
                }
                used += 1;
                let answer = one(&ask, &mut link).await;
                found.lock().note(&answer, agree, echoed.as_ref());
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        });
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while lines.next_line().await?.is_some() {
        let report = found.lock().report.clone();
        print(&report)?;
    }
    ended.store(true, Ordering::Relaxed);
    asking.join_all().await;
    let found = std::mem::take(&mut *found.lock());
    let mut report = found.report;
    report.generations = found.generations.len() as u64;
    report.latency_us = Quantiles::of(found.latency);
    report.seconds = begin.elapsed().as_secs_f64();
    print(&report)
}

impl Found {
    fn note(&mut self, answer: &Answer, agree: bool, echoed: Option<&Receipt>) {
        self.report.attempted += 1;
        if self.latency.len() < SAMPLES {
            self.latency.push((answer.ms * 1e3) as u64);
        }
        if let Some(error) = &answer.error {
            *self.report.failures.entry(error.clone()).or_default() += 1;
            return self.example(format!("{error} after {:.1} ms", answer.ms));
        }
        let server = answer.header("x-server").unwrap_or_default();
        *self.report.answers.entry(format!("{} {server}", answer.status)).or_default() += 1;
        if answer.status >= 500 {
            self.example(format!("{}: {:?} {}", answer.status, answer.headers, answer.body));
        }
        if let Some(sent) = echoed
            && answer.status == 200
            && answer.received.as_ref() != Some(sent)
        {
            self.report.mixed += 1;
            self.example(format!("{sent:?} was sent, and {:?} came back", answer.received));
        }
        if agree && answer.status == 200 {
            self.compare(answer);
        }
    }

    /// Whether the server saw the path and the header of one generation.
    fn compare(&mut self, answer: &Answer) {
        let seen = answer.seen().unwrap_or_default();
        let by_path = seen.target.strip_prefix("/g").and_then(|rest| rest.split('/').next()).unwrap_or("none");
        let by_header = seen.header("x-generation").unwrap_or_default();
        let by_response = answer.header("x-generation").unwrap_or_default();
        if by_path != by_header || by_path != by_response {
            self.report.mixed += 1;
            self.example(format!("path {by_path}, header {by_header}, response {by_response}"));
        }
        self.generations.insert(by_path.to_owned());
    }

    fn example(&mut self, text: String) {
        if self.report.examples.len() < EXAMPLES {
            self.report.examples.push(text);
        }
    }
}
