//! Metrics and health of a process that is no agent: the same answers within the same bounds, and no admin endpoints.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{
    AdminError, Readiness,
    answer::refused,
    listener,
    routes::{LIVE, METRICS, READY, live, not_found, ready_answer},
    server::{self, BOUNDS, Listener},
};
use crate::observe::{GaugeGuard, ObserveError, TEXT_FORMAT};

/// Gives all metrics as of now.
pub type MetricsText = Arc<dyn Fn() -> Result<String, ObserveError> + Send + Sync>;

/// The endpoints while they are served; dropping this ends them at once.
#[derive(Debug)]
pub struct PlainEndpoints {
    /// Where metrics are, with the port that the kernel chose for port 0.
    pub metrics: SocketAddr,
    /// Where health is.
    pub health: SocketAddr,
    tasks: JoinSet<()>,
}

impl PlainEndpoints {
    /// Waits until they ended after the stop signal.
    pub async fn stopped(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Binds both addresses, then serves in the background until `stop` is true or its sender gone.
///
/// # Errors
/// An address cannot be bound.
pub async fn serve_plain(
    (metrics_address, health_address): (SocketAddr, SocketAddr),
    text: MetricsText,
    connected: impl Fn() -> GaugeGuard + Clone + Send + Sync + 'static,
    readiness: Readiness,
    stop: watch::Receiver<bool>,
) -> Result<PlainEndpoints, AdminError> {
    let metrics = listener::tcp(None, metrics_address, "the metrics address", "metrics.address").await?;
    let health = listener::tcp(None, health_address, "the health address", "health.address").await?;
    let of_metrics = Router::new()
        .route(METRICS.0, get(|State(text): State<MetricsText>| async move { render(&text) }))
        .fallback(|| not_found(&[METRICS]))
        .with_state(text);
    let of_health = Router::new()
        .route(READY.0, get(ready))
        .route(LIVE.0, get(live))
        .fallback(|| not_found(&[READY, LIVE]))
        .with_state(readiness);
    let local = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
    let (metrics_address, health_address) = (local(&metrics, metrics_address), local(&health, health_address));
    let mut tasks = JoinSet::new();
    tasks.spawn(server::run(Listener::Tcp(metrics), of_metrics, BOUNDS, Box::new(connected.clone()), stop.clone()));
    tasks.spawn(server::run(Listener::Tcp(health), of_health, BOUNDS, Box::new(connected), stop));
    Ok(PlainEndpoints { metrics: metrics_address, health: health_address, tasks })
}

async fn ready(State(readiness): State<Readiness>, headers: HeaderMap) -> Response {
    ready_answer(&readiness, &headers)
}

fn render(text: &MetricsText) -> Response {
    match text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}
