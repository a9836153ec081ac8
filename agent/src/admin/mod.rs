//! The per-node endpoints: metrics, health, and the admin address and socket.
//!
//! In: plain addresses and the [`Sources`] of the answers. Out: answers over HTTP/1.1, within bounds that no client can move.
//! Only reading: no endpoint changes anything but how talkative the logs are, and that only over the socket; what is begun by
//! asking (a recording, a profile, events) ends by itself. Admin is for the node's own administrators: loopback, or a socket of
//! mode 0600.

mod answer;
pub mod events;
mod explain;
mod flows;
pub(crate) mod host;
mod lasting;
mod listener;
pub mod logging;
mod page;
mod plain;
mod profile;
pub(crate) mod query;
mod readiness;
mod routes;
mod server;
mod simulate;
pub mod status;
mod streams;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use axum::{Router, middleware};
use tokio::{sync::watch, task::JoinSet};

pub use explain::{ExplainError, Questions};
pub use plain::{MetricsText, PlainEndpoints, serve_plain};
pub use readiness::{Missing, Readiness, ReadinessReport};
pub use routes::{ConfigView, Sources, StatusView};
pub use simulate::SimulateError;

use crate::{
    handover::{Endpoint, EndpointSockets},
    observe::OwnListener,
};
use listener::SocketFile;
use server::{BOUNDS, Bounds, Listener};

/// Where the endpoints listen.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// `/metrics`.
    pub metrics: SocketAddr,
    /// `/healthz/*`.
    pub health: SocketAddr,
    /// The admin address, loopback only.
    pub admin: Option<SocketAddr>,
    /// The admin unix socket.
    pub socket: Option<PathBuf>,
}

/// Why the endpoints could not be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// An address could not be bound.
    #[error("binding {purpose} to {address} failed: {source}; {remedy}")]
    Bind {
        /// What the address is for.
        purpose: &'static str,
        /// The address or path.
        address: String,
        /// What to do.
        remedy: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The admin address can be reached from outside.
    #[error("the admin address {0} is not a loopback address; set admin.address to 127.0.0.1:PORT or [::1]:PORT")]
    NotLoopback(SocketAddr),
    /// Another process serves the admin socket.
    #[error("the admin socket {path} is served by another process; stop that agent, or set admin.socket")]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is where the admin socket should be.
    #[error("{path} exists and is not a socket; remove it, or set admin.socket")]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
}

/// The endpoints while they are served.
#[derive(Debug)]
pub struct Endpoints {
    addresses: Addresses,
    tasks: JoinSet<()>,
    socket: Option<SocketFile>,
    /// The same listeners again, to be handed over.
    listeners: EndpointSockets,
}

impl Endpoints {
    /// Where they listen, with the ports that the kernel chose for port 0.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Waits until they ended after the stop signal, and removes the socket. Dropping this ends them at once.
    pub async fn stopped(mut self) {
        self.listeners.clear();
        while self.tasks.join_next().await.is_some() {}
        drop(self.socket);
    }

    /// The listeners, for the next agent.
    pub fn hand_over(&self) -> io::Result<EndpointSockets> {
        self.listeners.iter().map(|(endpoint, socket)| Ok((*endpoint, socket.try_clone()?))).collect()
    }

    /// The same as [`Endpoints::stopped`], when the next agent has the listeners: the socket's file stays.
    pub async fn left(mut self) {
        if let Some(socket) = self.socket.take() {
            socket.leave();
        }
        self.stopped().await;
    }
}

/// Binds every address that was not inherited, then serves in the background until `stop` is true or its sender gone. Call it
/// on the control runtime.
pub async fn serve(
    addresses: Addresses,
    inherited: EndpointSockets,
    sources: Sources,
    stop: watch::Receiver<bool>,
) -> Result<Endpoints, AdminError> {
    serve_within(BOUNDS, addresses, inherited, &sources, &stop).await
}

async fn serve_within(
    bounds: Bounds,
    mut addresses: Addresses,
    mut inherited: EndpointSockets,
    sources: &Sources,
    stop: &watch::Receiver<bool>,
) -> Result<Endpoints, AdminError> {
    let mut earlier = |endpoint| inherited.remove(&endpoint);
    let metrics = earlier(Endpoint::Metrics);
    let metrics = listener::tcp(metrics, addresses.metrics, "the metrics address", "metrics.address").await?;
    let health = earlier(Endpoint::Health);
    let health = listener::tcp(health, addresses.health, "the health address", "health.address").await?;
    let admin = match addresses.admin {
        Some(address) => Some(bind_admin(earlier(Endpoint::Admin), address).await?),
        None => None,
    };
    let unix = addresses.socket.as_deref().map(|path| listener::unix(earlier(Endpoint::AdminSocket), path));
    let (unix, socket) = unix.transpose()?.unzip();

    addresses.metrics = local_address(&metrics, addresses.metrics);
    addresses.health = local_address(&health, addresses.health);
    addresses.admin = admin.as_ref().zip(addresses.admin).map(|(listener, asked)| local_address(listener, asked));

    let (mut tasks, mut listeners) = (JoinSet::new(), EndpointSockets::new());
    let mut start = |endpoint, listener: Listener, routes, label| {
        // Without descriptors for a second one, the next agent binds the address itself, later.
        listeners.extend(listener.as_fd().try_clone_to_owned().ok().map(|again| (endpoint, again)));
        let observer = sources.observer.clone();
        let connected = Box::new(move || observer.metrics().own_listener_connected(label));
        tasks.spawn(server::run(listener, routes, bounds, connected, stop.clone()));
    };
    start(Endpoint::Metrics, Listener::Tcp(metrics), routes::metrics(sources), OwnListener::Metrics);
    start(Endpoint::Health, Listener::Tcp(health), routes::health(sources), OwnListener::Health);
    if let Some(admin) = admin {
        start(Endpoint::Admin, Listener::Tcp(admin), guarded(routes::admin(sources)), OwnListener::Admin);
    }
    if let Some(unix) = unix {
        start(Endpoint::AdminSocket, Listener::Unix(unix), routes::socket(sources), OwnListener::Socket);
    }
    Ok(Endpoints { addresses, tasks, socket, listeners })
}

async fn bind_admin(inherited: Option<OwnedFd>, address: SocketAddr) -> Result<tokio::net::TcpListener, AdminError> {
    if !address.ip().is_loopback() {
        return Err(AdminError::NotLoopback(address));
    }
    listener::tcp(inherited, address, "the admin address", "admin.address").await
}

fn guarded(routes: Router) -> Router {
    routes.layer(middleware::from_fn(host::require_local))
}

fn local_address(listener: &tokio::net::TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
