//! From the story of a connection or request to its line. [`FIELDS`] is the one list of fields; text and JSON both walk it.

use std::{
    io::Write as _,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use super::{LogFormat, RequestStory};
use crate::{
    mesh::ServiceName,
    observe::{ConnectionStart, Failure, NO_FLAG, Party, Transport},
};

/// What the access log tells about one connection, or one request in it.
#[derive(Debug)]
pub(in crate::observe) struct Story {
    pub(in crate::observe) started: SystemTime,
    pub(in crate::observe) duration: Duration,
    pub(in crate::observe) start: ConnectionStart,
    pub(in crate::observe) service: Option<ServiceName>,
    pub(in crate::observe) server: Option<Party>,
    pub(in crate::observe) transport: Transport,
    pub(in crate::observe) tries: u32,
    pub(in crate::observe) remarks: Vec<String>,
    pub(in crate::observe) sent: u64,
    pub(in crate::observe) received: u64,
    pub(in crate::observe) failure: Option<Failure>,
    /// What only requests have.
    pub(in crate::observe) request: Option<Box<RequestStory>>,
}

/// One field of the access log.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name, in text and in JSON.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
    value: fn(&Story) -> Value,
}

enum Value {
    None,
    Text(String),
    Word(&'static str),
    Number(u64),
}

const fn field(name: &'static str, meaning: &'static str, value: fn(&Story) -> Value) -> Field {
    Field { name, meaning, value }
}

/// Every field, in the order of the line.
pub const FIELDS: &[Field] = &[
    field("time", "when the connection or request ended, RFC 3339 in UTC", |s| time(s.started + s.duration)),
    field("start", "when the connection was accepted, or the request's head was read", |s| time(s.started)),
    field("direction", "`outbound` (a pod of this node dialled) or `inbound` (a pod of this node was dialled)", |s| {
        Value::Word(s.start.reporter.direction())
    }),
    field("source_address", "the client's address", |s| address(s.start.client.address)),
    field("source_workload", "the client's pod", |s| pod(Some(&s.start.client))),
    field("source_namespace", "and its namespace", |s| namespace(Some(&s.start.client))),
    field("source_identity", "the client's identity, where it was proven", |s| identity(Some(&s.start.client))),
    field("destination_address", "the address that the client dialled", |s| address(s.start.original_dst)),
    field("destination_workload", "the server's pod", |s| pod(s.server.as_ref())),
    field("destination_namespace", "and its namespace", |s| namespace(s.server.as_ref())),
    field("destination_identity", "the server's identity, where it was proven", |s| identity(s.server.as_ref())),
    field(
        "service",
        "the service that was dialled, or the one that took over from it, `name.namespace.svc.cluster.local`",
        |s| s.service.as_ref().map_or(Value::None, |service| Value::Text(service.host())),
    ),
    field("endpoint", "the address that was chosen to serve it", |s| {
        s.server.as_ref().map_or(Value::None, |server| address(server.address))
    }),
    field("protocol", "`tcp`; of a request `http/1`, `http/2` or `grpc`", |s| {
        Value::Word(s.request.as_ref().map_or("tcp", |request| request.protocol))
    }),
    field("method", "the request's method", |s| asked(s, |r| Value::Text(r.method.clone()))),
    field("host", "its Host or `:authority`, cut after 256 bytes as every text of a client but the path", |s| {
        asked(s, |r| text(r.host.as_ref()))
    }),
    field("path", "its path without the query, cut after 512 bytes", |s| asked(s, |r| Value::Text(r.path.clone()))),
    field("status", "the status that the client was answered; none where it got no answer", |s| {
        asked(s, |r| r.status.map_or(Value::None, |status| Value::Number(u64::from(status.as_u16()))))
    }),
    field("grpc_status", "the status of a gRPC call", |s| {
        asked(s, |r| r.grpc_status.map_or(Value::None, |status| Value::Number(u64::from(status))))
    }),
    field("route", "the rule that matched, `HTTPRoute shop/web rules[1]`", |s| asked(s, |r| text(r.route.as_ref()))),
    field("user_agent", "what the client says it is", |s| asked(s, |r| text(r.user_agent.as_ref()))),
    field("flag", "how it failed (response flags, above), `-` if it did not", |s| {
        Value::Word(s.failure.as_ref().map_or(NO_FLAG, |failure| failure.flag.as_str()))
    }),
    field("sent_bytes", "application bytes from client to server; of a request, those of its body", |s| {
        Value::Number(s.sent)
    }),
    field(
        "received_bytes",
        "application bytes from server to client; of a request, those of the response's body",
        |s| Value::Number(s.received),
    ),
    field("duration_ms", "from accept to end; of a request, from its head to the end of the response", |s| {
        Value::Number(u64::try_from(s.duration.as_millis()).unwrap_or(u64::MAX))
    }),
    field("tries", "endpoints that were tried", |s| Value::Number(u64::from(s.tries))),
    field("tls_version", "TLS version between the nodes", |s| tls(s.transport).0),
    field("tls_group", "key exchange group between the nodes", |s| tls(s.transport).1),
    field("tls_root", "short name of the root that vouches for the other node's certificate", |s| root(s.transport)),
    field("request_id", "the request's id, header `x-request-id`", |s| asked(s, |r| text(r.request_id.as_ref()))),
    field("trace_id", "the trace that the request belongs to", |s| asked(s, |r| text(r.trace_id.as_ref()))),
    field(
        "policy",
        "what denied or limited the connection or request, or injected its fault: a document, or `mtls.mode of agent.yaml`",
        |s| s.failure.as_ref().and_then(|failure| failure.denied_by.clone()).map_or(Value::None, Value::Text),
    ),
    field("remarks", "AUDIT policies that match, and what would be decided with the policies on trial", |s| {
        if s.remarks.is_empty() { Value::None } else { Value::Text(s.remarks.join("; ")) }
    }),
    field("error", "the error in words", |s| {
        s.failure.as_ref().map_or(Value::None, |failure| Value::Text(failure.error.clone()))
    }),
];

impl Story {
    /// Appends the story's line, with its line end.
    pub(super) fn write(&self, format: LogFormat, line: &mut Vec<u8>) {
        match format {
            LogFormat::Text => self.write_text(line),
            LogFormat::Json => self.write_json(line),
        }
        line.push(b'\n');
    }

