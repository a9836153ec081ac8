//! Percentages from 0 to 100: whole ones, and those with up to four decimals.

use serde::{Serialize, Serializer};

use crate::config::yaml::{MapReader, Value};

/// Parts in a percent: 0.0001 % is one request in a million, and the smallest share.
const PARTS: u32 = 10_000;

/// A share of requests, exact in parts of a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Percentage(u32);

/// A share of a few things, such as endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct WholePercentage(u8);

impl Percentage {
    /// Everything.
    pub const ALL: Self = Self(100 * PARTS);

    /// From parts of a million. `None` above a million.
    pub fn from_parts_per_million(parts: u32) -> Option<Self> {
        (parts <= Self::ALL.0).then_some(Self(parts))
    }

    /// From 0 to a million.
    pub fn parts_per_million(self) -> u32 {
        self.0
    }

    fn from_float(value: f64) -> Option<Self> {
        let parts = value * f64::from(PARTS);
        let rounded = parts.round();
        // More decimals than are kept would be dropped in silence.
        let kept = (0.0..=f64::from(Self::ALL.0)).contains(&rounded) && (parts - rounded).abs() < 1e-6;
        // The range was checked, so the cast is exact.
        kept.then_some(Self(rounded as u32))
    }
}

impl WholePercentage {
    /// `None` above 100.
    pub fn new(value: u8) -> Option<Self> {
        (value <= 100).then_some(Self(value))
    }

    /// From 0 to 100.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Serialize for Percentage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(PARTS) {
            return serializer.serialize_u32(self.0 / PARTS);
        }
        serializer.serialize_f64(f64::from(self.0) / f64::from(PARTS))
    }
}

/// Reads a percentage with up to four decimals.
pub(crate) fn percentage(map: &MapReader<'_>, key: &'static str) -> Option<Percentage> {
    map.scalar(key, "a percentage from 0 to 100 with at most four decimals", |node| match node.value {
        Value::Integer(value) => {
            u32::try_from(value).ok().filter(|value| *value <= 100).map(|value| Percentage(value * PARTS))
        }
        Value::Float(value) => Percentage::from_float(value),
        _ => None,
    })
}

/// Reads a percentage without decimals.
pub(in crate::rules) fn whole_percentage(map: &MapReader<'_>, key: &'static str) -> Option<WholePercentage> {
    map.integer(key, "a whole percentage from 0 to 100", |value: &u8| *value <= 100).map(WholePercentage)
}
