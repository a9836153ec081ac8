//! How much a pod may have: the node's default, and what Capture documents say.

use std::ops::RangeInclusive;

use serde::Serialize;

use crate::config::yaml::MapReader;

/// A hundredth to a hundredfold of the default weight: beyond that one of two pods has nothing.
const WEIGHTS: RangeInclusive<u32> = 1..=10_000;
/// More than any node has descriptors for.
const PLACES: RangeInclusive<u32> = 1..=10_000_000;
/// One stream of a tunnel may have a megabyte unread.
const BUFFER_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// What one pod may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Its part of the time of a data thread that others want, too, beside their weights.
    pub weight: u32,
    /// Connections from the pod, and as many to it; of those of HTTP that the agent opens, and of unused tunnels, too.
    pub connections: u32,
    /// Handshakes of tunnels to the pod at a time, and as many from it.
    pub handshakes: u32,
    /// Bytes that wait for somebody to take them.
    pub buffer_bytes: u64,
}

impl Share {
    /// That of a pod by default.
    pub const WEIGHT: u32 = 100;

    /// The same, with what is said instead where something is.
    pub fn or(self, said: ShareBounds) -> Self {
        Self {
            weight: said.weight.unwrap_or(self.weight),
            connections: said.connections.unwrap_or(self.connections),
            handshakes: said.handshakes.unwrap_or(self.handshakes),
            buffer_bytes: said.buffer_bytes.unwrap_or(self.buffer_bytes),
        }
    }

    /// The same, but not more than what is said.
    fn within(self, said: ShareBounds) -> Self {
        let bounds = ShareBounds::least(said, ShareBounds::of(self));
        self.or(bounds)
    }
}

/// What somebody says of a share: some of it, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareBounds {
    /// See [`Share`], as for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Handshakes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshakes: Option<u32>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_bytes: Option<u64>,
}

impl ShareBounds {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The smaller of each that is said.
    #[must_use]
    pub fn least(one: Self, other: Self) -> Self {
        fn smaller<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
            one.into_iter().chain(other).min()
        }
        Self {
            weight: smaller(one.weight, other.weight),
            connections: smaller(one.connections, other.connections),
            handshakes: smaller(one.handshakes, other.handshakes),
            buffer_bytes: smaller(one.buffer_bytes, other.buffer_bytes),
        }
    }

    /// Reads the fields of a map, which has no others.
    pub(crate) fn read(map: MapReader<'_>) -> Self {
        let places = |key| map.integer(key, "a whole number from 1 to 10000000", |n| PLACES.contains(n));
        let said = Self {
            weight: map.integer("weight", "a whole number from 1 to 10000; 100 is a pod's by default", |n| {
                WEIGHTS.contains(n)
            }),
            connections: places("connections"),
            handshakes: places("handshakes"),
            buffer_bytes: map.integer("bufferBytes", "a number of bytes from 1048576 to 1099511627776", |n| {
                BUFFER_BYTES.contains(n)
            }),
        };
        map.finish();
        said
    }

    fn of(share: Share) -> Self {
        Self {
            weight: Some(share.weight),
            connections: Some(share.connections),
            handshakes: Some(share.handshakes),
            buffer_bytes: Some(share.buffer_bytes),
        }
    }
}

/// What documents say of a pod's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SaidShare {
    /// By those of the root namespace, whose word counts instead of the node's default.
    #[serde(skip_serializing_if = "ShareBounds::is_empty")]
    pub by_mesh: ShareBounds,
    /// By those of the pod's own namespace, who can only do with less: more would be at the cost of others.
    #[serde(skip_serializing_if = "ShareBounds::is_empty")]
    pub by_namespace: ShareBounds,
}

impl SaidShare {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.by_mesh.is_empty() && self.by_namespace.is_empty()
    }

    /// What the pod may have on a node with this default.
    pub fn of(self, default: Share) -> Share {
        default.or(self.by_mesh).within(self.by_namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Share = Share { weight: 100, connections: 1000, handshakes: 50, buffer_bytes: 1 << 24 };

    #[test]
    fn the_mesh_says_more_or_less_and_a_namespace_only_less() {
        let many = ShareBounds { weight: Some(300), connections: Some(5000), ..ShareBounds::default() };
        let few = ShareBounds { weight: Some(10), handshakes: Some(2), ..ShareBounds::default() };
        let said = |by_mesh, by_namespace| SaidShare { by_mesh, by_namespace }.of(DEFAULT);
        assert_eq!(said(ShareBounds::default(), ShareBounds::default()), DEFAULT);
        assert_eq!(said(many, ShareBounds::default()), Share { weight: 300, connections: 5000, ..DEFAULT });
        assert_eq!(said(ShareBounds::default(), many), DEFAULT, "a pod's own namespace gives it nothing");
        assert_eq!(said(ShareBounds::default(), few), Share { weight: 10, handshakes: 2, ..DEFAULT });
        assert_eq!(said(many, few), Share { weight: 10, connections: 5000, handshakes: 2, ..DEFAULT });
    }

    #[test]
    fn of_several_documents_the_smallest_number_counts_field_by_field() {
        let one = ShareBounds { weight: Some(10), connections: Some(7), ..ShareBounds::default() };
        let other = ShareBounds { weight: Some(20), buffer_bytes: Some(9), ..ShareBounds::default() };
        let both = ShareBounds { weight: Some(10), connections: Some(7), handshakes: None, buffer_bytes: Some(9) };
        assert_eq!((ShareBounds::least(one, other), ShareBounds::least(other, one)), (both, both));
    }
}
