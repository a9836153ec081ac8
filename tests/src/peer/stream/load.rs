//! `heddle-peer stream-load`: so many streams at a time, a new one for each that ends, until standard input ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::marked::Marked;
use super::report::{End, StreamReport};
use super::{CHUNK, ends_in_order, seed_of_answer};
use crate::peer::{errno, print};

#[derive(Args)]
pub(crate) struct StreamLoad {
    /// One or several `stream-serve`, in turn.
    #[arg(long, value_delimiter = ',', required = true)]
    to: Vec<SocketAddr>,
    /// Streams at a time.
    #[arg(long, default_value_t = 4)]
    streams: u32,
    /// Bytes of each stream, in each direction.
    #[arg(long, default_value_t = 200_000)]
    bytes: u64,
    /// Milliseconds between two chunks of a stream.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// End by itself after so many streams.
    #[arg(long)]
    count: Option<u64>,
    /// A stream on which nothing moves for so many seconds is given up.
    #[arg(long, default_value_t = 15.0)]
    silence: f64,
    /// Milliseconds before a stream is begun in the place of one that broke.
    #[arg(long, default_value_t = 50)]
    again_ms: u64,
}

struct Shared {
    load: StreamLoad,
    next: AtomicU64,
    verified: AtomicU64,
    received: AtomicU64,
    ended: AtomicBool,
    report: Mutex<StreamReport>,
}

/// Runs until it is told to end, or has had as many streams as it shall.
pub(crate) fn run(load: StreamLoad) -> Result<()> {
    ensure!(load.bytes > 0, "a stream has a byte at least");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::new(Shared {
        load,
        next: AtomicU64::default(),
        verified: AtomicU64::default(),
        received: AtomicU64::default(),
        ended: AtomicBool::default(),
        report: Mutex::default(),
    });
    runtime.block_on(until_told(&shared))?;
    // Reading standard input is a thread that cannot be stopped; leaving the process ends it.
    std::process::exit(0)
}

async fn until_told(shared: &Arc<Shared>) -> Result<()> {
    let (stop, stopped) = watch::channel(());
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..shared.load.streams {
        streams.spawn(one_after_the_other(Arc::clone(shared), stopped.clone()));
    }
    drop(stopped);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            // All have ended by themselves.
            () = stop.closed() => break,
        };
        if line.is_none() {
            break;
        }
        print(&shared.now())?;
    }
    shared.ended.store(true, Ordering::Relaxed);
    let _ = stop.send(());
    streams.join_all().await;
    print(&shared.now())
}

async fn one_after_the_other(shared: Arc<Shared>, mut stopped: watch::Receiver<()>) {
    while !shared.ended.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if shared.load.count.is_some_and(|count| number >= count) {
            return;
        }
        shared.report.lock().begun += 1;
        let end = tokio::select! {
            end = one(&shared, number) => end,
            _ = stopped.changed() => return,
        };
        let again = (end != End::Whole).then_some(shared.load.again_ms);
        shared.report.lock().note(end);
        tokio::select! {
            () = sleep(Duration::from_millis(again.unwrap_or(0))) => {}
            _ = stopped.changed() => return,
        }
    }
}

async fn one(shared: &Shared, number: u64) -> End {
    let load = &shared.load;
    let to = load.to[(number % load.to.len() as u64) as usize];
    // The process id makes the bytes of several clients differ.
    let seed = number ^ (u64::from(std::process::id()) << 32);
    let mut stream = match timeout(shared.silence(), TcpStream::connect(to)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return End::Broken("connect", errno::name(&error)),
        Err(_) => return End::Broken("connect", "silence".to_owned()),
    };
    let _ = stream.set_nodelay(true);
    // Until it is whole: what ends it earlier, be it this process, must be seen at the other end.
    ends_in_order(&stream, false);
    let (reader, writer) = stream.split();
    let end = tokio::select! {
        biased;
        end = read(shared, reader, seed) => end,
        error = write(shared, writer, seed) => error,
    };
    ends_in_order(&stream, end == End::Whole);
    end
}

/// Sends all, and then waits for the reader's verdict: gives nothing back unless it breaks.
async fn write(shared: &Shared, mut writer: WriteHalf<'_>, seed: u64) -> End {
    let load = &shared.load;
    let (marked, mut chunk, mut at) = (Marked::new(seed), vec![0; CHUNK], 0);
    let mut header = seed.to_be_bytes().to_vec();
    header.extend(load.bytes.to_be_bytes());
    let silent = || End::Broken("write", "silence".to_owned());
    let broken = |error: std::io::Error| End::Broken("write", errno::name(&error));
    let mut next = header.as_slice();
    loop {
        match timeout(shared.silence(), writer.write_all(next)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return broken(error),
            Err(_) => return silent(),
        }
        if at == load.bytes {
            break;
        }
        let part = &mut chunk[..CHUNK.min(usize::try_from(load.bytes - at).unwrap_or(CHUNK))];
        marked.fill(at, part);
        at += part.len() as u64;
        next = part;
        sleep(Duration::from_millis(load.pause_ms)).await;
    }
    match writer.shutdown().await {
        Ok(()) => std::future::pending().await,
        Err(error) => broken(error),
    }
}

async fn read(shared: &Shared, mut reader: ReadHalf<'_>, seed: u64) -> End {
    let total = shared.load.bytes;
    let (marked, mut buffer, mut scratch) = (Marked::new(seed_of_answer(seed)), vec![0; CHUNK * 4], Vec::new());
    let mut at = 0;
    loop {
        let count = match timeout(shared.silence(), reader.read(&mut buffer)).await {
            Ok(Ok(0)) if at == total => return End::Whole,
            Ok(Ok(0)) => return End::Short { at, of: total },
            Ok(Ok(count)) => count,
            Ok(Err(error)) => return End::Broken("read", errno::name(&error)),
            Err(_) => return End::Broken("read", "silence".to_owned()),
        };
        shared.received.fetch_add(count as u64, Ordering::Relaxed);
        let wrong = marked.first_difference(at, &buffer[..count], &mut scratch);
        if wrong.is_some() || at + count as u64 > total {
            return End::Wrong { at: wrong.unwrap_or(total), seed };
        }
        at += count as u64;
        shared.verified.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Shared {
    fn silence(&self) -> Duration {
        Duration::from_secs_f64(self.load.silence)
    }

    fn now(&self) -> StreamReport {
        let mut report = self.report.lock().clone();
        report.verified = self.verified.load(Ordering::Relaxed);
        report.received = self.received.load(Ordering::Relaxed);
        report
    }
}
