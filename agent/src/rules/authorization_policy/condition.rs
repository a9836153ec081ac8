//! `when`: conditions on attributes of a request or connection.

use std::{fmt, num::NonZeroU16};

use http::HeaderName;
use ipnet::IpNet;
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    operation::PORT,
    source::{NAMESPACE, NETWORK, PRINCIPAL, SERVICE_ACCOUNT, ServiceAccountMatch, TEXT, principal},
};
use crate::{
    config::yaml::MapReader,
    rules::value::{StringMatch, list, network_or_address, port_from_text, required},
};

/// One entry of `when`: an attribute, and what it must be and not be. Each attribute has values of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// An attribute that is a text.
    Text(TextAttribute, Values<StringMatch>),
    /// An attribute that is an address.
    Address(AddressAttribute, Values<IpNet>),
    /// `source.serviceAccount`.
    ServiceAccount(Values<ServiceAccountMatch>),
    /// `destination.port`.
    Port(Values<NonZeroU16>),
}

/// What an attribute must be: one of `values`, where there are some, and none of `not_values`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values<T> {
    /// `values`.
    pub values: Vec<T>,
    /// `notValues`.
    pub not_values: Vec<T>,
}

impl<T: fmt::Display> Values<T> {
    /// Both lists, as they are written.
    pub(super) fn entries(&self) -> [Vec<String>; 2] {
        [&self.values, &self.not_values].map(|values| values.iter().map(ToString::to_string).collect())
    }
}

/// Attributes that are texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TextAttribute {
    /// `request.headers[name]`.
    RequestHeader(HeaderName),
    /// `source.namespace`.
    SourceNamespace,
    /// `source.principal`.
    SourcePrincipal,
    /// `request.auth.principal`: issuer and subject of the token.
    RequestPrincipal,
    /// `request.auth.audiences`: who the token is for.
    RequestAudiences,
    /// `request.auth.presenter`: who asked for the token.
    RequestPresenter,
    /// `request.auth.claims[a][b]`: a claim of the token, by its path.
    RequestClaim(Vec<String>),
    /// `connection.sni`.
    ConnectionSni,
}

/// Attributes that are addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressAttribute {
    /// `source.ip`: where the connection comes from.
    Source,
    /// `remote.ip`: where the request comes from, by what trusted proxies say.
    Remote,
    /// `destination.ip`.
    Destination,
}

enum Attribute {
    Text(TextAttribute),
    Address(AddressAttribute),
    ServiceAccount,
    Port,
}

const KEYS: &str = "request.headers[NAME], source.ip, remote.ip, source.namespace, source.principal, \
    source.serviceAccount, request.auth.principal, request.auth.audiences, request.auth.presenter, \
    request.auth.claims[NAME], destination.ip, destination.port, connection.sni";

/// Reads an entry of `when`.
pub(super) fn read(map: MapReader<'_>) -> Option<Condition> {
    let attribute = required(&map, "key", KEYS, attribute(&map));
    let Some(attribute) = attribute else {
        // Which values are allowed depends on the key.
        map.tolerate(&["values", "notValues"]);
        map.finish();
        return None;
    };
    let condition = match attribute {
        Attribute::Text(attribute) => {
            let (allowed, parse) = text_values(&attribute);
            let values = values(&map, allowed, parse);
            Condition::Text(attribute, values)
        }
        Attribute::Address(attribute) => Condition::Address(attribute, values(&map, NETWORK, network_or_address)),
        Attribute::ServiceAccount => Condition::ServiceAccount(values(&map, SERVICE_ACCOUNT, |text| text.parse().ok())),
        Attribute::Port => Condition::Port(values(&map, PORT, port_from_text)),
    };
    let has_some = |key| map.has(key) && !map.has_empty(key);
    if !has_some("values") && !has_some("notValues") {
        map.complain_here("has neither values nor notValues, and needs one of them");
    }
    map.finish();
    Some(condition)
}

type ParseText = fn(&str) -> Option<StringMatch>;

fn text_values(attribute: &TextAttribute) -> (&'static str, ParseText) {
    let any: ParseText = |text| text.parse().ok();
    match attribute {
        TextAttribute::SourcePrincipal => (PRINCIPAL, principal),
        TextAttribute::SourceNamespace => (NAMESPACE, any),
        _ => (TEXT, any),
    }
}

fn values<T>(map: &MapReader<'_>, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Values<T> {
    Values { values: list(map, "values", allowed, &parse), not_values: list(map, "notValues", allowed, &parse) }
}

fn attribute(map: &MapReader<'_>) -> Option<Attribute> {
    let key = map.parsed("key", KEYS, Some)?;
    let found = parse(key);
    if found.is_none() {
        let why = if key.starts_with("experimental.envoy.") { ", which only Envoy could evaluate" } else { "" };
        map.complain("key", format!("found {key:?}{why}, allowed: {KEYS}"));
    }
    found
}

fn parse(key: &str) -> Option<Attribute> {
    Some(match key {
        "source.ip" => Attribute::Address(AddressAttribute::Source),
        "remote.ip" => Attribute::Address(AddressAttribute::Remote),
        "destination.ip" => Attribute::Address(AddressAttribute::Destination),
        "source.serviceAccount" => Attribute::ServiceAccount,
        "destination.port" => Attribute::Port,
        "source.namespace" => Attribute::Text(TextAttribute::SourceNamespace),
        "source.principal" => Attribute::Text(TextAttribute::SourcePrincipal),
        "request.auth.principal" => Attribute::Text(TextAttribute::RequestPrincipal),
        "request.auth.audiences" => Attribute::Text(TextAttribute::RequestAudiences),
        "request.auth.presenter" => Attribute::Text(TextAttribute::RequestPresenter),
        "connection.sni" => Attribute::Text(TextAttribute::ConnectionSni),
        _ => Attribute::Text(parse_named(key)?),
    })
}

fn parse_named(key: &str) -> Option<TextAttribute> {
    if let Some(name) = key.strip_prefix("request.headers[") {
        return name.strip_suffix(']')?.parse().ok().map(TextAttribute::RequestHeader);
    }
    let claims = key.strip_prefix("request.auth.claims[")?.strip_suffix(']')?;
    let path: Vec<String> = claims.split("][").map(str::to_owned).collect();
    path.iter()
        .all(|claim| !claim.is_empty() && !claim.contains(['[', ']']))
        .then_some(TextAttribute::RequestClaim(path))
}

impl fmt::Display for TextAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestHeader(name) => write!(f, "request.headers[{name}]"),
            Self::SourceNamespace => f.write_str("source.namespace"),
            Self::SourcePrincipal => f.write_str("source.principal"),
            Self::RequestPrincipal => f.write_str("request.auth.principal"),
            Self::RequestAudiences => f.write_str("request.auth.audiences"),
            Self::RequestPresenter => f.write_str("request.auth.presenter"),
            Self::RequestClaim(path) => write!(f, "request.auth.claims[{}]", path.join("][")),
            Self::ConnectionSni => f.write_str("connection.sni"),
        }
    }
}

impl fmt::Display for AddressAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source.ip",
            Self::Remote => "remote.ip",
            Self::Destination => "destination.ip",
        })
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &self.key())?;
        for (key, entries) in ["values", "notValues"].into_iter().zip(self.entries()) {
            if !entries.is_empty() {
                map.serialize_entry(key, &entries)?;
            }
        }
        map.end()
    }
}
