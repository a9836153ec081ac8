//! ExtensionRef: filters of Heddle's own kinds.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::required;
use crate::config::yaml::MapReader;

/// LocalObjectReference to a document of group `heddle.io` in the route's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionRef {
    /// Its kind.
    pub kind: ExtensionKind,
    /// Its name.
    pub name: String,
}

/// The kinds that a filter can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ExtensionKind {
    /// Delays and errors on purpose.
    FaultInjection,
    /// Limits of requests.
    RateLimit,
}

/// Reads the reference under a key.
pub(in crate::rules) fn extension_ref(parent: &MapReader<'_>, key: &'static str) -> Option<ExtensionRef> {
    let map = parent.map(key)?;
    let allowed = "heddle.io, whose FaultInjection and RateLimit are the only filters beside upstream's";
    let group = required(&map, "group", allowed, |group| (group == "heddle.io").then_some(()));
    let kind = required(&map, "kind", "FaultInjection or RateLimit", |kind| match kind {
        "FaultInjection" => Some(ExtensionKind::FaultInjection),
        "RateLimit" => Some(ExtensionKind::RateLimit),
        _ => None,
    });
    let allowed = "the name of the document, of 1 to 253 characters";
    let name =
        required(&map, "name", allowed, |name| (1..=253).contains(&name.chars().count()).then(|| name.to_owned()));
    map.finish();
    group?;
    Some(ExtensionRef { kind: kind?, name: name? })
}

impl Serialize for ExtensionRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("group", "heddle.io")?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("name", &self.name)?;
        map.end()
    }
}
