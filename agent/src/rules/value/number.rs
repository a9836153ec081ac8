//! Ports and counts.

use std::num::{NonZeroU16, NonZeroU32};

use crate::config::yaml::MapReader;

/// Protocol buffers give Istio's counts 31 bits.
const MOST: u32 = i32::MAX as u32;

/// Reads a port number.
pub(in crate::rules) fn port(map: &MapReader<'_>, key: &'static str) -> Option<NonZeroU16> {
    map.integer(key, "a port from 1 to 65535", |port: &u16| *port > 0).and_then(NonZeroU16::new)
}

/// A port number that upstream writes as text.
pub(in crate::rules) fn port_from_text(text: &str) -> Option<NonZeroU16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Reads how many, which is at least one: upstream takes zero for "not set", which is better said by leaving it out.
pub(in crate::rules) fn count(map: &MapReader<'_>, key: &'static str) -> Option<NonZeroU32> {
    let allowed = "a number from 1 to 2147483647";
    map.integer(key, allowed, |count: &u32| (1..=MOST).contains(count)).and_then(NonZeroU32::new)
}
