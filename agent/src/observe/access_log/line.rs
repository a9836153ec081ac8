//! From the story of a connection or request to its line. [`FIELDS`] is the one list of fields; text and JSON both walk it.

use std::{
    fmt::{self, Write as _},
    time::{Duration, SystemTime},
};

use super::{LogFormat, RequestStory};
use crate::{
    mesh::ServiceName,
    observe::{ConnectionStart, Ended, Failure, NO_FLAG, Party, SocketFacts, Transport, outcome::Moved},
};

/// What the access log tells about one connection, or one request in it.
#[derive(Debug)]
pub(in crate::observe) struct Story {
    pub(in crate::observe) event: LineEvent,
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
    /// Of these, what no watched second has told while it was open.
    pub(in crate::observe) untold: Moved,
    /// Of the socket to the client, and of the one to the server.
    pub(in crate::observe) sockets: [Option<SocketFacts>; 2],
    pub(in crate::observe) failure: Option<Failure>,
    /// What only requests have.
    pub(in crate::observe) request: Option<Box<RequestStory>>,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) enum LineEvent {
    /// The connection or request ended.
    End,
    /// It has been open for long, and still is.
    Open,
}

impl LineEvent {
    fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Open => "open",
        }
    }
}

/// One field of the access log.
#[derive(Clone, Copy)]
pub struct Field {
    /// Its name, in text and in JSON.
    pub name: &'static str,
    /// What it says.
    pub meaning: &'static str,
    value: fn(&Story) -> Value<'_>,
}

