//! The integration tests: real namespaces, real kernel state, real programs. One binary, one module per subject.
//!
//! They need root and what [`heddle_tests::bed::machine`] lists, and fail, naming it, where it is missing.

#![expect(clippy::unwrap_used, reason = "tests")]

mod access;
mod authority;
mod bed;
mod bounds;
mod capture;
mod chaos;
mod cluster_authority;
mod coexistence;
mod config;
mod demo;
mod documents;
mod endpoints;
mod enrolment;
mod entries;
mod events;
mod exclusions;
mod explain;
mod fail_closed;
mod fairness;
mod guides;
mod http;
mod identity;
mod inbound;
mod kubernetes;
mod live;
mod load;
mod logs;
mod modes;
mod native;
mod optimistic;
mod peer;
mod permissions;
mod privileges;
mod probes;
mod profile;
mod prometheus;
mod relay;
mod revocation;
mod sandbox;
mod services;
mod simulate;
mod source;
mod telemetry;
mod threats;
mod traces;
mod tunnel;
mod uninstall;
mod upgrade;
mod wire;

use heddle_tests::world;
