//! `heddle-peer first`: tries to connect, again and again, until a server that sends back what comes has done so; tells when that was.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use clap::Args;

use super::dial::Dial;
use super::report::FirstReport;

/// Between two tries.
const PAUSE: Duration = Duration::from_micros(500);

#[derive(Args)]
pub(super) struct First {
    /// A `serve --mode echo`.
    #[arg(long)]
    to: SocketAddr,
    /// Seconds after which it gives up.
    #[arg(long, default_value_t = 30)]
    give_up: u64,
    #[command(flatten)]
    dial: Dial,
}

pub(super) fn run(first: &First) -> Result<FirstReport> {
    let begin = Instant::now();
    let mut failed = 0;
    while try_once(first).is_err() {
        failed += 1;
        ensure!(begin.elapsed() < Duration::from_secs(first.give_up), "none of {failed} tries worked");
        std::thread::sleep(PAUSE);
    }
    let at = SystemTime::UNIX_EPOCH.elapsed()?;
    Ok(FirstReport { failed, at_us: u64::try_from(at.as_micros())? })
}

fn try_once(first: &First) -> std::io::Result<()> {
    let mut stream = first.dial.connect(first.to)?;
    stream.write_all(b"first")?;
    stream.read_exact(&mut [0; 5])
}
