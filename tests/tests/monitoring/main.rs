//! What `deploy/monitoring` gives to Prometheus and Grafana: it uses only metrics, labels and values that the agent has, each
//! alert fires when it should and is silent when it should, and tells people what to do.
//!
//! Needs promtool, of Debian's package `prometheus`, and no rights. That a real Prometheus answers every query, from real
//! agents, is in `tests/mesh/prometheus/`.

#![expect(clippy::unwrap_used, reason = "tests")]

mod dashboard;
mod expression;
mod known;
mod promtool;
mod rules;
mod runbook;
