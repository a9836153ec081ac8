//! Durations as GEP-2257 writes them: up to four numbers of up to five digits, each with a unit.

use std::time::Duration;

use serde::Serializer;

/// What is allowed, for messages.
pub(in crate::rules) const DURATION: &str =
    "a duration: up to four whole numbers with the units h, m, s or ms, such as 500ms, 10s or 1h30m";

/// The most that the format can say in any order of units, so that every duration that is read can be written.
const MAX: Duration = Duration::from_secs(100_000 * 3600 - 1);

/// Reads `1h30m`. The same unit may come twice, as in Go.
pub(in crate::rules) fn parse_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total, mut parts) = (text, Duration::ZERO, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = (1..=5).contains(&digits).then(|| rest[..digits].parse().ok())??;
        let (unit, after) = unit(&rest[digits..])?;
        total += Duration::from_millis(number * unit);
        (rest, parts) = (after, parts + 1);
    }
    ((1..=4).contains(&parts) && total <= MAX).then_some(total)
}

/// Milliseconds of the unit that a text begins with, and what comes after it.
fn unit(text: &str) -> Option<(u64, &str)> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    UNITS.iter().find_map(|(name, millis)| Some((*millis, text.strip_prefix(name)?)))
}

fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// For `serialize_with`.
pub(in crate::rules) fn as_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// For `serialize_with`.
pub(in crate::rules) fn as_optional_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => as_duration(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_gep_2257_writes_them() {
        for (text, millis) in [
            ("0s", 0),
            ("0h", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1s1s", 2000),
            ("5ms1h", 3_600_005),
            ("1h2m3s4ms", 3_723_004),
            ("99999h59m59s", 359_999_999_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_durations() {
        for text in [
            "",
            "1",
            "s",
            "1.5s",
            "-1s",
            "+1s",
            " 1s",
            "1s ",
            "1us",
            "1d",
            "123456s",
            "1h1m1s1ms1s",
            "1S",
            "99999h60m",
            "ä",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back(millis in 0..=99_999 * 3_600_000_u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format(duration)), Some(duration));
        }

        #[test]
        fn whatever_the_pattern_of_the_schema_matches_is_read(text in "([0-9]{1,4}(h|m|s|ms)){1,4}") {
            prop_assert!(parse_duration(&text).is_some());
        }
    }
}
