//! `heddle-peer probe`: one connection, and what became of it.
//!
//! Tells apart being refused, being reset after the handshake, being closed, being answered and being left alone.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use super::dial::Dial;
use super::errno;
use super::report::ProbeReport;

#[derive(Args)]
pub(super) struct Probe {
    /// Where to.
    #[arg(long)]
    to: SocketAddr,
    /// Send this line once connected.
    #[arg(long)]
    send: Option<String>,
    /// How many milliseconds to watch the connection.
    #[arg(long, default_value_t = 500)]
    watch_ms: u64,
    #[command(flatten)]
    dial: Dial,
}

pub(super) fn run(probe: &Probe) -> Result<ProbeReport> {
    let begin = Instant::now();
    let connected = probe.dial.connect(probe.to);
    let connect_ms = millis(begin);
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(error) => {
            let connect = errno::name(&error);
            return Ok(ProbeReport { connect, after: None, connect_ms, after_ms: None, data: None });
        }
    };
    stream.set_read_timeout(Some(Duration::from_millis(probe.watch_ms)))?;
    let mut buffer = [0; 256];
    let line = probe.send.as_ref().map(|line| format!("{line}\n"));
    let sent = line.map_or(Ok(()), |line| stream.write_all(line.as_bytes()));
    let watched = sent.and_then(|()| stream.read(&mut buffer));
    let (after, data) = match watched {
        Ok(0) => ("eof".to_owned(), None),
        Ok(count) => ("data".to_owned(), Some(String::from_utf8_lossy(&buffer[..count]).into_owned())),
        Err(error) if errno::name(&error) == "timeout" => ("open".to_owned(), None),
        Err(error) => (errno::name(&error), None),
    };
    Ok(ProbeReport {
        connect: "connected".to_owned(),
        after: Some(after),
        connect_ms,
        after_ms: Some(millis(begin)),
        data,
    })
}

fn millis(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}
