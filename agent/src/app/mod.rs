//! The composition root: everything that runs, started in order and stopped in order.

mod agent;
mod data_threads;
mod events;
mod held;
mod kernel_log;
mod metrics;
mod pods;
mod status;

pub use agent::run;
