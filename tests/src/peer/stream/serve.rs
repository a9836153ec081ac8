//! `heddle-peer stream-serve`: verifies what comes, answers with as much of its own, and counts every byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use clap::Args;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::marked::Marked;
use super::report::{End, StreamReport};
use super::{CHUNK, HEADER, ends_in_order, seed_of_answer};
use crate::peer::report::ServerEvent;
use crate::peer::serve::{bind, parse_listen};
use crate::peer::{errno, print};

#[derive(Args)]
pub(crate) struct StreamServe {
    /// Where to listen: ports, ranges and addresses, such as 80 or 8000-8063 or 127.0.0.1:80, separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    listen: Vec<String>,
    /// Be wrong on purpose: change the byte at this offset of each stream that is sent.
    #[arg(long)]
    flip: Option<u64>,
}

#[derive(Default)]
struct Shared {
    flip: Option<u64>,
    verified: AtomicU64,
    received: AtomicU64,
    report: Mutex<StreamReport>,
}

/// Serves until standard input ends.
pub(crate) fn run(serve: &StreamServe) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(listen(serve))?;
    // Reading standard input is a thread that cannot be stopped; leaving the process ends it.
    std::process::exit(0)
}

async fn listen(serve: &StreamServe) -> Result<()> {
    let shared = Arc::new(Shared { flip: serve.flip, ..Shared::default() });
    let mut addresses = Vec::new();
    for text in &serve.listen {
        for address in parse_listen(text).with_context(|| format!("`{text}` is no port, range or address"))? {
            let listener = bind(address).with_context(|| format!("listening on {address}"))?;
            addresses.push(listener.local_addr()?);
            tokio::spawn(accept(listener, Arc::clone(&shared)));
        }
    }
    print(&ServerEvent::Listening { addresses })?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let line = lines.next_line().await?;
        print(&shared.now())?;
        if line.is_none() {
            return Ok(());
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Out of descriptors, or a client that is gone already.
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        shared.report.lock().begun += 1;
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let end = connection(&shared, stream).await;
            shared.report.lock().note(end);
        });
    }
}

async fn connection(shared: &Shared, mut stream: TcpStream) -> End {
    let _ = stream.set_nodelay(true);
    ends_in_order(&stream, false);
    let mut header = [0; HEADER];
    for at in 0..HEADER {
        // Byte by byte, to count what comes of a header that does not come whole.
        match stream.read(&mut header[at..=at]).await {
            Ok(0) => return End::Short { at: at as u64, of: HEADER as u64 },
            Ok(count) => shared.received.fetch_add(count as u64, Ordering::Relaxed),
            Err(error) => return End::Broken("header", errno::name(&error)),
        };
    }
    let word = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    let (seed, total) = (word(0), word(8));
    match exchange(shared, &mut stream, seed, total).await {
        Ok(end) => {
            ends_in_order(&stream, end == End::Whole);
            end
        }
        Err(error) => End::Broken("stream", errno::name(&error)),
    }
}

async fn exchange(shared: &Shared, stream: &mut TcpStream, seed: u64, total: u64) -> std::io::Result<End> {
    let (theirs, own) = (Marked::new(seed), Marked::new(seed_of_answer(seed)));
    let (mut buffer, mut scratch, mut at) = (vec![0; CHUNK * 4], Vec::new(), 0);
    while at < total {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(End::Short { at, of: total });
        }
        shared.received.fetch_add(count as u64, Ordering::Relaxed);
        let wrong = theirs.first_difference(at, &buffer[..count], &mut scratch);
        if wrong.is_some() || at + count as u64 > total {
            return Ok(End::Wrong { at: wrong.unwrap_or(total), seed });
        }
        shared.verified.fetch_add(count as u64, Ordering::Relaxed);
        own.fill(at, &mut buffer[..count]);
        let flipped = shared.flip.and_then(|flip| usize::try_from(flip.checked_sub(at)?).ok());
        if let Some(byte) = flipped.and_then(|place| buffer[..count].get_mut(place)) {
            *byte ^= 1;
        }
        stream.write_all(&buffer[..count]).await?;
        at += count as u64;
    }
    stream.shutdown().await?;
    match stream.read(&mut buffer).await? {
        0 => Ok(End::Whole),
        _ => Ok(End::Wrong { at: total, seed }),
    }
}

impl Shared {
    fn now(&self) -> StreamReport {
        let mut report = self.report.lock().clone();
        report.verified = self.verified.load(Ordering::Relaxed);
        report.received = self.received.load(Ordering::Relaxed);
        report
    }
}
