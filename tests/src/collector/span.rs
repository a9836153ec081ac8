//! A span as a test reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

/// One span of an export.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// Its parent's; empty where it begins the trace.
    pub parent: String,
    /// `tracestate`
    pub state: String,
    /// What it is called.
    pub name: String,
    /// `Client` or `Server`.
    pub kind: String,
    /// Why it is an error, if it is.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub ms: f64,
    /// What it says; numbers as text.
    pub attributes: BTreeMap<String, String>,
    /// What it is of.
    pub resource: BTreeMap<String, String>,
}

impl Seen {
    /// Those of an export.
    pub(super) fn all(message: ExportTraceServiceRequest) -> Vec<Self> {
        let mut all = Vec::new();
        for group in message.resource_spans {
            let resource = texts(group.resource.map(|resource| resource.attributes).unwrap_or_default());
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                all.push(Self::of(span, resource.clone()));
            }
        }
        all
    }

    fn of(span: Span, resource: BTreeMap<String, String>) -> Self {
        let is_error = |status: &opentelemetry_proto::tonic::trace::v1::Status| status.code() == StatusCode::Error;
        Self {
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            kind: SpanKind::try_from(span.kind).map(|kind| format!("{kind:?}")).unwrap_or_default(),
            error: span.status.filter(is_error).map(|status| status.message),
            ms: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) as f64 / 1e6,
            attributes: texts(span.attributes),
            state: span.trace_state,
            name: span.name,
            resource,
        }
    }

    /// An attribute, or nothing.
    #[must_use]
    pub fn says(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}
