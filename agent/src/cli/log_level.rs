//! `heddle log-level`.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::{
    arguments::AskedAgent,
    ask::{ask, put},
    table::Table,
};
use crate::{
    admin::logging::{Change, Logging},
    cli,
};

/// Show or change how talkative the logs of this node's agent are, while it runs.
///
/// Without an option it shows what is in force. A change lasts until the agent ends: log.level of its configuration is in
/// force again after that. Asks the running agent by its admin socket, so it needs to run on the node, as the socket's owner.
///
/// Exit codes: 0 shown or changed, 2 the agent does not answer or refuses the change, or wrong usage.
#[derive(Debug, Args)]
pub(super) struct LogLevel {
    /// off, error, warn, info, debug, trace, or directives such as info,heddle::capture=debug.
    #[arg(value_name = "LEVEL")]
    level: Option<String>,
    /// Go back to log.level of the configuration.
    #[arg(long, conflicts_with = "level")]
    reset: bool,
    /// Write the access log, or do not.
    #[arg(long, value_enum, value_name = "WHETHER")]
    access: Option<Access>,
    #[command(flatten)]
    agent: AskedAgent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Access {
    On,
    Off,
}

const LOGGING: &str = "/logging";

impl LogLevel {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.logging() {
            Ok(logging) => {
                cli::print(text(&logging).trim_end())?;
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => cli::failed(2, &error),
        }
    }

    fn logging(self) -> anyhow::Result<Logging> {
        let level = match self.reset {
            true => Some(understood(&ask(&self.agent.socket, LOGGING)?)?.configured),
            false => self.level,
        };
        let change = Change { level, access: self.access.map(|access| access == Access::On) };
        let body = match change == Change::default() {
            true => ask(&self.agent.socket, LOGGING)?,
            false => put(&self.agent.socket, LOGGING, serde_json::to_string(&change)?)?,
        };
        understood(&body)
    }
}

fn understood(body: &[u8]) -> anyhow::Result<Logging> {
    serde_json::from_slice(body).context("the agent's answer is not understood")
}

fn text(logging: &Logging) -> String {
    let mut facts = Table::default();
    facts.row(["level", &logging.level]);
    facts.row(["configured", &logging.configured]);
    facts.row(["access log", if logging.access { "on" } else { "off" }]);
    facts.to_string()
}
