//! RequestMirror: copies of requests to another Service.

use std::num::NonZeroU32;

use serde::Serialize;

use super::{ServiceRef, backends::service_ref};
use crate::config::yaml::MapReader;

/// The numbers of a fraction are an int32 upstream.
const MAX: u32 = i32::MAX.unsigned_abs();

/// HTTPRequestMirrorFilter. `percent` is read as a fraction, and written as one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMirror {
    /// Where the copies go.
    pub backend_ref: ServiceRef,
    /// Of which share of the requests.
    pub fraction: Fraction,
}

/// A share, at most 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fraction {
    /// At most the denominator.
    pub numerator: u32,
    /// What the numerator is a part of.
    pub denominator: NonZeroU32,
}

impl Fraction {
    const HUNDRED: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

    fn percent(percent: u32) -> Self {
        Self { numerator: percent, denominator: Self::HUNDRED }
    }
}

/// Reads the filter under a key.
pub(in crate::rules) fn request_mirror(parent: &MapReader<'_>, key: &'static str) -> Option<RequestMirror> {
    let map = parent.map(key)?;
    if !map.has("backendRef") {
        map.missing("backendRef", "the Service that gets the copies");
    }
    let backend = map.map("backendRef").and_then(|backend| {
        let service = service_ref(&backend);
        backend.finish();
        service
    });
    let fraction = share(&map);
    map.finish();
    Some(RequestMirror { backend_ref: backend?, fraction: fraction? })
}

fn share(map: &MapReader<'_>) -> Option<Fraction> {
    let percent = map.integer("percent", "a whole number from 0 to 100", |percent| *percent <= 100);
    let fraction = map.map("fraction").and_then(fraction);
    match (map.has("percent"), map.has("fraction")) {
        (true, true) => {
            map.complain("fraction", "is given beside percent, allowed: one of them");
            None
        }
        (true, false) => percent.map(Fraction::percent),
        (false, true) => fraction,
        (false, false) => Some(Fraction::percent(100)),
    }
}

fn fraction(map: MapReader<'_>) -> Option<Fraction> {
    if !map.has("numerator") {
        map.missing("numerator", "a whole number from 0");
    }
    let numerator = map.integer("numerator", "a whole number from 0 to 2147483647", |n: &u32| *n <= MAX);
    let allowed = "a whole number from 1 to 2147483647";
    let denominator = map.integer("denominator", allowed, |n: &u32| (1..=MAX).contains(n));
    let denominator =
        if map.has("denominator") { denominator.and_then(NonZeroU32::new) } else { Some(Fraction::HUNDRED) };
    if let (Some(numerator), Some(denominator)) = (numerator, denominator)
        && numerator > denominator.get()
    {
        map.complain("numerator", format!("found {numerator}, allowed: at most the denominator {denominator}"));
    }
    map.finish();
    Some(Fraction { numerator: numerator?, denominator: denominator? })
}
