//! wrk as the HTTP client. Its results are read from a script of ours that it runs at the end: its own text rounds.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::measure::Work;
use crate::bed::{Launch, Pod};

/// `done` is the only function: wrk calls Lua for each request or response only if the script has functions for them.
const SCRIPT: &str = r#"
function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      'RESULT {"requests":%d,"micros":%d,"errors":%d,"p50":%.1f,"p99":%.1f}\n', summary.requests, summary.duration,
      e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
"#;
/// Asked for each request of a calm client: milliseconds until it is sent.
const CALM: &str = "function delay() return math.random(2, 8) end\n";
/// Beyond the time to measure: start, connect, and wrk's own limit for a response of 2 s.
const GRACE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
struct Outcome {
    requests: f64,
    micros: f64,
    errors: u64,
    p50: f64,
    p99: f64,
}

/// How requests follow each other.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Manner {
    /// Each at once after the answer to the one before.
    Busy,
    /// The same, each on a connection of its own.
    Closing,
    /// After some milliseconds.
    Calm,
}

/// Sends requests to a URL for so many seconds.
pub(super) fn run(client: &Pod, url: &str, connections: u32, manner: Manner, secs: u64, dir: &Path) -> Result<Work> {
    let text = command(client, url, connections, manner, secs, dir)?.output(Duration::from_secs(secs) + GRACE)?;
    let outcome = read(&text)?;
    // What wrk calls latency begins after connecting, so it says nothing about connections.
    let quantile = |micros| (manner != Manner::Closing).then_some(micros);
    Ok(Work {
        amount: outcome.requests,
        seconds: outcome.micros / 1e6,
        p50_us: quantile(outcome.p50),
        p99_us: quantile(outcome.p99),
        errors: outcome.errors,
    })
}

/// The same, to be started.
pub(super) fn command(
    client: &Pod,
    url: &str,
    connections: u32,
    manner: Manner,
    secs: u64,
    dir: &Path,
) -> Result<Launch> {
    let (name, script) = match manner {
        Manner::Busy | Manner::Closing => ("wrk.lua", SCRIPT.to_owned()),
        Manner::Calm => ("wrk-calm.lua", format!("{SCRIPT}{CALM}")),
    };
    let file = dir.join(name);
    fs::write(&file, script).with_context(|| format!("writing {}", file.display()))?;
    let wrk = client.command("wrk").words(&format!("-t 1 -c {connections} -d {secs}s -s")).arg(file);
    let wrk = if manner == Manner::Closing { wrk.args(["-H", "Connection: close"]) } else { wrk };
    Ok(wrk.arg(url))
}

fn read(text: &str) -> Result<Outcome> {
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let line = line.with_context(|| format!("wrk printed no result but:\n{text}"))?;
    serde_json::from_str(line).with_context(|| format!("wrk's result is `{line}`"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_result_is_found_among_the_lines_that_wrk_prints_anyway() {
        let text = "Running 2s test @ http://10.0.0.1/\n  1 threads and 1 connections\nRequests/sec:  10.00\n\
            RESULT {\"requests\":20,\"micros\":2000000,\"errors\":1,\"p50\":51.0,\"p99\":99.5}\n";
        let outcome = read(text).unwrap();
        assert_eq!((outcome.requests, outcome.micros, outcome.errors, outcome.p99), (20.0, 2e6, 1, 99.5));
        assert!(read("unable to connect to 10.0.0.1:80 Connection refused").is_err());
    }
}
