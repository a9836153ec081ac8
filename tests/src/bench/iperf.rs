//! iperf3 as the client of bulk transfers, read from its JSON.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::measure::Work;
use crate::bed::Pod;

const GRACE: Duration = Duration::from_secs(20);

/// Sends for so many seconds; with `reverse` the server sends.
pub(super) fn run(client: &Pod, to: SocketAddr, streams: u32, reverse: bool, seconds: u64) -> Result<Work> {
    let line = format!("-c {} -p {} -t {seconds} -P {streams} -J --connect-timeout 5000", to.ip(), to.port());
    let iperf = client.command("iperf3").words(&line);
    let iperf = if reverse { iperf.arg("-R") } else { iperf };
    let finished = iperf.finish(Duration::from_secs(seconds) + GRACE)?;
    if !finished.status.success() {
        bail!("{}", finished.describe());
    }
    read(&finished.stdout.join("\n"))
}

/// Counts what arrived, not what was put into buffers.
fn read(text: &str) -> Result<Work> {
    let report: Value = serde_json::from_str(text).with_context(|| format!("iperf3 printed no JSON but:\n{text}"))?;
    if let Some(error) = report.get("error").and_then(Value::as_str) {
        bail!("iperf3 says: {error}");
    }
    let received = report.pointer("/end/sum_received").context("iperf3's report has no end.sum_received")?;
    let number =
        |key: &str| received.get(key).and_then(Value::as_f64).with_context(|| format!("no {key} in {received}"));
    Ok(Work { amount: number("bytes")?, seconds: number("seconds")?, p50_us: None, p99_us: None, errors: 0 })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn received_bytes_count_and_errors_are_errors() {
        let text = r#"{"end": {"sum_sent": {"bytes": 9, "seconds": 1}, "sum_received": {"bytes": 7, "seconds": 2.0}}}"#;
        let work = read(text).unwrap();
        assert_eq!((work.amount, work.seconds), (7.0, 2.0));
        let busy = read(r#"{"end": {}, "error": "the server is busy running a test"}"#).unwrap_err();
        assert!(busy.to_string().contains("busy"));
        assert!(read("{}").is_err());
    }
}
