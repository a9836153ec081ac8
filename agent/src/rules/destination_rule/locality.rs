//! `localityLbSetting`: which regions and zones get traffic.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    config::yaml::{MapReader, Value},
    rules::value::{WholePercentage, list, required, text},
};

/// Which places get traffic. Absent fields mean what the mesh does by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LocalityLb {
    /// `false` turns all regard for places off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// In place of near before far. Refused: shares and orders of places are not what endpoints are picked by.
    #[serde(flatten)]
    pub policy: Option<LocalityPolicy>,
}

/// Which places come first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LocalityPolicy {
    /// Shares for each place.
    Distribute(Vec<LocalityShares>),
    /// Which region comes next.
    Failover(Vec<LocalityFailover>),
    /// Labels, `key` or `key=value`; endpoints that share more of them, in this order, come first.
    FailoverPriority(Vec<String>),
}

/// How traffic that comes from one place is shared out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalityShares {
    /// `region/zone/subzone`; the last part may be `*`.
    pub from: String,
    /// Shares by place, 100 together.
    pub to: BTreeMap<String, WholePercentage>,
}

/// Where traffic goes when a region has no healthy endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalityFailover {
    /// The region that has none.
    pub from: String,
    /// The region that takes its traffic.
    pub to: String,
}

const POLICIES: [&str; 3] = ["distribute", "failover", "failoverPriority"];
const LOCALITY: &str = "a locality such as region, region/zone, region/zone/* or *";

/// Reads `localityLbSetting`.
pub(super) fn read(map: MapReader<'_>) -> LocalityLb {
    let enabled = map.boolean("enabled");
    let distribute: Vec<_> = map.maps("distribute").into_iter().filter_map(shares).collect();
    let failover: Vec<_> = map.maps("failover").into_iter().filter_map(failover).collect();
    let label = |text: &str| (!text.is_empty() && !text.starts_with('=')).then(|| text.to_owned());
    let priority = list(&map, "failoverPriority", "a label as key or key=value", label);
    let there: Vec<&str> = POLICIES.into_iter().filter(|key| map.has(key)).collect();
    if there.len() > 1 {
        map.complain_here(format!("has {}, allowed: one of them", there.join(" and ")));
    }
    for key in there.iter().filter(|key| map.has_empty(key)) {
        map.complain(key, "is empty; remove it");
    }
    // Read all the same, so that whoever writes one hears everything at once.
    map.not_enforced(&POLICIES);
    map.finish();
    let policy = match there.first().copied() {
        Some("distribute") => Some(LocalityPolicy::Distribute(distribute)),
        Some("failover") => Some(LocalityPolicy::Failover(failover)),
        Some(_) => Some(LocalityPolicy::FailoverPriority(priority)),
        None => None,
    };
    LocalityLb { enabled, policy }
}

fn shares(map: MapReader<'_>) -> Option<LocalityShares> {
    let from = map.parsed("from", LOCALITY, |text| is_locality(text).then(|| text.to_owned()));
    let from = required(&map, "from", LOCALITY, from);
    let to = map.map("to").map(|to| read_shares(&to));
    let to = required(&map, "to", "a map of localities and percentages", to);
    map.finish();
    Some(LocalityShares { from: from?, to: to? })
}

fn read_shares(map: &MapReader<'_>) -> BTreeMap<String, WholePercentage> {
    let mut shares = BTreeMap::new();
    for (place, value) in map.values() {
        let share = match value {
            Value::Integer(share) => u8::try_from(*share).ok().and_then(WholePercentage::new),
            _ => None,
        };
        if !is_locality(place) {
            map.complain(place, format!("is no locality, allowed: {LOCALITY}"));
        }
        match share {
            Some(share) => drop(shares.insert(place.to_owned(), share)),
            None => map.complain(place, format!("found {value}, allowed: a whole percentage from 0 to 100")),
        }
    }
    let sum: u32 = shares.values().map(|share| u32::from(share.get())).sum();
    if sum != 100 && shares.len() == map.values().count() {
        map.complain_here(format!("has {sum} percent together, must be 100"));
    }
    shares
}

/// Up to three parts that are not empty, of which only the last may be `*`.
fn is_locality(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let (last, before) = parts.split_last().map_or(("", [].as_slice()), |(last, before)| (*last, before));
    let is_name = |part: &str| !part.is_empty() && !part.contains('*');
    parts.len() <= 3 && before.iter().all(|part| is_name(part)) && (last == "*" || is_name(last))
}

fn failover(map: MapReader<'_>) -> Option<LocalityFailover> {
    let from = required(&map, "from", "a region", text(&map, "from"));
    let to = required(&map, "to", "a region", text(&map, "to"));
    if from.is_some() && from == to {
        map.complain("to", "is the region itself, must be another one");
    }
    map.finish();
    Some(LocalityFailover { from: from?, to: to? })
}
