//! `to`: what a request asks for.

use std::num::NonZeroU16;

use serde::Serialize;

use super::{PathMatch, path::PATH};
use crate::{
    config::yaml::MapReader,
    rules::value::{StringMatch, list, port_from_text, serialize_texts},
};

/// One entry of `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleTo {
    /// What.
    pub operation: Operation,
}

/// What a request asks for. Every field that has entries must match, by one of them; a field whose name begins with `not`
/// must match by none. Only ports are known of a connection that is not parsed as HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// The request's authority, in lower case here and compared without case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<StringMatch>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_hosts: Vec<StringMatch>,
    /// The workload's port.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "serialize_texts")]
    pub ports: Vec<NonZeroU16>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "serialize_texts")]
    pub not_ports: Vec<NonZeroU16>,
    /// The request's method, in upper case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<StringMatch>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_methods: Vec<StringMatch>,
    /// The request's path, without the query.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathMatch>,
    /// None of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_paths: Vec<PathMatch>,
}

pub(super) const PORT: &str = "a port from 1 to 65535 in quotes, such as \"8080\"";
const HOST: &str = "a host, with * in front, at the end, or alone";
const METHOD: &str = "a method in upper case, with * in front, at the end, or alone";

/// Reads an entry of `to`.
pub(super) fn read(map: MapReader<'_>) -> Option<RuleTo> {
    let operation = map.map("operation");
    if !map.has("operation") {
        map.missing("operation", "a map with at least one field");
    }
    map.finish();
    operation.map(|operation| RuleTo { operation: read_operation(operation) })
}

fn read_operation(map: MapReader<'_>) -> Operation {
    let hosts = |key| list(&map, key, HOST, |host| host.to_ascii_lowercase().parse().ok());
    let ports = |key| list(&map, key, PORT, port_from_text);
    let methods = |key| list(&map, key, METHOD, method);
    let paths = |key| list(&map, key, PATH, |path| path.parse().ok());
    let operation = Operation {
        hosts: hosts("hosts"),
        not_hosts: hosts("notHosts"),
        ports: ports("ports"),
        not_ports: ports("notPorts"),
        methods: methods("methods"),
        not_methods: methods("notMethods"),
        paths: paths("paths"),
        not_paths: paths("notPaths"),
    };
    super::check_fields(&map);
    map.finish();
    operation
}

/// Methods are compared as written, and `get` is none: a rule with it would deny nothing.
fn method(text: &str) -> Option<StringMatch> {
    let found: StringMatch = text.parse().ok()?;
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.');
    found.literal().bytes().all(allowed).then_some(found)
}
