//! `/tap` and `/traffic`: what happens on this node, as server-sent events, for as long as the client listens.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
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

use super::{answer::refused, events::ALIVE, lasting::Lasting, query, routes::Sources};
use crate::observe::{TapEvent, TapFilter};

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
        Err(bad) => return refused(StatusCode::BAD_REQUEST, bad),
    };
    let watch = match sources.observer.tap(filter) {
        Ok(watch) => watch,
        Err(full) => return refused(StatusCode::SERVICE_UNAVAILABLE, full),
    };
    events(
        lasting,
        stream::unfold(watch, async |mut watch| {
            let event = match watch.next().await? {
                TapEvent::Line(line) => Event::default().event("ended").data(String::from_utf8_lossy(&line)),
                TapEvent::Lost(count) => lost(count),
            };
            Some((Ok(event), watch))
        }),
    )
}

/// What is open, at once, and the sums of each second: event `second`; `lost` as above.
pub(super) async fn traffic(State(sources): State<Sources>, Extension(lasting): Extension<Lasting>) -> Response {
    let watch = match sources.observer.watch_flows() {
        Ok(watch) => watch,
        Err(full) => return refused(StatusCode::SERVICE_UNAVAILABLE, full),
    };
    events(
        lasting,
        stream::unfold((watch, None), async |(mut watch, kept)| {
            // A second that comes after a loss is told after it.
            if let Some(second) = kept {
                return Some((Ok(second), (watch, None)));
            }
            let (second, missed) = watch.next().await?;
            let second = Event::default().event("second").data(second);
            Some(match missed {
                0 => (Ok(second), (watch, None)),
                missed => (Ok(lost(missed)), (watch, Some(second))),
            })
        }),
    )
}

fn events(lasting: Lasting, events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let events = Read { events: Box::pin(events), lasting };
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

/// Notes whenever the client takes more: it is asked for no more while the client does not read.
struct Read<S> {
    events: Pin<Box<S>>,
    lasting: Lasting,
}

impl<S: Stream> Stream for Read<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.lasting.is_read();
        self.events.as_mut().poll_next(context)
    }
}

fn lost(count: u64) -> Event {
    Event::default().event("lost").data(count.to_string())
}
