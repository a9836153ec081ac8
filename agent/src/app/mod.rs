//! The composition root: everything that runs, started in order and stopped in order.

mod data_threads;
mod pods;
