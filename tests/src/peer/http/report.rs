//! What the HTTP peers are told and what they say, as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::peer::report::{Quantiles, Receipt};

/// A header line: name and value.
pub type Line = (String, String);

/// What `http-serve` prints while it runs, after it listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum HttpEvent {
    /// The head of a request arrived.
    Request(Box<Seen>),
    /// A connection ended.
    Ended {
        /// Its number.
        connection: u64,
        /// What was wrong, if anything: bytes that are no HTTP among it.
        error: Option<String>,
    },
}

/// A request as the server saw it; also the body of the usual answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// The server's name for the port.
    pub server: String,
    /// The number of the connection at this server, counted over all ports.
    pub connection: u64,
    /// The client's address as the server sees it.
    pub peer: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// The method.
    pub method: String,
    /// Path and query, or what stands in their place.
    pub target: String,
    /// `:authority`, the host of an absolute target, or the Host header.
    pub host: Option<String>,
    /// All header lines; lines of one name together.
    pub headers: Vec<Line>,
    /// The body, once it has ended; nothing in an event.
    pub body: Option<Receipt>,
    /// The trailers, once the body has ended.
    pub trailers: Vec<Line>,
}

impl Seen {
    /// All values of a header, with ` | ` between them; nothing if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        values(&self.headers, name)
    }
}

/// All values of a header, with ` | ` between them; nothing if there is none.
#[must_use]
pub fn values(lines: &[Line], name: &str) -> Option<String> {
    let found: Vec<&str> =
        lines.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect();
    (!found.is_empty()).then(|| found.join(" | "))
}

/// One line of `http`'s standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Repeated in the answer, to find it by.
    pub id: u64,
    /// What to do.
    pub what: What,
}

/// What `http` can do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Send requests.
    Ask(Ask),
    /// Send bytes.
    Raw(Raw),
}

/// Requests, alike but for their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ask {
    /// Where to.
    pub to: SocketAddr,
    /// In HTTP/2 with prior knowledge instead of HTTP/1.1.
    pub h2: bool,
    /// The method.
    pub method: String,
    /// The target, sent as it is.
    pub target: String,
    /// The Host header or `:authority`; the address if absent.
    pub host: Option<String>,
    /// Further header lines, in this order and, over HTTP/1.1, in this spelling.
    pub headers: Vec<Line>,
    /// The body as text.
    pub body: String,
    /// Or a patterned body of so many bytes.
    pub body_bytes: u64,
    /// Send the body without announcing its length.
    pub chunked: bool,
    /// Trailers after the body; they make it chunked.
    pub trailers: Vec<Line>,
    /// Send the body only after `100 Continue`, which is asked for.
    pub wait_continue: bool,
    /// Milliseconds between two parts of the body that is sent.
    pub send_every_ms: u64,
    /// Milliseconds between two reads of the answer's body.
    pub read_every_ms: u64,
    /// How many requests, one after the other on each connection.
    pub times: u32,
    /// Connections that share them.
    pub connections: u32,
    /// Limit for one request.
    pub timeout_ms: u64,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            to: SocketAddr::from(([0, 0, 0, 0], 0)),
            h2: false,
            method: "GET".to_owned(),
            target: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            body: String::new(),
            body_bytes: 0,
            chunked: false,
            trailers: Vec::new(),
            wait_continue: false,
            send_every_ms: 0,
            read_every_ms: 0,
            times: 1,
            connections: 1,
            timeout_ms: 20_000,
        }
    }
}

impl Ask {
    /// A GET of `/`.
    #[must_use]
    pub fn to(to: SocketAddr) -> Self {
        Self { to, ..Self::default() }
    }

    /// With another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// With another target.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// With another host than the address.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// With one more header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Tells the server what to do.
    #[must_use]
    pub fn behave(self, how: &str) -> Self {
        self.header("x-behave", how)
    }

    /// So many, over so many connections.
    #[must_use]
    pub fn times(mut self, times: u32, connections: u32) -> Self {
        (self.times, self.connections) = (times, connections);
        self
    }

    /// In HTTP/2.
    #[must_use]
    pub fn h2(mut self) -> Self {
        self.h2 = true;
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }
}

/// Bytes to send as they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Raw {
    /// Where to.
    pub to: SocketAddr,
    /// The bytes, each a character below U+0100; several pieces are sent apart.
    pub pieces: Vec<String>,
    /// Milliseconds between two pieces.
    pub pause_ms: u64,
    /// How long to read after the last piece, if the connection stays open.
    pub wait_ms: u64,
    /// Stop reading once this has come.
    pub until: Option<String>,
}

/// What `http` answers to an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Of the order.
    pub id: u64,
    /// What came of `Ask`, in the order in which the answers came.
    pub answers: Vec<Answer>,
    /// What came of `Raw`.
    pub raw: Option<RawAnswer>,
}

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// The status; 0 without an answer.
    pub status: u16,
    /// The header lines, in their order and spelling.
    pub headers: Vec<Line>,
    /// The statuses of interim answers before it.
    pub interim: Vec<u16>,
    /// The body as text, if it is small.
    pub body: String,
    /// Count and checksum of the body.
    pub received: Option<Receipt>,
    /// The trailers.
    pub trailers: Vec<Line>,
    /// Whether the whole request was sent, the body included.
    pub sent_all: bool,
    /// The connection of this order that it went over, from 0.
    pub connection: u32,
    /// Until the head of the answer.
    pub head_ms: f64,
    /// Until its end.
    pub ms: f64,
    /// What went wrong: a name of errno(3), `eof`, `timeout`, a reason of HTTP/2.
    pub error: Option<String>,
}

impl Answer {
    /// All values of a header, with ` | ` between them; nothing if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        values(&self.headers, name)
    }

    /// What the server saw, of an answer with nothing else in its body.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        serde_json::from_str(&self.body).ok()
    }
}

/// What came of bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RawAnswer {
    /// All that came, each byte a character.
    pub received: String,
    /// `eof`, `open`, `until`, or the error's name.
    pub ended: String,
    /// Milliseconds until the first byte, if any came.
    pub first_ms: Option<f64>,
    /// Milliseconds until the end.
    pub ms: f64,
}

/// What `http-load` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadReport {
    /// Requests begun.
    pub attempted: u64,
    /// By `status server`.
    pub answers: BTreeMap<String, u64>,
    /// Requests without a whole answer, by error.
    pub failures: BTreeMap<String, u64>,
    /// With `--agree`: requests of which path and header were not of one generation; with `--echoed`: answers with another body than
    /// was sent.
    pub mixed: u64,
    /// With `--agree`: how many generations were seen.
    pub generations: u64,
    /// Some of what was not as it must be, in words.
    pub examples: Vec<String>,
    /// How long requests took.
    pub latency_us: Quantiles,
    /// How long all took.
    pub seconds: f64,
}
