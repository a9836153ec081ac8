//! `agents` of `ca.yaml`: which pods are the agents, for `taintNodes`.

use std::time::Duration;

use serde::Serialize;

use super::{as_duration, defaults, read::within};
use crate::config::{resolve::is_label, yaml::MapReader};

/// The agents, and the nodes that they are to run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentsConfig {
    /// The namespace of their pods.
    pub namespace: String,
    /// A label selector, which picks their pods there.
    pub selector: String,
    /// A label selector, which picks the nodes that they run on; no other node is touched.
    pub node_selector: String,
    /// How long a node's agent may be away before the node is tainted.
    #[serde(serialize_with = "as_duration")]
    pub grace: Duration,
}

const SELECTOR: &str = "a label selector as kubectl takes it, such as app.kubernetes.io/name=heddle";

/// Reads it.
pub(super) fn agents(root: &MapReader<'_>) -> Option<AgentsConfig> {
    let agents = root.map_or_empty("agents")?;
    let namespace =
        agents.parsed("namespace", "the name of a namespace", |text| is_label(text).then(|| text.to_owned()));
    // Every pod of the namespace would pass for an agent.
    let selector = agents.parsed("selector", SELECTOR, |text| (!text.is_empty()).then(|| text.to_owned()));
    let node_selector = agents.parsed("nodeSelector", SELECTOR, |text| Some(text.to_owned()));
    let grace = within(&agents, "grace", "a duration from 0s to 10m", &defaults::AGENTS_GRACE_RANGE);
    agents.finish();
    Some(AgentsConfig {
        namespace: namespace.unwrap_or_else(|| defaults::AGENTS_NAMESPACE.to_owned()),
        selector: selector.unwrap_or_else(|| defaults::AGENTS_SELECTOR.to_owned()),
        node_selector: node_selector.unwrap_or_else(|| defaults::NODES_SELECTOR.to_owned()),
        grace: grace.unwrap_or(defaults::AGENTS_GRACE),
    })
}