/// What a field has to say. Nothing is copied where the story has it as it is written.
enum Value<'s> {
    None,
    /// One of the agent's own, which needs no quotes.
    Word(&'static str),
    Text(&'s str),
    Shown(&'s dyn fmt::Display),
    Made(String),
    Time(SystemTime),
    Number(u64),
}

const fn field(name: &'static str, meaning: &'static str, value: fn(&Story) -> Value<'_>) -> Field {
    Field { name, meaning, value }
}

/// Every field, in the order of the line.
pub const FIELDS: &[Field] = &[
    field(
        "time",
        "when the connection or request ended, or this line was written of an open one, RFC 3339 in UTC",
        |s| Value::Time(s.started + s.duration),
    ),
    field("event", "`end`, or `open`: it has been open for long and still is (`log.longConnections`)", |s| {
        Value::Word(s.event.as_str())
    }),
    field("start", "when the connection was accepted, or the request's head was read", |s| Value::Time(s.started)),
    field("direction", "`outbound` (a pod of this node dialled) or `inbound` (a pod of this node was dialled)", |s| {
        Value::Word(s.start.reporter.direction())
    }),
    field("source_address", "the client's address", |s| Value::Shown(&s.start.client.address)),
    field("source_workload", "the client's pod", |s| pod(Some(&s.start.client))),
    field("source_namespace", "and its namespace", |s| namespace(Some(&s.start.client))),
    field("source_identity", "the client's identity, where it was proven", |s| identity(Some(&s.start.client))),
    field("destination_address", "the address that the client dialled", |s| Value::Shown(&s.start.original_dst)),
    field("destination_workload", "the server's pod", |s| pod(s.server.as_ref())),
    field("destination_namespace", "and its namespace", |s| namespace(s.server.as_ref())),
    field("destination_identity", "the server's identity, where it was proven", |s| identity(s.server.as_ref())),
    field(
        "service",
        "the service that was dialled, or the one that took over from it, `name.namespace.svc.cluster.local`",
        |s| s.service.as_ref().map_or(Value::None, |service| Value::Made(service.host())),
    ),
    field("endpoint", "the address that was chosen to serve it", |s| {
        s.server.as_ref().map_or(Value::None, |server| Value::Shown(&server.address))
    }),
    field("protocol", "`tcp`; of a request `http/1`, `http/2` or `grpc`", |s| Value::Word(s.protocol())),
    field("method", "the request's method", |s| asked(s, |r| Value::Text(r.method()))),
    field("host", "its Host or `:authority`, cut after 256 bytes as every text of a client but the path", |s| {
        asked(s, |r| text(r.host()))
    }),
    field("path", "its path without the query, cut after 512 bytes", |s| asked(s, |r| Value::Text(r.path()))),
    field("status", "the status that the client was answered; none where it got no answer", |s| {
        asked(s, |r| r.status.map_or(Value::None, |status| Value::Number(u64::from(status.as_u16()))))
    }),
    field("grpc_status", "the status of a gRPC call", |s| {
        asked(s, |r| r.grpc_status.map_or(Value::None, |status| Value::Number(u64::from(status))))
    }),
    field("route", "the rule that matched, `HTTPRoute shop/web rules[1]`", |s| asked(s, |r| text(r.route()))),
    field("user_agent", "what the client says it is", |s| asked(s, |r| text(r.user_agent()))),
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
    field(
        "duration_ms",
        "from accept to end, or to now; of a request, from its head to the end of the response",
        |s| Value::Number(u64::try_from(s.duration.as_millis()).unwrap_or(u64::MAX)),
    ),
    field(
        "client_rtt_us",
        "round trip time of the agent's socket to the client, smoothed, in microseconds; of requests only where one failed, \
         took a second, or is open",
        |s| socket(s.sockets[0], |facts| facts.rtt_us),
    ),
    field(
        "client_retransmits",
        "segments that were sent again on that socket since it was opened; a tunnel's has those of all of its streams, a kept \
         connection's those of all of its requests",
        |s| socket(s.sockets[0], |facts| facts.retransmits),
    ),
    field(
        "server_rtt_us",
        "the same of its socket to the server, or to the server's node; of a native connection, of the client's own",
        |s| socket(s.sockets[1], |facts| facts.rtt_us),
    ),
    field("server_retransmits", "the same of that socket", |s| socket(s.sockets[1], |facts| facts.retransmits)),
    field("tries", "endpoints that were tried", |s| Value::Number(u64::from(s.tries))),
    field("tls_version", "TLS version between the nodes", |s| tls(&s.transport).0),
    field("tls_group", "key exchange group between the nodes", |s| tls(&s.transport).1),
    field("tls_root", "short name of the root that vouches for the other node's certificate", |s| tls(&s.transport).2),
    field("request_id", "the request's id, header `x-request-id`", |s| asked(s, |r| text(r.request_id()))),
    field("trace_id", "the trace that the request belongs to", |s| asked(s, |r| text(r.trace_id()))),
    field(
        "policy",
        "what denied or limited the connection or request, or injected its fault: a document, or `mtls.mode of agent.yaml`",
        |s| text(s.failure.as_ref().and_then(|failure| failure.denied_by.as_deref())),
    ),
    field("remarks", "AUDIT policies that match, and what would be decided with the policies on trial", |s| {
        if s.remarks.is_empty() { Value::None } else { Value::Made(s.remarks.join("; ")) }
    }),
    field("error", "the error in words", |s| text(s.failure.as_ref().map(|failure| failure.error.as_str()))),
];

impl Story {
    /// `tcp`; of a request, what it is.
    pub(in crate::observe) fn protocol(&self) -> &'static str {
        self.request.as_ref().map_or("tcp", |request| request.protocol.as_str())
    }

    /// Appends the story's line, with its line end. `scratch` is for values that have no text yet.
    pub(in crate::observe) fn write(&self, format: LogFormat, line: &mut Vec<u8>, scratch: &mut String) {
        for (index, field) in FIELDS.iter().enumerate() {
            format.name(line, index == 0, field.name);
            match (field.value)(self) {
                Value::None => format.none(line),
                Value::Word(word) => format.word(line, word),
                Value::Text(text) => format.text(line, text),
                Value::Made(text) => format.text(line, &text),
                Value::Number(number) => line.extend_from_slice(shown(&number, scratch).as_bytes()),
                Value::Time(at) => format.text(line, time(at, scratch)),
                Value::Shown(value) => format.text(line, shown(value, scratch)),
            }
        }
        format.end(line);
    }
}

impl Story {
    /// Whether anybody can ask for it by an id: those of connections have none.
    pub(in crate::observe) fn has_ids(&self) -> bool {
        self.request.is_some()
    }

    /// Whether it is of a request with this trace id or request id.
    pub(in crate::observe) fn has_id(&self, id: &str) -> bool {
        let ids = self.request.as_deref().map(|request| [request.trace_id(), request.request_id()]);
        !id.is_empty() && ids.is_some_and(|ids| ids.contains(&Some(id)))
    }

    /// What became of a request, for who asks.
    pub(in crate::observe) fn ended(&self) -> Option<Ended> {
        let request = self.request.as_deref()?.as_ended();
        let mut scratch = String::new();
        let mut fields = serde_json::Map::new();
        for field in FIELDS {
            let value: serde_json::Value = match (field.value)(self) {
                Value::None => continue,
                Value::Word(word) => word.into(),
                Value::Text(text) => text.into(),
                Value::Made(text) => text.into(),
                Value::Number(number) => number.into(),
                Value::Time(at) => time(at, &mut scratch).into(),
                Value::Shown(value) => shown(value, &mut scratch).into(),
            };
            fields.insert(field.name.to_owned(), value);
        }
        Some(Ended {
            fields: fields.into(),
            generation: self.start.generation,
            reporter: self.start.reporter,
            client: self.start.client.clone(),
            original_dst: self.start.original_dst,
            server: self.server.clone(),
            failure: self.failure.clone(),
            request,
        })
    }
}

impl LogFormat {
    fn name(self, line: &mut Vec<u8>, first: bool, name: &str) {
        let (before, after): (&[u8], &[u8]) = match (self, first) {
            (Self::Text, true) => (b"", b"="),
            (Self::Text, false) => (b" ", b"="),
            (Self::Json, true) => (b"{\"", b"\":"),
            (Self::Json, false) => (b",\"", b"\":"),
        };
        [before, name.as_bytes(), after].iter().for_each(|part| line.extend_from_slice(part));
    }

    fn none(self, line: &mut Vec<u8>) {
        line.extend_from_slice(match self {
            Self::Text => b"-",
            Self::Json => b"null",
        });
    }

    fn word(self, line: &mut Vec<u8>, word: &str) {
        match self {
            Self::Text => line.extend_from_slice(word.as_bytes()),
            Self::Json => self.text(line, word),
        }
    }

    /// Quoted and escaped as JSON where it must be, in text lines too: a peer's words can never start a line of their own.
    fn text(self, line: &mut Vec<u8>, text: &str) {
        match self {
            Self::Text if is_bare(text) => line.extend_from_slice(text.as_bytes()),
            // Writing a text to a Vec cannot fail.
            Self::Text | Self::Json => serde_json::to_writer(line, text).unwrap_or_default(),
        }
    }

    fn end(self, line: &mut Vec<u8>) {
        line.extend_from_slice(match self {
            Self::Text => b"\n",
            Self::Json => b"}\n",
        });
    }
}

/// A field that only requests have.
fn asked(story: &Story, value: fn(&RequestStory) -> Value<'_>) -> Value<'_> {
    story.request.as_deref().map_or(Value::None, value)
}

fn socket(facts: Option<SocketFacts>, value: fn(SocketFacts) -> u32) -> Value<'static> {
    facts.map_or(Value::None, |facts| Value::Number(u64::from(value(facts))))
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::None, Value::Text)
}

