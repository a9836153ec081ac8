//! `heddle agent`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use tokio::runtime::Builder;

use super::uninstall::Uninstall;
use crate::{app, cli, config::Config, observe};

/// Run this node's agent: enrol the pods of this node and carry their TCP traffic.
///
/// Runs as root, of whose capabilities it needs NET_ADMIN, SYS_ADMIN and, where pods are found by their uid, SYS_PTRACE.
/// SIGTERM and SIGINT drain: open connections go on until they end or limits.drainTimeout has passed; a second signal ends
/// the agent at once. While no agent runs, connections of enrolled pods are refused; "heddle uninstall" sets them free.
///
/// Exit codes: 0 ended as told, 1 the configuration or the machine does not allow it to run, 2 wrong usage.
#[derive(Debug, Args)]
pub(super) struct Agent {
    /// The agent's configuration.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/heddle/agent.yaml")]
    config: PathBuf,
    /// Check the configuration, print it with all defaults as JSON, and end.
    #[arg(long)]
    check: bool,
    /// Take Heddle out of this node, as "heddle uninstall" does, and end.
    #[arg(long, conflicts_with = "check")]
    cleanup: bool,
    /// With --cleanup, remove the state on disk and the sockets, too.
    #[arg(long, requires = "cleanup")]
    purge: bool,
    /// With --cleanup, wait to be told to end afterwards: a DaemonSet would start what ends by itself again and again.
    #[arg(long, requires = "cleanup")]
    stay: bool,
}

/// For what blocks: a look at each pod that was just enrolled, of which a node has hundreds at its start, and a few other things.
const BLOCKING_THREADS: usize = 128;

/// How long the agent's own log may take to be written when the agent ends.
const LOG_FLUSH: Duration = Duration::from_secs(1);

impl Agent {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.cleanup {
            let outcome = Uninstall { config: self.config, purge: self.purge }.run()?;
            if self.stay {
                Builder::new_current_thread().enable_all().build()?.block_on(app::told_to_end())?;
            }
            return Ok(outcome);
        }
        let config = Config::load(&self.config)?;
        if self.check {
            cli::print(&serde_json::to_string_pretty(&config)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        // One thread: watches, the compiler and the endpoints must not take the data threads' CPUs.
        let control = Builder::new_current_thread().max_blocking_threads(BLOCKING_THREADS).enable_all().build()?;
        let outcome = control.block_on(app::run(config));
        // Before what went wrong: it is the last word.
        observe::flush_log(LOG_FLUSH);
        // What still counts connections is not worth waiting for.
        control.shutdown_background();
        outcome?;
        Ok(ExitCode::SUCCESS)
    }
}
