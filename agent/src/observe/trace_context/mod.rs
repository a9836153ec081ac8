//! What ties a request to a trace, and its log lines to each other: W3C Trace Context, B3, and a request id.
//!
//! In: a request's headers, and the share of requests that are recorded. Out: the ids of the span that the agent records of
//! it, if it does, with the headers changed so that the span is the parent of what comes next. Where no span is recorded the
//! headers stay as they came, also those that cannot be read: who takes no part in a trace passes it on.
//!
//! Whoever began the trace has decided whether it is recorded, and that decision counts. Where nobody has, it follows from the
//! request id, which both agents of a request see: they decide alike, and nothing needs to be written into requests that are
//! not recorded. A trace that is marked "not recorded" would keep the server's application from recording its own.

mod b3;
pub(crate) mod fuzz;
mod ids;
mod sampling;
#[cfg(test)]
mod tests;
mod w3c;

use http::{HeaderMap, HeaderName, HeaderValue};

use self::{b3::B3, w3c::Traceparent};
pub use ids::{SpanId, TraceId};
pub(super) use sampling::Draw;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Of a request id that is kept; longer ones are no identifiers.
const LONGEST_REQUEST_ID: usize = 128;

/// What a request is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// Of the trace that the request is part of.
    pub trace_id: Option<TraceId>,
    /// `x-request-id`.
    pub request_id: Box<str>,
    /// Of the span that is recorded of it, if one is.
    pub span: Option<Box<SpanIds>>,
}

/// The ids of a span that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanIds {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its own.
    pub span_id: SpanId,
    /// Of the span that it is a child of; `None` where it begins the trace.
    pub parent: Option<SpanId>,
    /// `tracestate`.
    pub state: Option<Box<str>>,
}

/// Whether a trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Record,
    Leave,
}

/// What headers of one format say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Said {
    trace_id: Option<TraceId>,
    parent: Option<SpanId>,
    /// `None` leaves it to whoever gets the request.
    decision: Option<Decision>,
}

impl RequestIds {
    /// Reads what a request brings, and gives it a request id if it has no usable one. No span is recorded.
    pub(super) fn of(headers: &mut HeaderMap) -> Self {
        let trace_id = Traceparent::read(headers)
            .map(|read| read.trace_id)
            .or_else(|| B3::read_single(headers)?.trace.map(|trace| trace.id))
            .or_else(|| B3::read_multi(headers)?.trace.map(|trace| trace.id));
        Self { trace_id, request_id: request_id(headers), span: None }
    }

    /// The same, where spans are recorded of this share of the requests that nobody has decided over.
    pub(super) fn traced(headers: &mut HeaderMap, share: Draw) -> Self {
        let request_id = request_id(headers);
        let context = Context::read(headers);
        let said = context.said();
        let decision = said.decision.unwrap_or_else(|| match said.trace_id {
            Some(trace) => share.of_trace(trace),
            None => share.of_request(&request_id),
        });
        match decision {
            Decision::Leave => {
                context.leave(headers);
                Self { trace_id: said.trace_id, request_id, span: None }
            }
            Decision::Record => {
                let span = SpanIds {
                    trace_id: said.trace_id.unwrap_or_else(TraceId::random),
                    span_id: SpanId::random(),
                    parent: said.parent,
                    state: context.w3c.and_then(|_| w3c::state(headers)),
                };
                context.pass_on(headers, &span);
                Self { trace_id: Some(span.trace_id), request_id, span: Some(Box::new(span)) }
            }
        }
    }
}

/// The formats in which a request says what trace it belongs to. An application may send several.
#[derive(Clone, Copy, Debug, Default)]
struct Context {
    w3c: Option<Traceparent>,
    single: Option<B3>,
    multi: Option<B3>,
}

impl Context {
    fn read(headers: &HeaderMap) -> Self {
        Self { w3c: Traceparent::read(headers), single: B3::read_single(headers), multi: B3::read_multi(headers) }
    }

    /// The first format that names a trace counts; else the first that says anything.
    fn said(&self) -> Said {
        let w3c = self.w3c.map(|read| read.said());
        let all = [w3c, self.single.map(|read| read.said()), self.multi.map(|read| read.said())];
        let mut said = all.into_iter().flatten();
        let naming = said.clone().find(|said| said.trace_id.is_some());
        naming.or_else(|| said.next()).unwrap_or_default()
    }

    /// Makes the span the parent in every format that speaks of its trace; in W3C's where none does.
    fn pass_on(&self, headers: &mut HeaderMap, span: &SpanIds) {
        let is_ours = |trace: Option<TraceId>| trace.is_none_or(|trace| trace == span.trace_id);
        if let Some(w3c) = self.w3c.filter(|read| read.trace_id == span.trace_id) {
            w3c.pass_on(headers, span.span_id);
        }
        let b3 = [self.single, self.multi].into_iter().flatten();
        for read in b3.filter(|read| is_ours(read.trace.map(|trace| trace.id))) {
            read.pass_on(headers, span.trace_id, span.span_id);
        }
        if self.w3c.is_none() && self.single.is_none() && self.multi.is_none() {
            w3c::begin(headers, span.trace_id, span.span_id);
        }
    }

    fn leave(&self, headers: &mut HeaderMap) {
        for read in [self.single, self.multi].into_iter().flatten() {
            read.leave(headers);
        }
    }
}

fn request_id(headers: &mut HeaderMap) -> Box<str> {
    let kept = only(headers, &REQUEST_ID).filter(|id| is_usable(id)).map(Box::from);
    kept.unwrap_or_else(|| {
        let id = new_request_id();
        // Hexadecimal digits and hyphens are a value.
        if let Ok(value) = HeaderValue::try_from(&id) {
            headers.insert(REQUEST_ID, value);
        }
        id.into()
    })
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