fn pod(party: Option<&Party>) -> Value<'_> {
    text(party.and_then(|party| party.workload.as_ref()).map(|workload| &*workload.name))
}

fn namespace(party: Option<&Party>) -> Value<'_> {
    text(party.and_then(|party| party.workload.as_ref()).map(|workload| &*workload.namespace))
}

fn identity(party: Option<&Party>) -> Value<'_> {
    party.and_then(|party| party.identity.as_ref()).map_or(Value::None, |id| Value::Shown(id))
}

/// Version, group and root.
fn tls(transport: &Transport) -> (Value<'_>, Value<'_>, Value<'_>) {
    match transport {
        Transport::Unsent | Transport::Plain | Transport::Native => (Value::None, Value::None, Value::None),
        Transport::Hbone { tls_version, group, root } => {
            (Value::Word(tls_version), Value::Word(group), Value::Shown(root))
        }
    }
}

fn shown<'s>(value: &dyn fmt::Display, scratch: &'s mut String) -> &'s str {
    scratch.clear();
    // Writing to a String cannot fail; what its owner cannot show stays empty.
    let _ = write!(scratch, "{value}");
    scratch
}

/// `2026-07-30T10:00:00.250Z`, as every time is in logs.
pub fn timestamp(at: SystemTime) -> String {
    let mut text = String::new();
    time(at, &mut text);
    text
}

/// `2026-07-30T10:00:00.250Z`. Digit by digit: it is written twice a line, and formatting costs several times as much.
pub(in crate::observe) fn time(at: SystemTime, to: &mut String) -> &str {
    to.clear();
    let at = time::OffsetDateTime::from(at);
    let (hour, minute, second, ms) = at.to_hms_milli();
    // A clock that shows a year before 0 is past helping.
    let year = at.year().unsigned_abs();
    let parts = [
        (year, 4, '-'),
        (u32::from(u8::from(at.month())), 2, '-'),
        (u32::from(at.day()), 2, 'T'),
        (u32::from(hour), 2, ':'),
        (u32::from(minute), 2, ':'),
        (u32::from(second), 2, '.'),
        (u32::from(ms), 3, 'Z'),
    ];
    for (number, digits, then) in parts {
        (0..digits).rev().for_each(|place| to.extend(char::from_digit(number / 10_u32.pow(place) % 10, 10)));
        to.push(then);
    }
    to
}

/// Whether a value needs no quotes: nothing in it could be taken for the end of the field, a quote, or "none".
fn is_bare(text: &str) -> bool {
    !text.is_empty() && text != "-" && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\=".contains(&b))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn times_are_rfc_3339_to_the_millisecond() {
        for (after_1970, expected) in [
            (Duration::ZERO, "1970-01-01T00:00:00.000Z"),
            (Duration::from_millis(951_827_696_007), "2000-02-29T12:34:56.007Z"),
            (Duration::from_millis(253_402_300_799_999), "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(time(UNIX_EPOCH + after_1970, &mut "before".to_owned()), expected);
        }
    }
}
