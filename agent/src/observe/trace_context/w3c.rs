//! `traceparent` and `tracestate` (W3C Trace Context, level 2).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Decision, Said, SpanId, TraceId, only};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace is recorded.
const SAMPLED: u8 = 1;
/// The trace id is random: stays as it is while the id does. All other flags are to be 0.
const RANDOM: u8 = 2;

/// Of a `tracestate` that is kept for a span; what the specification has everybody pass on.
const LONGEST_STATE: usize = 512;

/// A `traceparent` that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traceparent {
    pub(super) trace_id: TraceId,
    pub(super) parent: SpanId,
    flags: u8,
}

impl Traceparent {
    /// `version-trace-parent-flags`; later versions may have more after it, version ff is none.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let mut fields = only(headers, &TRACEPARENT)?.split('-');
        let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let is_lower_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let fits =
            is_lower_hex(version, 2) && is_lower_hex(trace, 32) && is_lower_hex(parent, 16) && is_lower_hex(flags, 2);
        let ends = version != "00" || fields.next().is_none();
        if !fits || !ends || version == "ff" {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace_id: TraceId::parse(trace)?, parent: SpanId::parse(parent)?, flags })
    }

    /// What it says.
    pub(super) fn said(&self) -> Said {
        let decision = if self.flags & SAMPLED != 0 { Decision::Record } else { Decision::Leave };
        Said { trace_id: Some(self.trace_id), parent: Some(self.parent), decision: Some(decision) }
    }

    /// The same with a new parent, in the version that is known here.
    pub(super) fn pass_on(&self, headers: &mut HeaderMap, span: SpanId) {
        write(headers, self.trace_id, span, self.flags & RANDOM | SAMPLED);
    }
}

/// Begins a recorded trace. What came and could not be read gives way, and the state that belonged to it.
pub(super) fn begin(headers: &mut HeaderMap, trace: TraceId, span: SpanId) {
    headers.remove(TRACESTATE);
    write(headers, trace, span, SAMPLED);
}

fn write(headers: &mut HeaderMap, trace: TraceId, span: SpanId, flags: u8) {
    // Hexadecimal digits and hyphens are a value.
    if let Ok(value) = HeaderValue::try_from(format!("00-{trace}-{span}-{flags:02x}")) {
        headers.insert(TRACEPARENT, value);
    }
}

/// What tracing systems say to each other, for the span. It stays in the request as it is.
pub(super) fn state(headers: &HeaderMap) -> Option<Box<str>> {
    let lines: Vec<_> = headers.get_all(TRACESTATE).iter().filter_map(|line| line.to_str().ok()).collect();
    let length = lines.iter().map(|line| line.len() + 1).sum::<usize>();
    (1..=LONGEST_STATE + 1).contains(&length).then(|| lines.join(",").into())
}
