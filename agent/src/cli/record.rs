//! `heddle record`.

use std::{
    fs,
    path::PathBuf,
    pin::pin,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use clap::Args;
use tokio::{
    runtime::Builder,
    signal::ctrl_c,
    time::{Instant, sleep, sleep_until},
};

use super::{arguments::AskedAgent, ask};
use crate::{
    admin::status::Status,
    cli,
    observe::{FlowCounts, Flows, FlowsEnd, FlowsHead, TakenFlows, VERSION, timestamp},
};

/// Record who asks the pods of this node for what, into a file for heddle simulate.
///
/// Asks the running agent by its admin socket, so it needs to run on the node, as the socket's owner. Distinct flows are
/// counted: the client's proven identity (or else its address), workload, port, and of requests method, path and host. Headers,
/// tokens and queries are not recorded. Connections and requests count at their end; those that are open when the recording
/// ends count too, and are marked. SIGINT ends the recording early, and what was recorded is written.
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

/// How often what was recorded is taken: the agent keeps a bounded number of flows, and a recording for a minute only.
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

/// How a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    InTime,
    Interrupted,
}

impl Record {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        match runtime.block_on(self.recorded()) {
            Ok(said) => cli::print(&said)?,
            Err(error) => return cli::failed(2, &error),
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn recorded(&self) -> anyhow::Result<String> {
        let status: Status = serde_json::from_slice(&ask::get(&self.agent.socket, "/status").await?)
            .context("the agent's answer is not understood")?;
        let head = FlowsHead { version: VERSION, node: status.node, started: now() };
        let (began, mut counts) = (Instant::now(), FlowCounts::bounded(MOST));
        let ending = self.record(&mut counts).await?;
        let TakenFlows { flows, overflow } = counts.into_taken();
        let end = FlowsEnd { ended: now(), flows: flows.len() as u64, overflow };
        let recorded = Flows { head, flows, end };
        self.write(&recorded)?;
        let early = match ending {
            Ending::InTime => String::new(),
            Ending::Interrupted => format!("interrupted after {} s: ", began.elapsed().as_secs()),
        };
        Ok(format!("{early}{}, written to {}", said(&recorded), self.to.display()))
    }

    /// Counts until the time is over, or SIGINT.
    async fn record(&self, counts: &mut FlowCounts) -> anyhow::Result<Ending> {
        let (id, end) = (fastrand::u64(..), Instant::now() + self.time);
        // Waited for only while the agent is not being asked: it cuts off no answer with flows in it.
        let mut interrupted = pin!(ctrl_c());
        let ending = loop {
            counts.merge(self.take(&format!("/flows?recording={id}")).await?);
            tokio::select! {
                signal = &mut interrupted => {
                    signal.context("wait for SIGINT")?;
                    break Ending::Interrupted;
                }
                () = sleep_until(end) => break Ending::InTime,
                () = sleep(STEP) => {}
            }
        };
        counts.merge(self.take(&format!("/flows?recording={id}&end=true")).await?);
        Ok(ending)
    }

    async fn take(&self, path: &str) -> anyhow::Result<TakenFlows> {
        let body = ask::get(&self.agent.socket, path).await?;
        serde_json::from_slice(&body).context("the agent's answer is not understood")
    }

    fn write(&self, recorded: &Flows) -> anyhow::Result<()> {
        let aside = self.to.with_extension("part");
        fs::write(&aside, recorded.write()?).with_context(|| format!("write {}", aside.display()))?;
        fs::rename(&aside, &self.to).with_context(|| format!("move what was recorded to {}", self.to.display()))
    }
}

/// What a recording has in it.
fn said(Flows { flows, end, .. }: &Flows) -> String {
    let (all, open) = flows.iter().fold((0, 0), |(all, open), flow| (all + flow.count, open + flow.open));
    let mut said = format!("{all} connections and requests in {} distinct flows", flows.len());
    if open > 0 {
        said += &format!(", {open} of them open still");
    }
    match end.overflow {
        0 => said,
        more => said + &format!("; {more} more without their flow: too many, or open since before the recording"),
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
