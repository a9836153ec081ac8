//! `heddle-peer connect`: many connections, each verified: who answered, who the server saw, and every echoed byte.
//!
//! Connections are spread over the targets in turn and carry different bytes each, so that two that got mixed up show.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use socket2::SockRef;

use super::dial::Dial;
use super::errno;
use super::pattern::Pattern;
use super::report::{ConnectReport, Ident, Quantiles};

/// Small enough that a chunk and its echo fit into socket buffers without both sides waiting for each other.
const CHUNK: u64 = 16 << 10;

#[derive(Args)]
pub(super) struct Connect {
    /// Targets as address:port, or address:port=GREETING where the server must greet so, separated by commas; or @FILE.
    #[arg(long, required = true)]
    to: String,
    /// How many connections to make.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Make no more once standard input ends.
    #[arg(long)]
    until_eof: bool,
    /// How many at a time.
    #[arg(long, default_value_t = 1)]
    concurrency: u64,
    /// How many bytes to send, and expect back, on each.
    #[arg(long, default_value_t = 64)]
    bytes: u64,
    /// The server sends its identification first (serve --ident).
    #[arg(long)]
    ident: bool,
    /// With --ident: the server must have been called at exactly the target.
    #[arg(long, requires = "ident")]
    check_local: bool,
    /// With --ident: the server must have seen this client address.
    #[arg(long, requires = "ident")]
    expect_source: Option<IpAddr>,
    /// getpeername() must give the target.
    #[arg(long)]
    check_peername: bool,
    /// End each connection with a reset.
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    dial: Dial,
}

struct Target {
    address: SocketAddr,
    greeting: Option<String>,
}

/// What went wrong on one connection: the stage, and the error's name.
struct Failure(&'static str, String);

#[derive(Default)]
struct Tally {
    report: ConnectReport,
    connect_us: Vec<u64>,
    total_us: Vec<u64>,
}

pub(super) fn run(connect: &Connect) -> Result<ConnectReport> {
    let targets = parse_targets(&connect.to)?;
    let (next, tally) = (Arc::new(AtomicU64::new(0)), Mutex::new(Tally::default()));
    if connect.until_eof {
        end_with_input(Arc::clone(&next), connect.count);
    }
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..connect.concurrency.clamp(1, connect.count.max(1)) {
            scope.spawn(|| worker(connect, &targets, &next, &tally));
        }
    });
    let tally = tally.into_inner().ok().context("a worker panicked")?;
    let mut report = tally.report;
    report.connect_us = Quantiles::of(tally.connect_us);
    report.total_us = Quantiles::of(tally.total_us);
    report.seconds = begin.elapsed().as_secs_f64();
    Ok(report)
}

/// At the end of standard input no number is left to be taken.
fn end_with_input(next: Arc<AtomicU64>, count: u64) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        next.store(count, Ordering::Relaxed);
    });
}

fn worker(connect: &Connect, targets: &[Target], next: &AtomicU64, tally: &Mutex<Tally>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= connect.count {
            return;
        }
        let target = &targets[(number % targets.len() as u64) as usize];
        let mut seen = Seen::default();
        let begin = Instant::now();
        let result = one(connect, target, number, &mut seen);
        let Ok(mut tally) = tally.lock() else { return };
        tally.count(&seen, begin.elapsed(), result);
    }
}

/// What one connection learned, also if it failed later.
#[derive(Default)]
struct Seen {
    connect: Option<Duration>,
    source: Option<IpAddr>,
    server: Option<String>,
    bytes: u64,
}

impl Tally {
    fn count(&mut self, seen: &Seen, total: Duration, result: Result<(), Failure>) {
        let report = &mut self.report;
        report.attempted += 1;
        report.bytes += seen.bytes;
        self.connect_us.extend(seen.connect.map(micros));
        if let Some(source) = seen.source {
            *report.sources.entry(source.to_string()).or_default() += 1;
        }
        if let Some(server) = &seen.server {
            *report.servers.entry(server.clone()).or_default() += 1;
        }
        match result {
            Ok(()) => {
                report.succeeded += 1;
                self.total_us.push(micros(total));
            }
            Err(Failure(stage, error)) => *report.failures.entry(format!("{stage}: {error}")).or_default() += 1,
        }
    }
}

