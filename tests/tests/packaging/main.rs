//! What `deploy` gives to Kubernetes and what `docs` tells people to write: manifests and chart are the same objects, all of which are
//! what the Kubernetes API knows, and every YAML of a guide is taken by the program that it is for.
//!
//! Needs kubectl, and Helm or Debian's Go with sprig, of which Helm is made; no rights. That the guides' documents do in a mesh what the
//! guides say is in `tests/mesh/guides.rs`.

#![expect(clippy::unwrap_used, reason = "tests")]

mod chart;
mod configuration;
mod guides;
mod kinds;
mod objects;
mod programs;
