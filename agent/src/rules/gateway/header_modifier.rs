//! HTTPHeaderFilter: headers that are set, added and removed.

use http::{HeaderName, HeaderValue};
use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{is_list, limited, required};
use crate::config::yaml::{MapReader, Node};

/// Entries of each list, by upstream's schema.
const MAX_HEADERS: usize = 16;

/// What is allowed, for messages.
pub(in crate::rules) const HEADER_NAME: &str = "a header name: 1 to 256 letters, digits and !#$%&'*+-.^_`|~";
pub(super) const HEADER_VALUE: &str = "1 to 4096 printable ASCII characters, without blanks at the ends";

/// Headers that say how one hop carries a message (RFC 9110, sections 7.6.1 and 7.8): each hop writes its own.
const HOP_BY_HOP: [&str; 8] =
    ["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// HTTPHeaderFilter. No header name is in it twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderModifier {
    /// Replaces all values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Header>,
    /// Adds a value to those that are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Header>,
    /// Removes all values.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_names")]
    pub remove: Vec<HeaderName>,
}

/// HTTPHeader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    /// Name; its case means nothing, and is not kept.
    #[serde(serialize_with = "as_name")]
    pub name: HeaderName,
    /// Value, of printable ASCII.
    #[serde(serialize_with = "as_value")]
    pub value: HeaderValue,
}

/// Reads the modifier under a key.
pub(in crate::rules) fn header_modifier(parent: &MapReader<'_>, key: &'static str) -> Option<HeaderModifier> {
    let map = parent.map(key)?;
    let mut names = Vec::new();
    let set = headers(&map, "set", &mut names);
    let add = headers(&map, "add", &mut names);
    let remove = removed(&map, &mut names);
    map.finish();
    Some(HeaderModifier { set, add, remove })
}

fn removed(map: &MapReader<'_>, names: &mut Vec<HeaderName>) -> Vec<HeaderName> {
    if !is_list(map, "remove", "a list of header names", 0..=MAX_HEADERS) {
        return Vec::new();
    }
    let removed = map.scalars("remove", HEADER_NAME, |node: &Node| header_name(node.text()?));
    removed.iter().for_each(|name| once(map, "remove", name, names));
    removed
}

fn headers(map: &MapReader<'_>, key: &'static str, names: &mut Vec<HeaderName>) -> Vec<Header> {
    let read = |map: MapReader<'_>| {
        let name = required(&map, "name", HEADER_NAME, header_name);
        let value = required(&map, "value", HEADER_VALUE, header_value);
        name.iter().for_each(|name| once(&map, "name", name, names));
        map.finish();
        Some(Header { name: name?, value: value? })
    };
    limited(map, key, MAX_HEADERS).into_iter().filter_map(read).collect()
}

/// A name comes once in the whole modifier, and is one that may be changed.
fn once(map: &MapReader<'_>, key: &str, name: &HeaderName, names: &mut Vec<HeaderName>) {
    if HOP_BY_HOP.contains(&name.as_str()) {
        map.complain(
            key,
            format!("{name} describes how one hop carries the message, and cannot be changed; remove it"),
        );
    } else if *name == http::header::HOST {
        map.complain(key, "host is no header to modify; use a URLRewrite filter with hostname");
    } else if names.contains(name) {
        map.complain(key, format!("{name} comes a second time in this filter, allowed: one action for each header"));
    }
    names.push(name.clone());
}

/// A header name; every name that the schema's pattern matches is one.
pub(in crate::rules) fn header_name(text: &str) -> Option<HeaderName> {
    (text.len() <= 256).then(|| HeaderName::from_bytes(text.as_bytes()).ok()).flatten()
}

fn header_value(text: &str) -> Option<HeaderValue> {
    is_header_text(text).then(|| HeaderValue::from_str(text).ok()).flatten()
}

/// Whether a text can be the value of a header.
pub(super) fn is_header_text(text: &str) -> bool {
    let printable = text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b));
    (1..=4096).contains(&text.len()) && printable && text.trim_matches([' ', '\t']) == text
}

/// For `serialize_with`.
pub(in crate::rules) fn as_name<S: Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

fn as_names<S: Serializer>(names: &[HeaderName], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(names.len()))?;
    names.iter().try_for_each(|name| list.serialize_element(name.as_str()))?;
    list.end()
}

fn as_value<S: Serializer>(value: &HeaderValue, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.to_str().map_err(serde::ser::Error::custom)?)
}
