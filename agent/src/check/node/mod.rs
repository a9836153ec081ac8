//! What `heddle check --node` finds about the machine that it runs on, as an agent with the same configuration would meet it.
//!
//! In: the configuration. Out: one outcome for each check. What can be tried is tried: programs are loaded and attached, sockets
//! are bound. Nothing stays, and nothing of an agent that runs is touched.

mod kernel;
mod mounts;
mod ports;
mod process;
mod programs;

use super::Outcome;
use crate::config::Config;

/// Checks this machine.
pub fn check(config: &Config) -> Vec<Outcome> {
    [
        kernel::check(),
        mounts::check(&config.capture),
        process::check(config),
        programs::check(&config.capture.cgroup),
        ports::check(config),
    ]
    .concat()
}
