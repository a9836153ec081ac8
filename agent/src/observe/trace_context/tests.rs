//! What requests bring, and what they have when the agent passes them on.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::{option, prelude::*, sample::select};

use super::*;
use crate::rules::value::Percentage;

/// Names and values.
type Sent<'a> = &'a [(&'a str, &'a str)];

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const ALL: Draw = Draw(Percentage::ALL);

fn none() -> Draw {
    Draw(Percentage::from_parts_per_million(0).unwrap())
}

fn headers(sent: Sent<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in sent {
        headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    headers
}

#[test]
fn a_trace_is_known_by_a_valid_header_only_and_headers_stay_as_they_came() {
    let valid = format!("00-{TRACE}-{SPAN}-00");
    let long = Some(u128::from_str_radix(TRACE, 16).unwrap());
    for (name, value, expected) in [
        ("traceparent", valid.clone(), long),
        ("traceparent", format!("{valid}-more"), None),
        ("traceparent", format!("cc{}-more", &valid[2..]), long),
        ("traceparent", format!("ff{}", &valid[2..]), None),
        ("traceparent", valid.to_uppercase(), None),
        ("traceparent", format!("00-{}-{SPAN}-00", "0".repeat(32)), None),
        ("traceparent", format!("00-{TRACE}-0000000000000000-00"), None),
        ("traceparent", format!("00-{TRACE}-{SPAN}"), None),
        ("b3", format!("{TRACE}-05e3ac9a4f6e3b90-0"), long),
        ("b3", "05e3ac9a4f6e3b90-05e3ac9a4f6e3b90".to_owned(), Some(0x05e3_ac9a_4f6e_3b90)),
        ("b3", format!("{TRACE}-05e3ac9a4f6e3b90-2"), None),
        ("b3", format!("{TRACE}-+5e3ac9a4f6e3b90-0"), None),
        ("b3", "0".to_owned(), None),
        ("x-b3-traceid", TRACE.to_uppercase(), long),
        ("x-b3-traceid", format!("+{}", &TRACE[1..]), None),
    ] {
        let mut headers = headers(&[(name, &value), ("tracestate", "a=b"), ("x-request-id", "7")]);
        let before = headers.clone();
        let ids = RequestIds::of(&mut headers);
        let found = ids.trace_id.map(|id| u128::from_be_bytes(id.to_bytes()));
        assert_eq!(found, expected, "{name}: {value}");
        assert_eq!((&headers, &*ids.request_id), (&before, "7"));
    }
}

#[test]
fn of_two_traceparents_neither_counts() {
    let valid = format!("00-{TRACE}-{SPAN}-01");
    let mut headers = headers(&[("traceparent", &valid), ("traceparent", &valid)]);
    assert_eq!(RequestIds::of(&mut headers).trace_id, None);
}

#[test]
fn a_request_without_a_usable_id_gets_a_new_one() {
    let long = "x".repeat(129);
    let cases: [Sent<'_>; 4] =
        [&[], &[("x-request-id", &long)], &[("x-request-id", "a b")], &[("x-request-id", "1"), ("x-request-id", "2")]];
    for sent in cases {
        let mut headers = headers(sent);
        let id = RequestIds::of(&mut headers).request_id;
        let sent: Vec<_> = headers.get_all(REQUEST_ID).iter().collect();
        assert_eq!(sent, [&*id]);
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
        assert_ne!(RequestIds::of(&mut HeaderMap::new()).request_id, id);
    }
}

/// What a recorded request has, with `NEW` in place of the new span's id, `TRACE` in that of a new trace's.
fn recorded(sent: Sent<'_>, share: Draw) -> Option<(Vec<String>, SpanIds)> {
    let mut headers = headers(sent);
    headers.insert("x-request-id", "7".parse().unwrap());
    let span = *RequestIds::traced(&mut headers, share).span?;
    headers.remove("x-request-id");
    let shown = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = value.to_str().unwrap().replace(&span.span_id.to_string(), "NEW");
        let value = if sent.iter().any(|(_, sent)| sent.contains(&span.trace_id.to_string())) {
            value
        } else {
            value.replace(&span.trace_id.to_string(), "NEWTRACE")
        };
        format!("{name}: {value}")
    };
    let mut all: Vec<String> = headers.iter().map(shown).collect();
    all.sort_unstable();
    Some((all, span))
}

#[test]
fn the_span_is_the_parent_of_what_comes_next_in_the_format_that_came() {
    let w3c = format!("00-{TRACE}-{SPAN}-01");
    let (single, debug) = (format!("{TRACE}-{SPAN}-1"), format!("{TRACE}-{SPAN}-d-0000000000000007"));
    let short = format!("{}-{SPAN}-1", &TRACE[16..]);
    let bare = format!("{TRACE}-{SPAN}");
    let other = format!("{}-{SPAN}-1", "1".repeat(32));
    let cases: &[(Sent<'_>, &[&str])] = &[
        (
            &[("traceparent", &w3c), ("tracestate", "a=b")],
            &[&format!("traceparent: 00-{TRACE}-NEW-01"), "tracestate: a=b"],
        ),
        (&[("traceparent", &format!("00-{TRACE}-{SPAN}-ff"))], &[&format!("traceparent: 00-{TRACE}-NEW-03")]),
        (&[("traceparent", &format!("cc-{TRACE}-{SPAN}-01-later"))], &[&format!("traceparent: 00-{TRACE}-NEW-01")]),
        (&[("b3", &single)], &[&format!("b3: {TRACE}-NEW-1-{SPAN}")]),
        (&[("b3", &debug)], &[&format!("b3: {TRACE}-NEW-d-{SPAN}")]),
        (&[("b3", &bare)], &[&format!("b3: {TRACE}-NEW-1-{SPAN}")]),
        (&[("b3", &short)], &[&format!("b3: {}-NEW-1-{SPAN}", &TRACE[16..])]),
        (&[("b3", "1")], &["b3: NEWTRACE-NEW-1"]),
        (
            &[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "true"), ("x-b3-parentspanid", "7")],
            &[
                &format!("x-b3-parentspanid: {SPAN}"),
                "x-b3-sampled: 1",
                "x-b3-spanid: NEW",
                &format!("x-b3-traceid: {TRACE}"),
            ],
        ),
        (
            &[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-flags", "1")],
            &[
                &format!("x-b3-parentspanid: {SPAN}"),
                "x-b3-flags: 1",
                "x-b3-spanid: NEW",
                &format!("x-b3-traceid: {TRACE}"),
            ],
        ),
        (&[("x-b3-sampled", "1")], &["x-b3-sampled: 1", "x-b3-spanid: NEW", "x-b3-traceid: NEWTRACE"]),
        // Several formats of one trace; of two traces the first counts, and the other stays.
        (
            &[("traceparent", &w3c), ("b3", &single)],
            &[&format!("b3: {TRACE}-NEW-1-{SPAN}"), &format!("traceparent: 00-{TRACE}-NEW-01")],
        ),
        (
            &[("traceparent", &w3c), ("b3", &other)],
            &[&format!("b3: {other}"), &format!("traceparent: 00-{TRACE}-NEW-01")],
        ),
        // None that can be read: a trace begins.
        (&[], &["traceparent: 00-NEWTRACE-NEW-01"]),
        (&[("traceparent", "00-nonsense"), ("tracestate", "a=b")], &["traceparent: 00-NEWTRACE-NEW-01"]),
        (&[("b3", "nonsense")], &["b3: nonsense", "traceparent: 00-NEWTRACE-NEW-01"]),
    ];
    for (sent, expected) in cases {
        let (mut found, span) = recorded(sent, ALL).unwrap();
        let mut expected: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{sent:?}");
        let is_child =
            expected.iter().any(|line| line.contains(SPAN)) || sent.iter().any(|(_, value)| value.contains(SPAN));
        assert_eq!(
            span.parent.map(|parent| parent.to_string()).as_deref(),
            Some(SPAN).filter(|_| is_child),
            "{sent:?}"
        );
    }
    let (_, span) = recorded(&[("traceparent", &w3c), ("tracestate", "a=b"), ("tracestate", "c=d")], ALL).unwrap();
    assert_eq!(span.state.as_deref(), Some("a=b,c=d"));
    let long = "x".repeat(LONGEST_REQUEST_ID * 5);
    let (_, span) = recorded(&[("traceparent", &w3c), ("tracestate", &long)], ALL).unwrap();
    assert_eq!(span.state, None, "it is passed on, and not kept");
}

#[test]
fn who_began_the_trace_has_decided_and_else_the_share_does() {
    let (yes, no) = (format!("00-{TRACE}-{SPAN}-01"), format!("00-{TRACE}-{SPAN}-00"));
    let b3 = |state: &str| format!("{TRACE}-{SPAN}{state}");
    let (accept, deny, debug, open) = (b3("-1"), b3("-0"), b3("-d"), b3(""));
    let always: &[Sent<'_>] = &[
        &[("traceparent", &yes)],
        &[("b3", &accept)],
        &[("b3", &debug)],
        &[("b3", "1")],
        &[("b3", "d")],
        &[("x-b3-sampled", "1")],
        &[("x-b3-flags", "1")],
    ];
    let never: &[Sent<'_>] = &[
        &[("traceparent", &no)],
        &[("b3", &deny)],
        &[("b3", "0")],
        &[("x-b3-sampled", "0")],
        &[("traceparent", &no), ("b3", &accept)],
    ];
    let by_share: &[Sent<'_>] = &[&[], &[("b3", &open)], &[("x-b3-traceid", TRACE)], &[("traceparent", "x")]];
    for (cases, at_none, at_all) in [(always, true, true), (never, false, false), (by_share, false, true)] {
        for sent in cases {
            assert_eq!(recorded(sent, none()).is_some(), at_none, "{sent:?}, none");
            assert_eq!(recorded(sent, ALL).is_some(), at_all, "{sent:?}, all");
        }
    }
}

#[test]
fn what_is_not_recorded_stays_as_it_came_but_for_a_decision_that_was_left_open() {
    let open = format!("{TRACE}-{SPAN}");
    let no = format!("00-{TRACE}-{SPAN}-00");
    for (sent, expected) in [
        (&[][..], &[][..]),
        (
            &[("traceparent", no.as_str()), ("tracestate", "a=b")],
            &[("traceparent", no.as_str()), ("tracestate", "a=b")],
        ),
        (&[("traceparent", "nonsense"), ("tracestate", "a=b")], &[("traceparent", "nonsense"), ("tracestate", "a=b")]),
        (&[("b3", "0")], &[("b3", "0")]),
        (&[("b3", open.as_str())], &[("b3", &format!("{open}-0"))]),
        (
            &[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)],
            &[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "0")],
        ),
    ] {
        let mut found = headers(sent);
        found.insert("x-request-id", "7".parse().unwrap());
        let ids = RequestIds::traced(&mut found, none());
        assert_eq!(ids.span, None);
        found.remove("x-request-id");
        assert_eq!(found, headers(expected), "{sent:?}");
    }
}

fn values() -> impl Strategy<Value = String> {
    let id = |length| select(&["0", "a", "7", "F", "+", "g"][..]).prop_map(move |digit| digit.repeat(length));
    let good =
        (id(32), id(16), select(&["00", "01", "ff", "0", "1", "d", ""][..]), select(&["00-", "cc-", "ff-", ""][..]))
            .prop_map(|(trace, span, flags, version)| format!("{version}{trace}-{span}-{flags}"));
    prop_oneof![good, "[ -~]{0,60}", select(&["0", "1", "d", "true", TRACE, SPAN][..]).prop_map(ToOwned::to_owned)]
}

proptest! {
    /// Whatever comes: both agents of a request decide alike, and the span of the second is a child of that of the first.
    #[test]
    fn the_spans_of_both_agents_are_of_one_trace(
        traceparent in option::of(values()), state in option::of("[ -~]{0,30}"), b3 in option::of(values()),
        trace in option::of(values()), span in option::of(values()), sampled in option::of(values()),
        share in 0..=1_000_000_u32, request_id in "[!-~]{1,20}",
    ) {
        let mut sent = HeaderMap::new();
        for (name, value) in [("traceparent", traceparent), ("tracestate", state), ("b3", b3), ("x-b3-traceid", trace),
                              ("x-b3-spanid", span), ("x-b3-sampled", sampled), ("x-request-id", Some(request_id))] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                sent.insert(HeaderName::from_static(name), value);
            }
        }
        let draw = Draw(Percentage::from_parts_per_million(share).unwrap());
        let original = sent.clone();
        let client = RequestIds::traced(&mut sent, draw);
        let first = sent.clone();
        let server = RequestIds::traced(&mut sent, draw);
        prop_assert_eq!(&client.request_id, &server.request_id);
        prop_assert_eq!(client.trace_id, server.trace_id);
        match (client.span, server.span) {
            (None, None) => {
                prop_assert_eq!(&first, &sent, "the second has nothing to add");
                prop_assert_eq!(original.get("traceparent"), sent.get("traceparent"));
                prop_assert_eq!(original.get("tracestate"), sent.get("tracestate"));
            }
            (Some(client), Some(server)) => {
                prop_assert_eq!(client.trace_id, server.trace_id);
                prop_assert_eq!(server.parent, Some(client.span_id));
                prop_assert_ne!(server.span_id, client.span_id);
                // What the application reads is a child of the server's span.
                let third = RequestIds::traced(&mut sent, draw).span.unwrap();
                prop_assert_eq!(third.parent, Some(server.span_id));
            }
            other => prop_assert!(false, "one side records and the other does not: {:?}", other),
        }
    }
}
