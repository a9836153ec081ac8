//! `/events`: what the kernel programs tell about connections, as it happens. As lines of JSON, or as server-sent events for
//! who asks for those.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{
    Sources,
    answer::{accepts, refused},
    lasting::Lasting,
};
use crate::observe::{Heard, Listener, MOST_LISTENERS, timestamp};

/// An empty line while nothing happens: whoever is gone or does not read is found out, and proxies keep the connection.
pub(super) const ALIVE: Duration = Duration::from_secs(15);

const EVENT_STREAM: &str = "text/event-stream";
const JSON_LINES: &str = "application/x-ndjson";

/// One event. What is not known of it is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// `connect`, `refused`, `bypassed`, `closed`, or `lost`.
    pub event: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `outbound` or `inbound`, as seen from the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Whose socket it is about: `application`, `agent`, or `agent_to_application`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The enrolled pod in whose network namespace that is, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Cookie of that network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<u64>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Where it wanted to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Of a closed connection: bytes from client to server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// Of a closed connection: bytes from server to client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_bytes: Option<u64>,
    /// Of a closed connection: how long it lasted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Of a closed connection: round trip time, smoothed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// Of a closed connection: segments that were sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u32>,
    /// Of `lost`: how many events are missing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

impl Event {
    /// Events are missing here: `ring` or `slow_listener` lost them.
    pub fn lost(time: String, reason: &str, count: u64) -> Self {
        Self { time, event: "lost".to_owned(), reason: Some(reason.to_owned()), count: Some(count), ..Self::default() }
    }
}

pub(super) async fn events(
    State(sources): State<Sources>,
    Extension(lasting): Extension<Lasting>,
    headers: HeaderMap,
) -> Response {
    let Some(listener) = sources.events.listen() else {
        let why = format!("{MOST_LISTENERS} listen to events already, which is all that can; end one of them");
        return refused(StatusCode::SERVICE_UNAVAILABLE, why);
    };
    let form = match accepts(&headers, EVENT_STREAM) {
        true => Form::Events,
        false => Form::Lines,
    };
    let mut quiet = interval_at(Instant::now() + ALIVE, ALIVE);
    quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    lasting.is_read();
    let body = Body::from_stream(Answer { listener, form, quiet, lasting });
    let headers = [(header::CONTENT_TYPE, form.content_type()), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

/// An answer without an end. It is asked for more only while the client reads.
struct Answer {
    listener: Listener,
    form: Form,
    quiet: Interval,
    lasting: Lasting,
}

impl Stream for Answer {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lasting.is_read();
        if let Poll::Ready(heard) = self.listener.poll_next_unpin(context) {
            self.quiet.reset();
            return Poll::Ready(heard.map(|heard| Ok(self.form.line(heard))));
        }
        self.quiet.poll_tick(context).map(|_| Some(Ok(self.form.alive())))
    }
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Lines,
    Events,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => JSON_LINES,
            Self::Events => EVENT_STREAM,
        }
    }

    fn line(self, heard: Heard) -> Bytes {
        let line: Arc<str> = match heard {
            Heard::Line(line) => line,
            Heard::Missed(count) => {
                let time = timestamp(SystemTime::now());
                // An event has nothing that JSON could not say.
                serde_json::to_string(&Event::lost(time, "slow_listener", count)).unwrap_or_default().into()
            }
        };
        match self {
            Self::Lines => format!("{line}\n").into(),
            Self::Events => format!("data: {line}\n\n").into(),
        }
    }

    fn alive(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Lines => b"\n",
            Self::Events => b":\n\n",
        })
    }
}
