//! `heddle record`.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use clap::Args;

use super::{arguments::AskedAgent, ask::ask};
use crate::{
    admin::status::Status,
    cli,
    observe::{Flow, Flows, FlowsEnd, FlowsHead, TakenFlows, VERSION, timestamp},
};

/// Record who asks the pods of this node for what, into a file for heddle simulate.
///
/// Asks the running agent by its admin socket, so it needs to run on the node, as the socket's owner. Distinct flows are
/// counted: the client's proven identity (or else its address), workload, port, and of requests method, path and host. Headers,
/// tokens and queries are not recorded. Connections and requests count at their end.
///
/// Exit codes: 0 recorded, 2 the agent does not answer, the file cannot be written, or wrong usage.
#[derive(Debug, Args)]
pub(super) struct Record {
    /// How long, such as 30s, 10m or 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Duration,
    /// The file to write. It is there once the recording is whole.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    agent: AskedAgent,
}

/// How often what was recorded is taken. Shorter than the agent's answers may take.
const STEP: Duration = Duration::from_secs(2);

/// Distinct flows of a file; further ones are only counted.
const MOST: usize = 100_000;

fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    let all = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    match all {
        Some(all @ 1..=86_400) => Ok(Duration::from_secs(all)),
        _ => Err("a number with s, m or h, from 1s to 24h".to_owned()),
    }
}

impl Record {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.recorded() {
            Ok(said) => cli::print(&said)?,
            Err(error) => return cli::failed(2, &error),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn recorded(&self) -> anyhow::Result<String> {
        let status: Status = serde_json::from_slice(&ask(&self.agent.socket, "/status")?)
            .context("the agent's answer is not understood")?;
        let (id, started, end) = (fastrand::u64(..), now(), Instant::now() + self.time);
        let (mut counts, mut overflow) = (HashMap::<Flow, u64>::new(), 0);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            // Up to the next second: the last look is after the end.
            let wait = left.min(STEP).as_millis().div_ceil(1000);
            let body = ask(&self.agent.socket, &format!("/flows?recording={id}&wait={wait}"))?;
            let taken: TakenFlows = serde_json::from_slice(&body).context("the agent's answer is not understood")?;
            overflow += taken.overflow;
            for flow in taken.flows {
                let (count, key) = (flow.count, Flow { count: 0, ..flow });
                let has_room = counts.len() < MOST;
                match counts.get_mut(&key) {
                    Some(known) => *known += count,
                    None if has_room => drop(counts.insert(key, count)),
                    None => overflow += count,
                }
            }
            if left.is_zero() {
                break;
            }
        }
        let mut flows: Vec<Flow> = counts.into_iter().map(|(flow, count)| Flow { count, ..flow }).collect();
        flows.sort_by_key(|flow| std::cmp::Reverse(flow.count));
        let (distinct, all) = (flows.len(), flows.iter().map(|flow| flow.count).sum::<u64>());
        let head = FlowsHead { version: VERSION, node: status.node, started };
        let end = FlowsEnd { ended: now(), flows: distinct as u64, overflow };
        let text = Flows { head, flows, end }.write()?;
        let place = self.to.display();
        let aside = self.to.with_extension("part");
        fs::write(&aside, text).with_context(|| format!("write {}", aside.display()))?;
        fs::rename(&aside, &self.to).with_context(|| format!("move what was recorded to {place}"))?;
        Ok(format!(
            "{all} connections and requests in {distinct} distinct flows, written to {place}{}",
            match overflow {
                0 => String::new(),
                more => format!("; {more} more without their flow, since there were too many"),
            }
        ))
    }
}

fn now() -> String {
    timestamp(SystemTime::now())
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_a_unit_and_a_bound() {
        for (text, seconds) in [("1s", 1), ("10m", 600), ("24h", 86_400)] {
            assert_eq!(super::time(text).map(|time| time.as_secs()), Ok(seconds));
        }
        for text in ["", "10", "s", "0s", "25h", "1d", "-1s", "99999999999999999999h"] {
            assert!(super::time(text).is_err(), "{text}");
        }
    }
}
