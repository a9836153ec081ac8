//! `/flows`: what pods of this node are asked while somebody records.

use std::time::Duration;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::time::sleep;

use super::{
    answer::refused,
    routes::{Page, Sources},
};

pub(super) const FLOWS: Page = (
    "/flows",
    "?recording=NUMBER&wait=SECONDS: the flows to pods of this node since the last time, JSON; heddle record asks for them",
);

/// A client that waits longer asks again.
const LONGEST_WAIT: u64 = 30;

pub(super) async fn flows(State(sources): State<Sources>, RawQuery(query): RawQuery) -> Response {
    let Some((id, wait)) = query.as_deref().and_then(asked) else {
        let bad =
            "write /flows?recording=NUMBER&wait=SECONDS, with one number for one recording and at most 30 seconds";
        return refused(StatusCode::BAD_REQUEST, bad);
    };
    if !sources.observer.record_flows(id) {
        let no = "there are as many recordings as may be; one that nobody asks for ends after a minute";
        return refused(StatusCode::SERVICE_UNAVAILABLE, no);
    }
    sleep(wait).await;
    Json(sources.observer.take_flows(id)).into_response()
}

fn asked(query: &str) -> Option<(u64, Duration)> {
    let (id, wait) = query.strip_prefix("recording=")?.split_once("&wait=")?;
    let wait = wait.parse().ok().filter(|wait| *wait <= LONGEST_WAIT)?;
    Some((id.parse().ok()?, Duration::from_secs(wait)))
}
