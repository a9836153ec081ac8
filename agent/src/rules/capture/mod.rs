//! Capture: what pods keep out of the mesh, and what they may have of their agent, for all pods of a namespace or those with some
//! labels.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, num::NonZeroU16};

use ipnet::IpNet;
use serde::Serialize;

use super::value::{Selector, list, network, selector};
use crate::{
    config::yaml::{MapReader, Value},
    shares::ShareBounds,
};

/// `heddle.io/v1alpha1` Capture. Each field but `share` means what the pod annotation of the same name means (`heddle.io/exclude-...`,
/// `heddle.io/opaque-ports`), and a pod has what its annotations and the documents that select it say together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capture {
    /// Which pods of the namespace; all of them without labels.
    #[serde(skip_serializing_if = "Selector::is_everything")]
    pub selector: Selector,
    /// Ports of the pod that clients reach in the clear, past the agent.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_inbound_ports: BTreeSet<NonZeroU16>,
    /// Ports to which the pod connects in the clear, past the agent.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_outbound_ports: BTreeSet<NonZeroU16>,
    /// Networks to which the pod connects in the clear, past the agent.
    #[serde(rename = "excludeOutboundCIDRs", skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude_outbound_cidrs: BTreeSet<IpNet>,
    /// Ports of the pod that are never parsed as HTTP.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub opaque_ports: BTreeSet<NonZeroU16>,
    /// What the pod may have of the agent that it shares with others.
    #[serde(skip_serializing_if = "ShareBounds::is_empty")]
    pub share: ShareBounds,
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<Capture> {
    let selector = selector(&spec).unwrap_or_default();
    let exclude_inbound_ports = ports(&spec, "excludeInboundPorts");
    let exclude_outbound_ports = ports(&spec, "excludeOutboundPorts");
    let cidrs = list(&spec, "excludeOutboundCIDRs", "networks such as 10.0.0.0/8 or fd00::/8", network);
    let opaque_ports = ports(&spec, "opaquePorts");
    let share = spec.map_or_empty("share").map(ShareBounds::read).unwrap_or_default();
    spec.finish();
    let exclude_outbound_cidrs = cidrs.into_iter().collect();
    Some(Capture {
        selector,
        exclude_inbound_ports,
        exclude_outbound_ports,
        exclude_outbound_cidrs,
        opaque_ports,
        share,
    })
}

fn ports(spec: &MapReader<'_>, key: &'static str) -> BTreeSet<NonZeroU16> {
    let ports = spec.scalars(key, "port numbers from 1 to 65535", |node| match node.value {
        Value::Integer(port) => u16::try_from(port).ok().and_then(NonZeroU16::new),
        _ => None,
    });
    ports.into_iter().collect()
}
