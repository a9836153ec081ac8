//! `/flows`: what pods of this node are asked while somebody records.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    answer::refused,
    query,
    routes::{Page, Sources},
};

pub(super) const FLOWS: Page = (
    "/flows",
    "?recording=NUMBER: the flows to pods of this node since the last time, JSON; &end=true for the last, with what is open",
);

/// What is asked of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// What it has since the last time; it begins with the first.
    More(u64),
    /// The same, and that it ends.
    Last(u64),
}

pub(super) async fn flows(State(sources): State<Sources>, RawQuery(query): RawQuery) -> Response {
    let Some(asked) = asked(query.as_deref().unwrap_or_default()) else {
        let bad = "write /flows?recording=NUMBER, with one number for one recording, and &end=true to end it";
        return refused(StatusCode::BAD_REQUEST, bad);
    };
    let (Asked::More(id) | Asked::Last(id)) = asked;
    if !sources.observer.record_flows(id) {
        let no = "there are as many recordings as may be; one that nobody asks for ends after a minute";
        return refused(StatusCode::SERVICE_UNAVAILABLE, no);
    }
    Json(match asked {
        Asked::More(id) => sources.observer.take_flows(id),
        Asked::Last(id) => sources.observer.end_recording(id),
    })
    .into_response()
}

fn asked(query: &str) -> Option<Asked> {
    let (mut recording, mut end) = (None, false);
    for (key, value) in query::pairs(query) {
        match (key.as_str(), value.as_str()) {
            ("recording", id) => recording = Some(id.parse().ok()?),
            ("end", "true") => end = true,
            _ => return None,
        }
    }
    recording.map(if end { Asked::Last } else { Asked::More })
}
