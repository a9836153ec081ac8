//! The composition root: everything that runs, started in order and stopped in order.

mod agent;
mod authority;
mod data_threads;
mod drain;
mod endpoints;
mod events;
mod held;
mod kernel_events;
mod kernel_log;
mod metrics;
mod pod_metrics;
mod pods;
mod pressure;
mod process;
mod questions;
mod signals;
mod status;
mod succession;

pub use agent::run;
pub use authority::run as run_authority;
pub use signals::told_to_end;
