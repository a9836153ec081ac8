//! What each endpoint answers. Only reads, so only GET and HEAD; nothing here carries a secret, by the types it is given.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    Readiness,
    explain::{self, CONNECTIONS, EXPLAIN, Questions},
    flows::{FLOWS, flows},
    status::Status,
};
use crate::observe::{Observer, TEXT_FORMAT};

/// What `/config` shows: the agent's configuration and the snapshot in force.
pub type ConfigView = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What `/status` shows.
pub type StatusView = Arc<dyn Fn() -> Status + Send + Sync>;

/// Where the answers come from.
#[derive(Clone)]
pub struct Sources {
    /// Metrics.
    pub observer: Observer,
    /// Readiness.
    pub readiness: Readiness,
    /// The text of `/config`. Called on the control runtime.
    pub config: ConfigView,
    /// The answer of `/status`. Called on the control runtime.
    pub status: StatusView,
    /// The answers of `/explain` and `/connections`. Asked on the control runtime.
    pub questions: Arc<dyn Questions>,
}

pub(super) type Page = (&'static str, &'static str);

pub(super) const METRICS: Page = ("/metrics", "metrics, Prometheus text format");
pub(super) const READY: Page = ("/healthz/ready", "200 when ready for traffic, else 503 and what is missing");
pub(super) const LIVE: Page = ("/healthz/live", "200 while this process answers at all");
const CONFIG: Page = ("/config", "the agent's configuration and the mesh snapshot in force, JSON");
const STATUS: Page = ("/status", "readiness, pods, certificates, documents and problems, JSON");

/// The metrics listener: `/metrics` and nothing else.
pub(super) fn metrics(sources: &Sources) -> Router {
    Router::new().route(METRICS.0, get(render_metrics)).fallback(|| not_found(&[METRICS])).with_state(sources.clone())
}

/// The health listener: the two probes and nothing else.
pub(super) fn health(sources: &Sources) -> Router {
    Router::new()
        .route(READY.0, get(ready))
        .route(LIVE.0, get(live))
        .fallback(|| not_found(&[READY, LIVE]))
        .with_state(sources.clone())
}

/// The admin listeners: everything.
pub(super) fn admin(sources: &Sources) -> Router {
    Router::new()
        .route("/", get(|| async { index(&ADMIN_PAGES) }))
        .route(STATUS.0, get(status))
        .route(CONFIG.0, get(config))
        .route(EXPLAIN.0, get(explain::explain))
        .route(CONNECTIONS.0, get(explain::connections))
        .route(FLOWS.0, get(flows))
        .route(METRICS.0, get(render_metrics))
        .route(READY.0, get(ready))
        .route(LIVE.0, get(live))
        .fallback(|| not_found(&ADMIN_PAGES))
        .with_state(sources.clone())
}

const ADMIN_PAGES: [Page; 8] = [STATUS, CONFIG, EXPLAIN, CONNECTIONS, FLOWS, METRICS, READY, LIVE];

async fn render_metrics(State(sources): State<Sources>) -> Response {
    match sources.observer.render_metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(sources): State<Sources>, headers: HeaderMap) -> Response {
    ready_answer(&sources.readiness, &headers)
}

/// 200 or 503, as text or as JSON.
pub(super) fn ready_answer(readiness: &Readiness, headers: &HeaderMap) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let accepts_json = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/json")));
    if accepts_json { (status, Json(report)).into_response() } else { (status, report.to_string()).into_response() }
}

pub(super) async fn live() -> &'static str {
    "ok\n"
}

async fn config(State(sources): State<Sources>) -> Response {
    Json((sources.config)()).into_response()
}

async fn status(State(sources): State<Sources>) -> Response {
    Json((sources.status)()).into_response()
}

pub(super) async fn not_found(pages: &'static [Page]) -> Response {
    (StatusCode::NOT_FOUND, format!("no such endpoint; there are\n{}", index(pages))).into_response()
}

fn index(pages: &[Page]) -> String {
    pages.iter().fold(String::new(), |mut text, (path, meaning)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{path}  {meaning}");
        text
    })
}
