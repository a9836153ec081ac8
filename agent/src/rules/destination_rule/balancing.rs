//! `loadBalancer`: which endpoint a connection or request goes to.

use std::time::Duration;

use http::HeaderName;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{LocalityLb, locality};
use crate::{
    config::yaml::{MapReader, Value},
    rules::value::{
        Percentage, duration, duration_or_zero, header_name, not_both, percentage, required, serialize_duration,
        serialize_some_duration, text, word, words,
    },
};

/// Which endpoint is picked. The deprecated `warmupDurationSecs` is refused: `warmup` says the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancer {
    /// By what; the mesh's default where it is absent.
    #[serde(flatten)]
    pub algorithm: Option<Algorithm>,
    /// Which places come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality_lb_setting: Option<LocalityLb>,
    /// How a new endpoint gets its share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Warmup>,
}

/// How one of the endpoints is picked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Algorithm {
    /// Without regard to the request.
    Simple(SimpleAlgorithm),
    /// What is alike goes to the same endpoint.
    ConsistentHash(ConsistentHash),
}

words! {
    /// How one of the endpoints is picked without regard to the request.
    SimpleAlgorithm {
        /// One after the other.
        RoundRobin = "ROUND_ROBIN",
        /// Of two, the one with fewer requests under way.
        LeastRequest = "LEAST_REQUEST",
        /// Any.
        Random = "RANDOM",
        /// The one whose address was dialled. Refused: at a Service's address there is nobody.
        Passthrough = "PASSTHROUGH",
    }
}

/// What is alike, and how alike things find one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsistentHash {
    /// What is compared.
    #[serde(flatten)]
    pub key: HashKey,
    /// How; the mesh's default where it is absent.
    #[serde(flatten)]
    pub algorithm: Option<HashAlgorithm>,
}

/// What requests that go to the same endpoint have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// `httpHeaderName`: a header.
    Header(HeaderName),
    /// `httpCookie`: a cookie.
    Cookie(HashCookie),
    /// `useSourceIp`: the client's address.
    SourceIp,
    /// `httpQueryParameterName`: a query parameter.
    QueryParameter(String),
}

/// A cookie that ties a client to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// Its path, where the mesh makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How long it lasts, 0 for a session; without it the mesh makes none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_duration")]
    pub ttl: Option<Duration>,
}

/// How hashes find endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum HashAlgorithm {
    /// A ring of virtual nodes, kept as a table of Maglev's: what is alike goes to one endpoint, and few others move when
    /// endpoints change.
    RingHash {
        /// Virtual nodes at least; up to the 65537 that there always are.
        #[serde(skip_serializing_if = "Option::is_none")]
        minimum_ring_size: Option<u32>,
    },
    /// Maglev's table.
    Maglev {
        /// A prime number; 65537 where it is absent.
        #[serde(skip_serializing_if = "Option::is_none")]
        table_size: Option<u32>,
    },
}

/// A new endpoint gets more and more, up to its whole share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warmup {
    /// How long it takes.
    #[serde(serialize_with = "serialize_duration")]
    pub duration: Duration,
    /// What it begins with; 10 % where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_percent: Option<Percentage>,
    /// The exponent of growth, at least 1, which is linear and the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggression: Option<f64>,
}

/// Upstream's bound for Maglev's table.
const LARGEST_TABLE: u32 = 5_000_011;

/// A ring is kept as a table of Maglev's, which has so many places: at least as many as are asked for.
const LARGEST_RING: u32 = 65_537;

/// Reads `loadBalancer`.
pub(super) fn read(map: MapReader<'_>) -> LoadBalancer {
    not_both(&map, "simple", "consistentHash");
    let simple = word(&map, "simple", &["LEAST_CONN", "PASSTHROUGH"]).map(Algorithm::Simple);
    let hash = map.map("consistentHash").and_then(consistent_hash).map(Algorithm::ConsistentHash);
    let locality_lb_setting = map.map("localityLbSetting").map(locality::read);
    let warmup = map.map("warmup").and_then(warmup);
    map.not_enforced(&["warmupDurationSecs"]);
    map.finish();
    LoadBalancer { algorithm: simple.or(hash), locality_lb_setting, warmup }
}

fn consistent_hash(map: MapReader<'_>) -> Option<ConsistentHash> {
    let keys = [
        header_name(&map, "httpHeaderName").map(HashKey::Header),
        map.map("httpCookie").and_then(cookie).map(HashKey::Cookie),
        map.scalar("useSourceIp", "true", |node| (node.value == Value::Bool(true)).then_some(HashKey::SourceIp)),
        text(&map, "httpQueryParameterName").map(HashKey::QueryParameter),
    ];
    let names = ["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"];
    match names.iter().filter(|name| map.has(name)).count() {
        1 => {}
        count => map.complain_here(format!("has {count} keys to hash, must have one of {}", names.join(", "))),
    }
    not_both(&map, "ringHash", "maglev");
    let ring = map.map("ringHash").map(ring);
    let maglev = map.map("maglev").map(maglev);
    map.not_enforced(&["minimumRingSize"]);
    map.finish();
    let key = keys.into_iter().flatten().next()?;
    Some(ConsistentHash { key, algorithm: ring.or(maglev) })
}

fn cookie(map: MapReader<'_>) -> Option<HashCookie> {
    let name = required(&map, "name", "text that is not empty", text(&map, "name"));
    let path = text(&map, "path");
    let ttl = duration_or_zero(&map, "ttl");
    map.not_enforced(&["attributes"]);
    map.finish();
    Some(HashCookie { name: name?, path, ttl })
}

fn ring(map: MapReader<'_>) -> HashAlgorithm {
    let allowed = format!("a number from 1 to {LARGEST_RING}");
    let minimum_ring_size = map.integer("minimumRingSize", &allowed, |size| (1..=LARGEST_RING).contains(size));
    map.finish();
    HashAlgorithm::RingHash { minimum_ring_size }
}

fn maglev(map: MapReader<'_>) -> HashAlgorithm {
    let allowed = format!("a prime number up to {LARGEST_TABLE}");
    let table_size = map.integer("tableSize", &allowed, |size| *size <= LARGEST_TABLE && is_prime(*size));
    map.finish();
    HashAlgorithm::Maglev { table_size }
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

fn warmup(map: MapReader<'_>) -> Option<Warmup> {
    let duration = required(&map, "duration", "a duration such as 300s", duration(&map, "duration"));
    let minimum_percent = percentage(&map, "minimumPercent");
    let aggression = map.scalar("aggression", "a number from 1 to 100", |node| {
        let value = match node.value {
            Value::Integer(value) => u8::try_from(value).ok().map(f64::from),
            Value::Float(value) => Some(value),
            _ => None,
        };
        value.filter(|value| (1.0..=100.0).contains(value))
    });
    map.finish();
    Some(Warmup { duration: duration?, minimum_percent, aggression })
}

impl Serialize for HashKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Header(name) => map.serialize_entry("httpHeaderName", name.as_str())?,
            Self::Cookie(cookie) => map.serialize_entry("httpCookie", cookie)?,
            Self::SourceIp => map.serialize_entry("useSourceIp", &true)?,
            Self::QueryParameter(name) => map.serialize_entry("httpQueryParameterName", name)?,
        }
        map.end()
    }
}
