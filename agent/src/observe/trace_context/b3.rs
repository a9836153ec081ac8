//! B3: the header `b3`, and the several headers `x-b3-*` (github.com/openzipkin/b3-propagation).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Decision, Said, SpanId, TraceId, only};

const SINGLE: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// In which of its two forms B3 came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One header.
    Single,
    /// One header for each field.
    Multi,
}

/// What B3 headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct B3 {
    form: Form,
    pub(super) trace: Option<Trace>,
    state: Option<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) id: TraceId,
    /// Ids of 64 bits stay so: who sent one may know no others.
    is_short: bool,
    span: Option<SpanId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Deny,
    Accept,
    /// Accept, and let no sampler further on think otherwise.
    Debug,
}

impl B3 {
    /// `trace-span-state-parent`, of which the last two may be missing; or a state alone.
    pub(super) fn read_single(headers: &HeaderMap) -> Option<Self> {
        let value = only(headers, &SINGLE)?;
        let form = Form::Single;
        if let Some(state) = State::parse(value) {
            return Some(Self { form, trace: None, state: Some(state) });
        }
        let mut fields = value.split('-');
        let (trace, span, state) = (fields.next()?, fields.next()?, fields.next());
        let span = Some(SpanId::parse(span)?);
        let state = match state {
            Some(state) => Some(State::parse(state)?),
            None => None,
        };
        Some(Self { form, trace: Some(Trace { span, ..Trace::parse(trace)? }), state })
    }

    /// The several headers. The id of the span may be missing.
    pub(super) fn read_multi(headers: &HeaderMap) -> Option<Self> {
        let trace = only(headers, &TRACE_ID).and_then(Trace::parse);
        let trace = trace.map(|trace| Trace { span: only(headers, &SPAN_ID).and_then(SpanId::parse), ..trace });
        let state = match (only(headers, &FLAGS), only(headers, &SAMPLED)) {
            (Some("1"), _) => Some(State::Debug),
            (_, Some("1" | "true")) => Some(State::Accept),
            (_, Some("0" | "false")) => Some(State::Deny),
            _ => None,
        };
        (trace.is_some() || state.is_some()).then_some(Self { form: Form::Multi, trace, state })
    }

    /// What it says.
    pub(super) fn said(&self) -> Said {
        Said {
            trace_id: self.trace.map(|trace| trace.id),
            parent: self.trace.and_then(|trace| trace.span),
            decision: self.state.map(|state| match state {
                State::Deny => Decision::Leave,
                State::Accept | State::Debug => Decision::Record,
            }),
        }
    }

    /// The same with a new parent, as recorded.
    pub(super) fn pass_on(&self, headers: &mut HeaderMap, trace: TraceId, span: SpanId) {
        let parent = self.trace.and_then(|trace| trace.span);
        let id = match self.trace {
            Some(Trace { id, is_short: true, .. }) => format!("{:016x}", id.low()),
            _ => trace.to_string(),
        };
        let state = self.state.filter(|state| *state == State::Debug).unwrap_or(State::Accept);
        match self.form {
            Form::Single => {
                let parent = parent.map(|parent| format!("-{parent}")).unwrap_or_default();
                put(headers, SINGLE, &format!("{id}-{span}-{}{parent}", state.as_str()));
            }
            Form::Multi => {
                put(headers, TRACE_ID, &id);
                put(headers, SPAN_ID, &span.to_string());
                match parent {
                    Some(parent) => put(headers, PARENT_ID, &parent.to_string()),
                    None => drop(headers.remove(PARENT_ID)),
                }
                // Debugging says so already.
                if state == State::Accept {
                    put(headers, SAMPLED, "1");
                }
            }
        }
    }

    /// Tells a decision that was left to whoever gets the request: it is not recorded.
    pub(super) fn leave(&self, headers: &mut HeaderMap) {
        let (Some(Trace { id, is_short, span }), None) = (self.trace, self.state) else { return };
        match (self.form, span) {
            (Form::Multi, _) => put(headers, SAMPLED, "0"),
            (Form::Single, Some(span)) if is_short => put(headers, SINGLE, &format!("{:016x}-{span}-0", id.low())),
            (Form::Single, Some(span)) => put(headers, SINGLE, &format!("{id}-{span}-0")),
            (Form::Single, None) => {}
        }
    }
}

impl Trace {
    fn parse(text: &str) -> Option<Self> {
        Some(Self { id: TraceId::parse(text)?, is_short: text.len() == 16, span: None })
    }
}

impl State {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::Deny),
            "1" => Some(Self::Accept),
            "d" => Some(Self::Debug),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "0",
            Self::Accept => "1",
            Self::Debug => "d",
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Hexadecimal digits and hyphens are a value.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
