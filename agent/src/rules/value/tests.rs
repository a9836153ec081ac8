//! Tests of the parts that documents share.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;

use super::{Host, Percentage, Selector, StringMatch, duration::parse};
use crate::objects::Map;

fn map(entries: &[(&str, &str)]) -> Map {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn durations_are_read_as_go_reads_them() {
    let cases = [
        ("0s", Duration::ZERO),
        ("10s", Duration::from_secs(10)),
        ("1.5h", Duration::from_secs(5400)),
        ("1h30m", Duration::from_secs(5400)),
        ("250ms", Duration::from_millis(250)),
        (".5s", Duration::from_millis(500)),
        ("1.s", Duration::from_secs(1)),
        ("1us2ns", Duration::from_nanos(1002)),
        ("3\u{b5}s", Duration::from_micros(3)),
        ("1m0.000000001s", Duration::new(60, 1)),
        ("0.0000000000000001h", Duration::ZERO),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Some(expected), "{text}");
    }
}

#[test]
fn what_is_no_duration_is_none() {
    let cases = [
        "",
        "10",
        "s",
        ".s",
        "-1s",
        "+1s",
        "1 s",
        "1d",
        "1.2.3s",
        "1e3s",
        "\u{661}s",
        "999999999999999999999999999999999999999h",
    ];
    for text in cases {
        assert_eq!(parse(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_duration_or_none(text in "[0-9.hmsun\u{b5}]{0,60}|\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn any_text_is_a_match_that_displays_as_written_or_none(text in "\\PC*|[a*]{0,4}") {
        if let Ok(found) = text.parse::<StringMatch>() {
            prop_assert_eq!(found.to_string(), text);
        }
    }

    #[test]
    fn any_text_is_a_host_that_displays_as_written_or_none(text in "\\PC*|[a-c.*_-]{0,6}") {
        if let Ok(found) = text.parse::<Host>() {
            prop_assert_eq!(found.to_string(), text);
        }
    }
}

#[test]
fn a_match_is_exact_or_open_at_one_end() {
    let cases = [
        ("abc", "abc", true),
        ("abc", "abcd", false),
        ("abc", "ABC", false),
        ("abc*", "abc", true),
        ("abc*", "abcd", true),
        ("abc*", "xabc", false),
        ("*abc", "xabc", true),
        ("*abc", "abcx", false),
        ("*", "x", true),
        ("*", "", false),
    ];
    for (pattern, text, expected) in cases {
        assert_eq!(pattern.parse::<StringMatch>().unwrap().matches(text), expected, "{pattern} {text}");
    }
    for pattern in ["", "a*b", "*a*", "**", "a**"] {
        assert_eq!(pattern.parse::<StringMatch>(), Err(()), "{pattern}");
    }
}

#[test]
fn hosts_are_names_in_lower_case() {
    let long = format!("{}.com", "a".repeat(64));
    for text in ["example.com", "reviews", "_dmarc.example.com", "xn--bcher-kva.example"] {
        assert_eq!(text.parse(), Ok(Host::Exact(text.to_owned())), "{text}");
    }
    assert_eq!("*.example.com".parse(), Ok(Host::Below("example.com".to_owned())));
    for text in
        ["", "*", "*x", "a.*", "Example.com", "192.0.2.1", "2001:db8::1", "a..b", "a.", "-a", "a-", "a b", &long]
    {
        assert_eq!(text.parse::<Host>(), Err(()), "{text}");
    }
}

#[test]
fn percentages_are_exact_and_bounded() {
    assert_eq!(Percentage::from_parts_per_million(1_000_001), None);
    assert_eq!(Percentage::from_parts_per_million(1_000_000), Some(Percentage::ALL));
    let part = Percentage::from_parts_per_million(1).unwrap();
    assert_eq!(serde_json::to_string(&part).unwrap(), "0.0001");
    assert_eq!(serde_json::to_string(&Percentage::ALL).unwrap(), "100");
}

#[test]
fn a_selector_asks_for_each_of_its_labels() {
    let selector = Selector { match_labels: map(&[("app", "web"), ("tier", "")]) };
    assert!(selector.selects(&map(&[("app", "web"), ("tier", ""), ("x", "y")])));
    assert!(!selector.selects(&map(&[("app", "web")])));
    assert!(!selector.selects(&map(&[("app", "web"), ("tier", "front")])));
    assert!(Selector::default().is_everything() && Selector::default().selects(&Map::new()));
}
