//! `heddle-peer bulk` and `stall`: much data, verified at the far end; and readers that do not read until told to.
//!
//! An upload is verified by the checksum that `serve --mode sink` answers, a download and an echo byte for byte.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{Context as Sha, SHA256};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::dial::Dial;
use super::pattern::Pattern;
use super::print;
use super::report::{BulkReport, Receipt};

const CHUNK: usize = 64 << 10;

#[derive(Args)]
pub(super) struct Bulk {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// Bytes per stream.
    #[arg(long)]
    bytes: u64,
    /// To `serve --mode sink`, from `serve --mode source`, or both at once with `serve --mode echo`.
    #[arg(long, value_enum)]
    direction: Direction,
    /// Connections at a time.
    #[arg(long, default_value_t = 1)]
    streams: u64,
    /// Sleep so many milliseconds after each 64 KiB read.
    #[arg(long, default_value_t = 0)]
    slow_read_ms: u64,
    #[command(flatten)]
    dial: Dial,
}

#[derive(Args)]
pub(super) struct Stall {
    /// A `serve --mode source`.
    #[arg(long)]
    to: SocketAddr,
    /// Bytes to ask for on each connection.
    #[arg(long)]
    bytes: u64,
    /// How many connections to stall.
    #[arg(long, default_value_t = 1)]
    count: u64,
    #[command(flatten)]
    dial: Dial,
}

#[derive(Clone, Copy, ValueEnum)]
enum Direction {
    Upload,
    Download,
    Echo,
}

/// What a client asks `serve --mode source` for, as a line `BYTES SEED`.
pub(super) struct Request {
    pub(super) bytes: u64,
    pub(super) seed: u64,
}

impl FromStr for Request {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let (bytes, seed) = line.trim_end().split_once(' ').context("a request is BYTES SEED")?;
        Ok(Self { bytes: bytes.parse()?, seed: seed.parse()? })
    }
}

/// A running checksum and count.
pub(super) struct Digest {
    sha: Sha,
    bytes: u64,
}

impl Digest {
    pub(super) fn new() -> Self {
        Self { sha: Sha::new(&SHA256), bytes: 0 }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(super) fn receipt(self) -> Receipt {
        let mut sha256 = String::new();
        for byte in self.sha.finish().as_ref() {
            let _ = write!(sha256, "{byte:02x}");
        }
        Receipt { bytes: self.bytes, sha256 }
    }
}

/// Moves the data and says what arrived.
pub(super) fn run(bulk: &Bulk) -> Result<BulkReport> {
    Ok(in_parallel(bulk.streams, bulk.bytes, |seed| {
        let stream = bulk.dial.connect(bulk.to).with_context(|| format!("connecting to {}", bulk.to))?;
        let pause = Duration::from_millis(bulk.slow_read_ms);
        match bulk.direction {
            Direction::Upload => upload(&stream, bulk.bytes, seed),
            Direction::Download => {
                ask(&stream, bulk.bytes, seed)?;
                verify(&stream, bulk.bytes, seed, pause)
            }
            Direction::Echo => std::thread::scope(|scope| {
                let sending = scope.spawn(|| send(&stream, bulk.bytes, seed).map(|_| ()));
                let verified = verify(&stream, bulk.bytes, seed, pause);
                let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                verified.and(sent)
            }),
        }
    }))
}

/// Opens connections, asks for data, says so, and reads it only once a line comes on standard input.
pub(super) fn stall(stall: &Stall) -> Result<BulkReport> {
    let mut streams = Vec::new();
    for seed in 0..stall.count {
        let stream = stall.dial.connect(stall.to).with_context(|| format!("connecting to {}", stall.to))?;
        ask(&stream, stall.bytes, seed)?;
        streams.push(stream);
    }
    print(&json!({"event": "stalled", "count": streams.len()}))?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("waiting to be resumed")?;
    Ok(in_parallel(stall.count, stall.bytes, |seed| {
        let stream = streams.get(usize::try_from(seed)?).context("one stream per seed")?;
        verify(stream, stall.bytes, seed, Duration::ZERO)
    }))
}

fn in_parallel(streams: u64, bytes: u64, one: impl Fn(u64) -> Result<()> + Sync) -> BulkReport {
    let begin = Instant::now();
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..streams)
            .map(|seed| {
                scope.spawn({
                    let one = &one;
                    move || one(seed)
                })
            })
            .collect();
        let ended =
            started.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect()
    });
    let mut report = BulkReport { seconds: begin.elapsed().as_secs_f64(), ..BulkReport::default() };
    for result in results {
        match result {
            Ok(()) => report.verified += 1,
            Err(error) => report.failures.push(format!("{error:#}")),
        }
    }
    report.bytes = report.verified * bytes;
    report.mib_per_second = report.bytes as f64 / report.seconds / f64::from(1 << 20);
    report
}

fn upload(stream: &TcpStream, bytes: u64, seed: u64) -> Result<()> {
    let sent = send(stream, bytes, seed)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("reading the receipt")?;
    let receipt: Receipt = serde_json::from_str(&line).with_context(|| format!("the receipt is `{line}`"))?;
    ensure!(receipt == sent, "sent {sent:?}, but {receipt:?} arrived");
    Ok(())
}

fn send(mut stream: &TcpStream, bytes: u64, seed: u64) -> Result<Receipt> {
    let (pattern, mut buffer, mut digest) = (Pattern::new(seed), vec![0; CHUNK], Digest::new());
    while digest.bytes < bytes {
        let part = &mut buffer[..CHUNK.min(usize::try_from(bytes - digest.bytes).unwrap_or(CHUNK))];
        pattern.fill(digest.bytes, part);
        stream.write_all(part).with_context(|| format!("sending after {} bytes", digest.bytes))?;
        digest.update(part);
    }
    stream.shutdown(Shutdown::Write).context("closing the sending side")?;
    Ok(digest.receipt())
}

fn ask(mut stream: &TcpStream, bytes: u64, seed: u64) -> Result<()> {
    stream.write_all(format!("{bytes} {seed}\n").as_bytes()).context("sending the request")
}

/// Reads to the end: exactly `bytes`, all right.
fn verify(mut stream: &TcpStream, bytes: u64, seed: u64, pause: Duration) -> Result<()> {
    let (pattern, mut buffer, mut scratch, mut at) = (Pattern::new(seed), vec![0; CHUNK], Vec::new(), 0);
    loop {
        let count = stream.read(&mut buffer).with_context(|| format!("reading after {at} bytes"))?;
        if count == 0 {
            ensure!(at == bytes, "the stream ended after {at} of {bytes} bytes");
            return Ok(());
        }
        if let Some(wrong) = pattern.first_difference(at, &buffer[..count], &mut scratch) {
            bail!("byte {wrong} is wrong");
        }
        at += count as u64;
        ensure!(at <= bytes, "more than {bytes} bytes came");
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
}
