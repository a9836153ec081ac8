//! Small readers that every route needs: enumerations, ports, bounded lists, named rules.

use std::{num::NonZeroU16, ops::RangeInclusive};

use http::StatusCode;
use serde::Serializer;

use super::hostname::is_subdomain;
use crate::config::yaml::{MapReader, Value};

/// Rules in one route, by upstream's schema.
const MAX_RULES: usize = 16;

/// A text that must be there and that a function reads.
pub(in crate::rules) fn required<T>(
    map: &MapReader<'_>,
    key: &'static str,
    allowed: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    if !map.has(key) {
        map.missing(key, allowed);
    }
    map.parsed(key, allowed, parse)
}

/// One of some words, which must be there.
pub(in crate::rules) fn one_of<T: Copy>(map: &MapReader<'_>, key: &'static str, words: &[(&str, T)]) -> Option<T> {
    if !map.has(key) {
        map.missing(key, &list(words));
    }
    word(map, key, words)
}

/// One of some words, or the default where there is none.
pub(in crate::rules) fn one_of_or<T: Copy>(
    map: &MapReader<'_>,
    key: &'static str,
    words: &[(&str, T)],
    default: T,
) -> Option<T> {
    let value = word(map, key, words);
    if map.has(key) { value } else { Some(default) }
}

fn word<T: Copy>(map: &MapReader<'_>, key: &'static str, words: &[(&str, T)]) -> Option<T> {
    map.parsed(key, &list(words), |text| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value))
}

fn list<T>(words: &[(&str, T)]) -> String {
    alternatives(&words.iter().map(|(word, _)| *word).collect::<Vec<_>>())
}

/// `a, b or c`.
pub(super) fn alternatives(words: &[&str]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// A port number.
pub(in crate::rules) fn port(map: &MapReader<'_>, key: &'static str) -> Option<NonZeroU16> {
    map.integer(key, "a port number from 1 to 65535", |port: &u16| *port > 0).and_then(NonZeroU16::new)
}

/// The maps of a list that may have so many.
pub(in crate::rules) fn limited<'a>(map: &MapReader<'a>, key: &'static str, most: usize) -> Vec<MapReader<'a>> {
    bounded(map, key, 0, most)
}

/// The maps of a list that must be there, with so many at most; `what` they are, for messages.
pub(in crate::rules) fn required_list<'a>(
    map: &MapReader<'a>,
    key: &'static str,
    most: usize,
    what: &str,
) -> Vec<MapReader<'a>> {
    if !map.has(key) {
        map.missing(key, &format!("a list of {what}"));
    }
    bounded(map, key, 1, most)
}

fn bounded<'a>(map: &MapReader<'a>, key: &'static str, least: usize, most: usize) -> Vec<MapReader<'a>> {
    if is_list(map, key, "a list of maps", least..=most) { map.maps(key) } else { Vec::new() }
}

/// Whether there is a list under a key; complains about anything else, and about its length.
pub(in crate::rules) fn is_list(
    map: &MapReader<'_>,
    key: &'static str,
    allowed: &str,
    range: RangeInclusive<usize>,
) -> bool {
    let length = map.scalar(key, allowed, |node| match &node.value {
        Value::List(items) => Some(items.len()),
        _ => None,
    });
    if let Some(length) = length.filter(|length| !range.contains(length)) {
        let (least, most) = (range.start(), range.end());
        let allowed = if least == most { most.to_string() } else { format!("{least} to {most}") };
        map.complain(key, format!("found {length} entries, allowed: {allowed}"));
    }
    length.is_some()
}

/// The rules of a route, each read by a function that gets those before it.
pub(in crate::rules) fn rules<T>(map: &MapReader<'_>, read: impl Fn(MapReader<'_>, &[T]) -> Option<T>) -> Vec<T> {
    let maps = bounded(map, "rules", 1, MAX_RULES);
    let mut rules = Vec::with_capacity(maps.len());
    for rule in maps {
        let rule = read(rule, &rules);
        rules.extend(rule);
    }
    rules
}

/// The name of a rule, unlike those of the rules before it.
pub(in crate::rules) fn rule_name<'r>(
    map: &MapReader<'_>,
    mut earlier: impl Iterator<Item = &'r Option<String>>,
) -> Option<String> {
    let allowed = "a name of at most 253 of the characters a-z, 0-9, '-' and '.'";
    let name = map.parsed("name", allowed, |name| is_subdomain(name).then(|| name.to_owned()))?;
    if earlier.any(|other| other.as_ref() == Some(&name)) {
        map.complain("name", format!("a rule before this one is named {name:?} too, allowed: each name once"));
    }
    Some(name)
}

/// Refuses `hostnames`. GEP-1426: a mesh should infer nothing from them, and advises to match the Host header instead.
/// A field without effect is refused and not ignored.
pub(in crate::rules) fn no_hostnames(map: &MapReader<'_>) {
    map.tolerate(&["hostnames"]);
    if map.has("hostnames") {
        map.complain(
            "hostnames",
            "has no meaning for a route of a Service, which matches by the dialled address; remove it, and match the header Host if you need to",
        );
    }
}

/// Checks that `group` and `kind` name a Service where both have to be written.
pub(in crate::rules) fn service_target(map: &MapReader<'_>) {
    let group = required(map, "group", "\"\", the group of Service", |group| Some(group.to_owned()));
    let kind = required(map, "kind", "Service", |kind| Some(kind.to_owned()));
    if let (Some(group), Some(kind)) = (group, kind) {
        not_core_service(map, &group, &kind);
    }
}

/// Complains where group and kind are not those of a Service, and tells.
pub(super) fn not_core_service(map: &MapReader<'_>, group: &str, kind: &str) -> bool {
    let other = (group, kind) != ("", "Service");
    if other {
        let key = if kind == "Service" { "group" } else { "kind" };
        map.complain(key, format!("found {kind} of group {group:?}, allowed: Service of group \"\""));
    }
    other
}

/// For `serialize_with`.
pub(in crate::rules) fn as_status<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}
