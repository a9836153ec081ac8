//! Reading and writing what has no type of its own: required keys, texts, lists.

use std::fmt;

use http::HeaderName;
use serde::Serializer;

use crate::config::yaml::{MapReader, Node};

/// Reports an absent key; a bad value was reported when it was read.
pub(in crate::rules) fn required<T>(
    map: &MapReader<'_>,
    key: &'static str,
    allowed: &str,
    value: Option<T>,
) -> Option<T> {
    if value.is_none() && !map.has(key) {
        map.missing(key, allowed);
    }
    value
}

/// Reads a text that is not empty.
pub(in crate::rules) fn text(map: &MapReader<'_>, key: &'static str) -> Option<String> {
    map.parsed(key, "text that is not empty", |text| (!text.is_empty()).then(|| text.to_owned()))
}

/// Reads the name of a header.
pub(in crate::rules) fn header_name(map: &MapReader<'_>, key: &'static str) -> Option<HeaderName> {
    map.parsed(key, "a header's name", |name| name.parse().ok())
}

/// Reads a list of texts, each by a function. An empty list is as good as none.
pub(in crate::rules) fn list<T>(
    map: &MapReader<'_>,
    key: &'static str,
    allowed: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    map.scalars(key, allowed, |node| Node::text(node).and_then(&parse))
}

/// Reports a list that must have entries and has none. To be called once the list was read.
pub(in crate::rules) fn required_list(map: &MapReader<'_>, key: &'static str, allowed: &str) {
    if !map.has(key) {
        map.missing(key, allowed);
    } else if map.has_empty(key) {
        map.complain(key, format!("is empty, must be {allowed}"));
    }
}

/// Reports two keys of which a document may have one.
pub(in crate::rules) fn not_both(map: &MapReader<'_>, one: &str, other: &str) {
    if map.has(one) && map.has(other) {
        map.complain(other, format!("cannot be there together with {one}; remove one of them"));
    }
}

/// Writes a list of what upstream has as texts.
pub(in crate::rules) fn serialize_texts<T: fmt::Display, S: Serializer>(
    values: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

/// Writes the name of a header.
pub(in crate::rules) fn serialize_header<S: Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

/// Writes the name of a header that may be absent, in which case the field is to be skipped.
pub(in crate::rules) fn serialize_some_header<S: Serializer>(
    name: &Option<HeaderName>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match name {
        Some(name) => serialize_header(name, serializer),
        None => serializer.serialize_none(),
    }
}
