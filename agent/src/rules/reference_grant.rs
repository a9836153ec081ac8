//! ReferenceGrant: accepted, so that manifests which have one for a gateway need no editing. Routes of the mesh refer
//! across namespaces without it (GEP-1294), so it changes nothing here.

use serde::Serialize;

use crate::config::yaml::MapReader;

/// `gateway.networking.k8s.io/v1` ReferenceGrantSpec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReferenceGrant {
    /// Who may refer.
    pub from: Vec<GrantFrom>,
    /// To what, in the namespace of the grant.
    pub to: Vec<GrantTo>,
}

/// Objects that may refer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantFrom {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
}

/// Objects that may be referred to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GrantTo {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name; all objects of the kind without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<ReferenceGrant> {
    for key in ["from", "to"] {
        if !spec.has(key) {
            spec.missing(key, "a list with at least one entry");
        }
    }
    let from = spec.maps("from").into_iter().filter_map(from).collect();
    let to = spec.maps("to").into_iter().filter_map(to).collect();
    spec.finish();
    Some(ReferenceGrant { from, to })
}

fn from(map: MapReader<'_>) -> Option<GrantFrom> {
    let (group, kind, namespace) = (required(&map, "group"), required(&map, "kind"), required(&map, "namespace"));
    map.finish();
    Some(GrantFrom { group: group?, kind: kind?, namespace: namespace? })
}

fn to(map: MapReader<'_>) -> Option<GrantTo> {
    let (group, kind) = (required(&map, "group"), required(&map, "kind"));
    let name = map.text("name").map(str::to_owned);
    map.finish();
    Some(GrantTo { group: group?, kind: kind?, name })
}

fn required(map: &MapReader<'_>, key: &'static str) -> Option<String> {
    let text = map.text(key);
    if text.is_none() && !map.has(key) {
        map.missing(key, "text");
    }
    text.map(str::to_owned)
}
