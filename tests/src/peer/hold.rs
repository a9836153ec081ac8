//! `heddle-peer hold`: connections that stay open and exchange a few bytes now and then, to see what disturbs them.
//!
//! Prints a report once all are open and each was answered for the first time or broke, whenever a line comes on standard
//! input, and at its end (SIGTERM or end of input).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::report::HoldReport;
use super::{errno, print};

#[derive(Args)]
pub(super) struct Hold {
    /// A `serve --mode echo`.
    #[arg(long)]
    to: SocketAddr,
    /// How many connections.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Milliseconds between two exchanges on one connection.
    #[arg(long, default_value_t = 50)]
    interval_ms: u64,
    /// A connection that does not answer for so many seconds is broken.
    #[arg(long, default_value_t = 5)]
    silence: u64,
}

#[derive(Default)]
struct Health {
    report: Mutex<HoldReport>,
    exchanges: AtomicU64,
}

impl Health {
    fn print(&self) -> Result<()> {
        let mut report = self.report.lock().clone();
        report.healthy = report.opened - report.broken.values().sum::<u64>();
        report.exchanges = self.exchanges.load(Ordering::Relaxed);
        print(&report)
    }
}

pub(super) fn run(hold: &Hold) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(open_and_watch(hold))
}

async fn open_and_watch(hold: &Hold) -> Result<()> {
    let health = Arc::new(Health::default());
    let limit = Duration::from_secs(hold.silence);
    // That a connection was opened says only that somebody on the way accepted it: not that the server has it.
    let (unanswered, mut all_answered) = mpsc::channel(1);
    for number in 0..hold.count {
        let connecting = timeout(limit, TcpStream::connect(hold.to)).await;
        let stream =
            connecting.context("connecting took too long")?.with_context(|| format!("connecting to {}", hold.to))?;
        stream.set_nodelay(true)?;
        health.report.lock().opened += 1;
        let (interval, unanswered) = (Duration::from_millis(hold.interval_ms), unanswered.clone());
        tokio::spawn(exchange(stream, number, interval, limit, unanswered, Arc::clone(&health)));
    }
    drop(unanswered);
    // Nothing is sent: it ends when no connection holds its end any more.
    all_answered.recv().await;
    health.print()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            _ = terminate.recv() => None,
        };
        health.print()?;
        if line.is_none() {
            // Reading standard input is a thread that cannot be stopped; leaving the process ends it.
            std::process::exit(0);
        }
    }
}

async fn exchange(
    mut stream: TcpStream,
    number: u64,
    interval: Duration,
    limit: Duration,
    unanswered: mpsc::Sender<()>,
    health: Arc<Health>,
) {
    let mut unanswered = Some(unanswered);
    let mut round = 0u64;
    loop {
        round += 1;
        let sent = [number.to_be_bytes(), round.to_be_bytes()].concat();
        let error = match timeout(limit, once(&mut stream, &sent)).await {
            Ok(Ok(back)) if back == sent => None,
            Ok(Ok(_)) => Some("wrong bytes".to_owned()),
            Ok(Err(error)) => Some(errno::name(&error)),
            Err(_) => Some("timeout".to_owned()),
        };
        if let Some(error) = error {
            *health.report.lock().broken.entry(error).or_default() += 1;
            return;
        }
        health.exchanges.fetch_add(1, Ordering::Relaxed);
        drop(unanswered.take());
        tokio::time::sleep(interval).await;
    }
}

async fn once(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await?;
    Ok(back)
}