fn one(connect: &Connect, target: &Target, number: u64, seen: &mut Seen) -> Result<(), Failure> {
    let begin = Instant::now();
    let stream = connect.dial.connect(target.address).map_err(at("connect"))?;
    seen.connect = Some(begin.elapsed());
    if connect.check_peername {
        let peer = stream.peer_addr().map_err(at("peername"))?;
        must("peername", peer == connect.dial.target(target.address), "another address")?;
    }
    let mut reader = BufReader::new(&stream);
    greeting(connect, target, &mut reader, seen)?;
    exchange(&stream, &mut reader, connect.bytes, number, seen)?;
    if connect.reset {
        return SockRef::from(&stream).set_linger(Some(Duration::ZERO)).map_err(at("reset"));
    }
    stream.shutdown(Shutdown::Write).map_err(at("close"))?;
    let extra = reader.read(&mut [0; 1]).map_err(at("close"))?;
    must("close", extra == 0, "bytes too many")
}

fn greeting(connect: &Connect, target: &Target, reader: &mut impl BufRead, seen: &mut Seen) -> Result<(), Failure> {
    if target.greeting.is_none() && !connect.ident {
        return Ok(());
    }
    let mut line = String::new();
    reader.read_line(&mut line).map_err(at("greeting"))?;
    must("greeting", line.ends_with('\n'), "eof")?;
    let mut tag = Some(line.trim_end().to_owned());
    if connect.ident {
        let ident: Ident =
            serde_json::from_str(&line).map_err(|_| Failure("greeting", "no identification".to_owned()))?;
        seen.source = Some(ident.peer.ip());
        tag = ident.tag;
        must("greeting", !connect.check_local || ident.local == target.address, "called at another address")?;
        must("greeting", connect.expect_source.is_none_or(|ip| ip == ident.peer.ip()), "another source address")?;
    }
    seen.server = tag;
    must("greeting", target.greeting.is_none() || target.greeting == seen.server, "wrong server")
}

fn exchange(
    mut stream: &TcpStream,
    reader: &mut impl Read,
    bytes: u64,
    seed: u64,
    seen: &mut Seen,
) -> Result<(), Failure> {
    // The process id makes the bytes of several clients differ.
    let pattern = Pattern::new(seed ^ (u64::from(std::process::id()) << 32));
    let (mut chunk, mut scratch) = (vec![0; CHUNK as usize], Vec::new());
    while seen.bytes < bytes {
        let part = &mut chunk[..(bytes - seen.bytes).min(CHUNK) as usize];
        pattern.fill(seen.bytes, part);
        stream.write_all(part).map_err(at("write"))?;
        reader.read_exact(part).map_err(at("read"))?;
        must("read", pattern.first_difference(seen.bytes, part, &mut scratch).is_none(), "wrong bytes")?;
        seen.bytes += part.len() as u64;
    }
    Ok(())
}

fn at(stage: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure(stage, errno::name(&error))
}

fn must(stage: &'static str, holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure(stage, otherwise.to_owned())) }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn parse_targets(text: &str) -> Result<Vec<Target>> {
    let list = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("reading the targets from {file}"))?,
        None => text.to_owned(),
    };
    let words = list.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty());
    let targets = words.map(parse_target).collect::<Result<Vec<_>>>()?;
    ensure!(!targets.is_empty(), "no target is given");
    Ok(targets)
}

fn parse_target(word: &str) -> Result<Target> {
    let (address, greeting) = word.split_once('=').map_or((word, None), |(a, g)| (a, Some(g.to_owned())));
    let address = address.parse().with_context(|| format!("`{address}` is not address:port"))?;
    Ok(Target { address, greeting })
}
