//! What each endpoint answers. Only reads, so only GET and HEAD, but for `/logging`, and for `/simulate`, which reads what it
//! is asked; nothing here carries a secret, by the types it is given.

use std::{convert::Infallible, fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

use super::{
    Readiness,
    answer::{accepts, refused},
    events::events,
    explain::{self, CONNECTIONS, EXPLAIN, Questions},
    flows::{FLOWS, flows},
    logging, page, profile,
    simulate::{LONGEST_PROPOSAL, SIMULATE, simulate},
    status::Status,
    streams,
};
use crate::observe::{EventFeed, LogControl, Observer, TEXT_FORMAT};

/// Between two pieces of a scrape: 10,000 series take a tenth of a second, and the most that there can be two or three. Prometheus
/// gives up after ten.
const BREATH: Duration = Duration::from_millis(1);

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
    /// Where the level of the process log is changed.
    pub log: LogControl,
    /// The lines of `/events`.
    pub events: EventFeed,
    /// The answers of `/explain`, `/connections` and `/simulate`. Asked on the control runtime, but for the last.
    pub questions: Arc<dyn Questions>,
}

pub(super) type Page = (&'static str, &'static str);

pub(super) const METRICS: Page = ("/metrics", "metrics, Prometheus text format");
pub(super) const READY: Page = ("/healthz/ready", "200 when ready for traffic, else 503 and what is missing");
pub(super) const LIVE: Page = ("/healthz/live", "200 while this process answers at all");
const CONFIG: Page = ("/config", "the agent's configuration and the mesh snapshot in force, JSON");
const TAP: Page =
    ("/tap", "requests and connections as they end, server-sent events; filters as in ?source=shop/web&status=5xx");
const TRAFFIC: Page =
    ("/traffic", "who speaks with whom, what is open and what ended, summed up each second, server-sent events");
const CPU: Page = ("/debug/pprof/profile", "CPU profile of the next seconds (?seconds=10), for pprof");
const HEAP: Page = ("/debug/pprof/heap", "heap profile of the next seconds (?seconds=10), for pprof");
const LOGGING: Page = (
    "/logging",
    "levels of the logs, JSON; on the socket PUT {\"level\": \"debug\"} or {\"access\": false} changes them",
);
const EVENTS: Page =
    ("/events", "events of connections as the kernel sees them, JSON lines or server-sent events, without end");
const STATUS: Page = ("/status", "readiness, pods, certificates, documents and problems, JSON");

/// The metrics listener: `/metrics` and nothing else.
pub(super) fn metrics(sources: &Sources) -> Router {
    Router::new().route(METRICS.0, get(scrape)).fallback(|| not_found(&[METRICS])).with_state(sources.clone())
}

/// The health listener: the two probes and nothing else.
pub(super) fn health(sources: &Sources) -> Router {
    Router::new()
        .route(READY.0, get(ready))
        .route(LIVE.0, get(live))
        .fallback(|| not_found(&[READY, LIVE]))
        .with_state(sources.clone())
}

/// The admin address: everything, for reading. Whatever runs in the node's network namespace can reach it.
pub(super) fn admin(sources: &Sources) -> Router {
    administration(get(logging::show)).with_state(sources.clone())
}

/// The admin socket: everything, for its owner.
pub(super) fn socket(sources: &Sources) -> Router {
    let simulate = post(simulate).layer(DefaultBodyLimit::max(LONGEST_PROPOSAL));
    administration(get(logging::show).put(logging::change)).route(SIMULATE.0, simulate).with_state(sources.clone())
}

fn administration(logging: MethodRouter<Sources>) -> Router<Sources> {
    page::parts(Router::new())
        .route("/", get(front))
        .route(STATUS.0, get(status))
        .route(CONFIG.0, get(config))
        .route(EXPLAIN.0, get(explain::explain))
        .route(CONNECTIONS.0, get(explain::connections))
        .route(TAP.0, get(streams::tap))
        .route(TRAFFIC.0, get(streams::traffic))
        .route(EVENTS.0, get(events))
        .route(FLOWS.0, get(flows))
        .route(LOGGING.0, logging)
        .route(CPU.0, get(profile::cpu))
        .route(HEAP.0, get(profile::heap))
        .route(METRICS.0, get(scrape))
        .route(READY.0, get(ready))
        .route(LIVE.0, get(live))
        .fallback(|| not_found(&ADMIN_PAGES))
}

const ADMIN_PAGES: [Page; 15] = [
    STATUS,
    CONFIG,
    EXPLAIN,
    CONNECTIONS,
    TAP,
    TRAFFIC,
    EVENTS,
    FLOWS,
    SIMULATE,
    LOGGING,
    CPU,
    HEAP,
    METRICS,
    READY,
    LIVE,
];

/// The page for browsers; for others the list of endpoints.
async fn front(headers: HeaderMap) -> Response {
    if page::wanted_by(&headers) { page::index() } else { index(&ADMIN_PAGES).into_response() }
}

/// In pieces, so that what else this thread does waits for one of them and not for all; and with a breath between them, so that
/// data threads that share the CPU wait for one of them at most, and whoever scrapes from this machine is as gentle.
async fn scrape(State(sources): State<Sources>) -> Response {
    let pieces = match sources.observer.scrape() {
        Ok(pieces) => pieces,
        Err(error) => return refused(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    let pieces = stream::iter(pieces).then(async |piece| {
        sleep(BREATH).await;
        Ok::<_, Infallible>(piece)
    });
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], Body::from_stream(pieces)).into_response()
}

async fn ready(State(sources): State<Sources>, headers: HeaderMap) -> Response {
    ready_answer(&sources.readiness, &headers)
}

/// 200 or 503, as text or as JSON.
pub(super) fn ready_answer(readiness: &Readiness, headers: &HeaderMap) -> Response {
    let report = readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let wants_json = accepts(headers, "application/json");
    if wants_json { (status, Json(report)).into_response() } else { (status, report.to_string()).into_response() }
}

pub(super) async fn live() -> &'static str {
    "ok\n"
}

async fn config(State(sources): State<Sources>) -> Response {
    Json((sources.config)()).into_response()
}

async fn status(State(sources): State<Sources>) -> Response {
    let status = (sources.status)();
    let mut view = serde_json::json!(status);
    // What `heddle status` says last, for those who cannot work it out.
    view["concerns"] = status.concerns().into();
    Json(view).into_response()
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