    fn write_text(&self, line: &mut Vec<u8>) {
        for (index, field) in FIELDS.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            // Writing to a Vec cannot fail, here and below.
            let _ = write!(line, "{space}{}=", field.name);
            let _ = match (field.value)(self) {
                Value::None => line.write_all(b"-"),
                Value::Word(word) => line.write_all(word.as_bytes()),
                Value::Number(number) => write!(line, "{number}"),
                Value::Text(text) if is_bare(&text) => line.write_all(text.as_bytes()),
                Value::Text(text) => line.write_all(json_string(&text).as_bytes()),
            };
        }
    }

    fn write_json(&self, line: &mut Vec<u8>) {
        for (index, field) in FIELDS.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(line, "{open}\"{}\":", field.name);
            let _ = match (field.value)(self) {
                Value::None => line.write_all(b"null"),
                Value::Word(word) => line.write_all(json_string(word).as_bytes()),
                Value::Number(number) => write!(line, "{number}"),
                Value::Text(text) => line.write_all(json_string(&text).as_bytes()),
            };
        }
        line.push(b'}');
    }
}

/// A field that only requests have.
fn asked(story: &Story, value: fn(&RequestStory) -> Value) -> Value {
    story.request.as_deref().map_or(Value::None, value)
}

fn text(text: Option<&String>) -> Value {
    text.map_or(Value::None, |text| Value::Text(text.clone()))
}

fn address(address: SocketAddr) -> Value {
    Value::Text(address.to_string())
}

fn pod(party: Option<&Party>) -> Value {
    party.and_then(|p| p.workload.as_ref()).map_or(Value::None, |w| Value::Text(w.name.to_string()))
}

fn namespace(party: Option<&Party>) -> Value {
    party.and_then(|p| p.workload.as_ref()).map_or(Value::None, |w| Value::Text(w.namespace.to_string()))
}

fn identity(party: Option<&Party>) -> Value {
    party.and_then(|p| p.identity.as_ref()).map_or(Value::None, |id| Value::Text(id.to_string()))
}

fn tls(transport: Transport) -> (Value, Value) {
    match transport {
        Transport::Plain => (Value::None, Value::None),
        Transport::Hbone { tls_version, group, root: _ } => (Value::Word(tls_version), Value::Word(group)),
    }
}

fn root(transport: Transport) -> Value {
    match transport {
        Transport::Plain => Value::None,
        Transport::Hbone { root, .. } => Value::Text(root.to_string()),
    }
}

fn time(at: SystemTime) -> Value {
    let at = time::OffsetDateTime::from(at);
    let (hour, minute, second, ms) = at.to_hms_milli();
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    Value::Text(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"))
}

/// Whether a value needs no quotes: nothing in it could be taken for the end of the field, a quote, or "none".
fn is_bare(text: &str) -> bool {
    !text.is_empty() && text != "-" && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\=".contains(&b))
}

/// Quoted and escaped as JSON, for text lines too: a peer's words can never start a line of their own.
fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
