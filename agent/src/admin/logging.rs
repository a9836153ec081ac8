//! `/logging`: the levels of the logs, which can be changed here while the agent runs. It is all that can be changed here.
//!
//! A page that a browser on the node is lured to must change nothing: PUT and JSON are what such a page cannot send without
//! asking first, and nothing here ever says yes to that; a request that names the page it comes from is refused besides.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{Sources, answer::refused};

/// What the logs have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logging {
    /// Level or directives of the process log that are in force.
    pub level: String,
    /// Those of `log.level`, which are in force again after a restart.
    pub configured: String,
    /// Whether the access log has lines of what no Telemetry document is about.
    pub access: bool,
}

/// What is to change; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Level or directives of the process log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Whether the access log is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<bool>,
}

/// Bytes of a change: directives for every module of the agent fit.
const LONGEST_CHANGE: usize = 4096;

pub(super) async fn show(State(sources): State<Sources>) -> Response {
    Json(logging(&sources)).into_response()
}

pub(super) async fn change(State(sources): State<Sources>, headers: HeaderMap, body: Bytes) -> Response {
    let change = match asked(&headers, &body) {
        Ok(change) => change,
        Err((status, why)) => return refused(status, why),
    };
    // All that can be refused comes before what changes something.
    if change.access.is_some() && !sources.observer.has_access_log() {
        return refused(StatusCode::CONFLICT, "access: this agent has no access log");
    }
    if let Some(level) = &change.level
        && let Err(error) = sources.log.set_level(level)
    {
        return refused(StatusCode::BAD_REQUEST, format!("level: {error}"));
    }
    if let Some(access) = change.access {
        sources.observer.turn_access_log(access);
        tracing::info!(access, "the access log was turned by the admin endpoint");
    }
    Json(logging(&sources)).into_response()
}

/// The change that a request asks for, or why it is none.
fn asked(headers: &HeaderMap, body: &[u8]) -> Result<Change, (StatusCode, String)> {
    if headers.contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "a page in a browser may not change the agent's logs".to_owned()));
    }
    let kind = headers.get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) {
        let why = "the header content-type must be application/json, and the body such as {\"level\": \"debug\"}";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why.to_owned()));
    }
    if body.len() > LONGEST_CHANGE {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, format!("a change has {LONGEST_CHANGE} bytes at most")));
    }
    serde_json::from_slice(body).map_err(|error| {
        let example = r#"{"level": "debug", "access": true}"#;
        (StatusCode::BAD_REQUEST, format!("the body is not understood: {error}; an example is {example}"))
    })
}

fn logging(sources: &Sources) -> Logging {
    Logging {
        level: sources.log.level(),
        configured: sources.log.configured().to_owned(),
        access: sources.observer.access_log_is_on(),
    }
}
