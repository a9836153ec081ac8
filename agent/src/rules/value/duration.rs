//! Durations as Istio and the Gateway API write them: `10s`, `1.5h`, `1h30m`, `250ms`.

use std::time::Duration;

use serde::Serializer;

use crate::config::yaml::MapReader;

/// Longer waits are mistakes: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The shortest that Istio takes where a duration must not be zero.
const SHORTEST: Duration = Duration::from_millis(1);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Nanoseconds of each unit. `ms` stands before `m`, since the first that fits is taken.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
];

/// Reads a duration of at least a millisecond.
pub(in crate::rules) fn duration(map: &MapReader<'_>, key: &'static str) -> Option<Duration> {
    let allowed = "a duration from 1ms to 8760h, such as 250ms, 10s or 1.5h";
    map.parsed(key, allowed, |text| parse(text).filter(|duration| (SHORTEST..=LONGEST).contains(duration)))
}

/// Reads a duration that may be zero, where that has a meaning of its own.
pub(in crate::rules) fn duration_or_zero(map: &MapReader<'_>, key: &'static str) -> Option<Duration> {
    let allowed = "a duration up to 8760h, such as 0s, 250ms, 10s or 1.5h";
    map.parsed(key, allowed, |text| parse(text).filter(|duration| *duration <= LONGEST))
}

/// Writes seconds, with as many decimals as there are: the form that protocol buffers demand in JSON.
pub(in crate::rules) fn serialize_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    if nanos == 0 {
        return serializer.collect_str(&format_args!("{seconds}s"));
    }
    let decimals = format!("{nanos:09}");
    serializer.collect_str(&format_args!("{seconds}.{}s", decimals.trim_end_matches('0')))
}

/// The same for a duration that may be absent, in which case the field is to be skipped.
pub(in crate::rules) fn serialize_some_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_duration(duration, serializer),
        None => serializer.serialize_none(),
    }
}

/// One or more numbers with units. Digits below a nanosecond are dropped, as Go does.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let (mut rest, mut nanos) = (text, 0u128);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let (unit, size) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        nanos = nanos.checked_add(scaled(number, *size)?)?;
        rest = &after[unit.len()..];
    }
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
    let below = u32::try_from(nanos % NANOS_PER_SECOND).ok()?;
    Some(Duration::new(seconds, below))
}

/// `1.5` of a unit, in nanoseconds and without floating point.
fn scaled(number: &str, size: u128) -> Option<u128> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && decimals.is_empty() {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Hours have 3.6e12 nanoseconds: digits after the thirteenth are below one.
    let decimals = decimals.get(..decimals.len().min(13))?;
    let digits = u32::try_from(decimals.len()).ok()?;
    let part: u128 = if decimals.is_empty() { 0 } else { decimals.parse().ok()? };
    whole.checked_mul(size)?.checked_add(part * size / 10u128.pow(digits))
}
