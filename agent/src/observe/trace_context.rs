//! What ties a request's log lines to a trace: W3C Trace Context and B3, read and passed on untouched, and a request id.
//!
//! The mesh makes no spans. By the specification, who takes no part in a trace passes its headers on as they are, also those
//! that it cannot read; so nothing is dropped or begun here, and an identifier is logged only where it is valid.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Of a request id that is kept; longer ones are no identifiers.
const LONGEST_REQUEST_ID: usize = 128;

/// What a request is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceIds {
    /// Of the trace that the request is part of; one of 64 bits (B3) has zeros before it.
    pub trace_id: Option<[u8; 16]>,
    /// `x-request-id`.
    pub request_id: Box<str>,
}

impl TraceIds {
    /// Reads what a request brings, and gives it a request id if it has no usable one.
    pub fn of(headers: &mut HeaderMap) -> Self {
        let trace_id = trace_id(headers);
        let kept = only(headers, &REQUEST_ID).filter(|id| is_usable(id)).map(Box::from);
        let request_id = kept.unwrap_or_else(|| {
            let id = new_request_id();
            // Hexadecimal digits and hyphens are a value.
            if let Ok(value) = HeaderValue::try_from(&id) {
                headers.insert(REQUEST_ID, value);
            }
            id.into()
        });
        Self { trace_id, request_id }
    }
}

fn trace_id(headers: &HeaderMap) -> Option<[u8; 16]> {
    let of_b3 = || only(headers, &B3).and_then(|value| b3_id(value.split('-').next().unwrap_or_default()));
    only(headers, &TRACEPARENT)
        .and_then(traceparent)
        .or_else(of_b3)
        .or_else(|| only(headers, &B3_TRACE_ID).and_then(b3_id))
}

/// `version-trace-parent-flags`; later versions may have more after it, version ff is none.
fn traceparent(value: &str) -> Option<[u8; 16]> {
    let mut fields = value.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_lower_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let fits =
        is_lower_hex(version, 2) && is_lower_hex(trace, 32) && is_lower_hex(parent, 16) && is_lower_hex(flags, 2);
    let ends = version != "00" || fields.next().is_none();
    let is_known = version != "ff" && parent.bytes().any(|byte| byte != b'0');
    if fits && ends && is_known { id(trace) } else { None }
}

fn b3_id(text: &str) -> Option<[u8; 16]> {
    let fits = matches!(text.len(), 16 | 32) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits { id(text) } else { None }
}

/// Zero is no identifier.
fn id(hex: &str) -> Option<[u8; 16]> {
    let id = u128::from_str_radix(hex, 16).ok().filter(|id| *id != 0)?;
    Some(id.to_be_bytes())
}

/// A header's value where it is there once: of several nobody knows which counts.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn is_usable(id: &str) -> bool {
    (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// RFC 9562, version 4. It need not be secret: clients may choose theirs.
fn new_request_id() -> String {
    let (version, variant) = (0x4 << 76, 0x8 << 60);
    let random = fastrand::u128(..) & !(0xf << 76) & !(0xc << 60);
    let hex = format!("{:032x}", random | version | variant);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn headers(sent: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_trace_is_known_by_a_valid_header_only_and_headers_stay_as_they_came() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        let valid = format!("00-{TRACE}-b7ad6b7169203331-01");
        let long = Some(u128::from_str_radix(TRACE, 16).unwrap());
        for (name, value, expected) in [
            ("traceparent", valid.clone(), long),
            ("traceparent", format!("{valid}-more"), None),
            ("traceparent", format!("cc{}-more", &valid[2..]), long),
            ("traceparent", format!("ff{}", &valid[2..]), None),
            ("traceparent", valid.to_uppercase(), None),
            ("traceparent", format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), None),
            ("traceparent", format!("00-{TRACE}-0000000000000000-01"), None),
            ("traceparent", format!("00-{TRACE}-b7ad6b7169203331"), None),
            ("b3", format!("{TRACE}-05e3ac9a4f6e3b90-1"), long),
            ("b3", "05e3ac9a4f6e3b90-05e3ac9a4f6e3b90".to_owned(), Some(0x05e3_ac9a_4f6e_3b90)),
            ("b3", "0".to_owned(), None),
            ("x-b3-traceid", TRACE.to_uppercase(), long),
            ("x-b3-traceid", format!("+{}", &TRACE[1..]), None),
        ] {
            let mut headers = headers(&[(name, &value), ("tracestate", "a=b"), ("x-request-id", "7")]);
            let before = headers.clone();
            let ids = TraceIds::of(&mut headers);
            assert_eq!(ids.trace_id.map(u128::from_be_bytes), expected, "{name}: {value}");
            assert_eq!((headers, &*ids.request_id), (before, "7"));
        }
    }

    #[test]
    fn of_two_traceparents_neither_counts() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = headers(&[("traceparent", valid), ("traceparent", valid)]);
        assert_eq!(TraceIds::of(&mut headers).trace_id, None);
    }

    #[test]
    fn a_request_without_a_usable_id_gets_a_new_one() {
        let long = "x".repeat(129);
        let cases: [&[(&str, &str)]; 4] = [
            &[],
            &[("x-request-id", &long)],
            &[("x-request-id", "a b")],
            &[("x-request-id", "1"), ("x-request-id", "2")],
        ];
        for sent in cases {
            let mut headers = HeaderMap::new();
            for (_, value) in sent {
                headers.append(REQUEST_ID, value.parse().unwrap());
            }
            let id = TraceIds::of(&mut headers).request_id;
            let sent: Vec<_> = headers.get_all(REQUEST_ID).iter().collect();
            assert_eq!(sent, [&*id]);
            assert_eq!((id.len(), &id[14..15]), (36, "4"));
            assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
            assert_ne!(TraceIds::of(&mut HeaderMap::new()).request_id, id);
        }
    }
}
