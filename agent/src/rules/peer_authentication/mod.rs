//! PeerAuthentication: whether a workload takes connections in plaintext.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, num::NonZeroU16};

use serde::Serialize;

use super::value::{Selector, port_from_text, selector, word, words};
use crate::config::yaml::MapReader;

/// `security.istio.io/v1` PeerAuthentication. The most specific document decides: of a port, of a workload, of a namespace,
/// of the mesh; of two that are as specific, the older.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthentication {
    /// Which pods; all of the namespace without labels.
    #[serde(skip_serializing_if = "Selector::is_everything")]
    pub selector: Selector,
    /// For all ports that are not named below.
    #[serde(skip_serializing_if = "Mtls::is_inherited")]
    pub mtls: Mtls,
    /// For single ports of the workload. Only with a selector.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub port_level_mtls: BTreeMap<NonZeroU16, Mtls>,
}

/// What is demanded of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mtls {
    /// How mutual TLS is used.
    pub mode: PeerMtlsMode,
}

words! {
    /// Which connections a workload takes.
    #[derive(Default)]
    PeerMtlsMode {
        /// What the next less specific document says.
        #[default]
        Unset = "UNSET",
        /// In plaintext only.
        Disable = "DISABLE",
        /// In mutual TLS and in plaintext.
        Permissive = "PERMISSIVE",
        /// In mutual TLS only.
        Strict = "STRICT",
    }
}

impl Mtls {
    fn is_inherited(&self) -> bool {
        self.mode == PeerMtlsMode::Unset
    }
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<PeerAuthentication> {
    let selector = selector(&spec).unwrap_or_default();
    let mtls = spec.map("mtls").and_then(mtls).unwrap_or_default();
    let port_level_mtls = spec.map("portLevelMtls").map_or_else(BTreeMap::new, |ports| read_ports(&ports));
    if spec.has("portLevelMtls") && selector.is_everything() {
        spec.complain("portLevelMtls", "needs a selector with labels: ports differ between workloads");
    }
    spec.finish();
    Some(PeerAuthentication { selector, mtls, port_level_mtls })
}

fn read_ports(map: &MapReader<'_>) -> BTreeMap<NonZeroU16, Mtls> {
    if map.values().next().is_none() {
        map.complain_here("has no ports; remove it");
    }
    let mut ports = BTreeMap::new();
    for (key, settings) in map.children() {
        let Some(port) = port_from_text(key) else {
            settings.complain_here(format!("found the key {key:?}, allowed: a port from 1 to 65535"));
            continue;
        };
        if ports.insert(port, mtls(settings).unwrap_or_default()).is_some() {
            map.complain(key, "is the number of an earlier port too");
        }
    }
    ports
}

fn mtls(map: MapReader<'_>) -> Option<Mtls> {
    let mode = word(&map, "mode", &[]);
    map.finish();
    Some(Mtls { mode: mode.unwrap_or_default() })
}
