//! `/tap` and `/traffic`: what happens on this node, as server-sent events, for as long as the client listens.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Extension,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, stream};

use super::{query, routes::Sources};
use crate::observe::{TapEvent, TapFilter};

/// After so long without an event the client gets a comment: a client that is gone is found out by it.
const QUIET: Duration = Duration::from_secs(15);

/// Of a connection: it is to last as long as its client reads. Those who watch are bounded where they enter.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasting(Arc<AtomicBool>);

impl Lasting {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Relaxed);
    }
}

/// Each request and connection that ends and passes the query's filter: event `ended`, with the access log's line as JSON;
/// `lost`, with the number of those that the client was too slow for.
pub(super) async fn tap(
    State(sources): State<Sources>,
    Extension(lasting): Extension<Lasting>,
    RawQuery(query): RawQuery,
) -> Response {
    let pairs = query::pairs(query.as_deref().unwrap_or_default());
    let filter = match TapFilter::parse(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))) {
        Ok(filter) => filter,
        Err(bad) => return refused(StatusCode::BAD_REQUEST, &bad),
    };
    let watch = match sources.observer.tap(filter) {
        Ok(watch) => watch,
        Err(full) => return refused(StatusCode::SERVICE_UNAVAILABLE, &full),
    };
    lasting.set();
    events(stream::unfold(watch, async |mut watch| {
        let event = match watch.next().await? {
            TapEvent::Line(line) => Event::default().event("ended").data(String::from_utf8_lossy(&line)),
            TapEvent::Lost(count) => lost(count),
        };
        Some((Ok(event), watch))
    }))
}

/// The sums of each second: event `second`; `lost` as above.
pub(super) async fn traffic(State(sources): State<Sources>, Extension(lasting): Extension<Lasting>) -> Response {
    let watch = match sources.observer.watch_flows() {
        Ok(watch) => watch,
        Err(full) => return refused(StatusCode::SERVICE_UNAVAILABLE, &full),
    };
    lasting.set();
    events(stream::unfold((watch, None), async |(mut watch, kept)| {
        // A second that comes after a loss is told after it.
        if let Some(second) = kept {
            return Some((Ok(second), (watch, None)));
        }
        let (second, missed) = watch.next().await?;
        let text = serde_json::to_string(&*second).unwrap_or_default();
        let second = Event::default().event("second").data(text);
        Some(match missed {
            0 => (Ok(second), (watch, None)),
            missed => (Ok(lost(missed)), (watch, Some(second))),
        })
    }))
}

fn events(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::new().interval(QUIET)).into_response()
}

fn lost(count: u64) -> Event {
    Event::default().event("lost").data(count.to_string())
}

fn refused(status: StatusCode, error: &dyn std::error::Error) -> Response {
    (status, format!("{error}\n")).into_response()
}
