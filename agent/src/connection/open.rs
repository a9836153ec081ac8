//! Opening the way of a connection that is carried as bytes: to what it dialled, then to the fallback of that, where it has one.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{ABSENT_AGENT, LOOK_AGAIN, Outbound, bypass};
use crate::{
    balance::{
        Answered, Chooser, Lease, TryResult, Wanted,
        breaker::{Overflow, PoolSettings, Underway},
    },
    connect::{Opened, Opener, tunnel::ConnectHeaders},
    failure::Failed,
    mesh::{ServicePort, Snapshot},
    observe::{ConnectionRecord, FallbackReason, OverflowLimit},
    route::{self, Route, backend::Resolved, streams},
};

/// An open way, and what counts the connection for as long as it is there.
pub(super) struct Ready {
    pub(super) opened: Opened,
    pub(super) lease: Option<Lease>,
    pub(super) underway: Option<Underway>,
    /// Why it leads to a fallback, if it does.
    pub(super) fallback: Option<FallbackReason>,
}

/// A way that could not be opened, and who takes over from the Service port that it was to lead to.
struct Unopened {
    failed: Failed,
    fallback: Option<Arc<ServicePort>>,
}

/// Where a way is to lead.
enum Goal<'a> {
    /// To what was dialled.
    Dialled(FirstWords<'a>),
    /// To the fallback of that.
    Fallback(Arc<ServicePort>, FallbackReason),
}

/// What the client says first, as far as it is of use to who opens the way.
#[derive(Clone, Copy, Default)]
pub(super) struct FirstWords<'a> {
    /// The server name that it asks for.
    pub(super) server_name: Option<&'a str>,
    /// Where its bytes are, or will be.
    pub(super) socket: Option<&'a TcpStream>,
}

/// Where it leads by a snapshot.
struct Destined {
    route: Route,
    fallback: Option<Arc<ServicePort>>,
    /// Why the route is to a fallback, if it is.
    reason: Option<FallbackReason>,
}

impl Outbound {
    /// Opens the way. Where nobody could be reached, nothing of the client was passed on by anybody: the fallback takes over.
    pub(super) async fn open(&self, record: &mut ConnectionRecord, words: FirstWords<'_>) -> Result<Ready, Failed> {
        let Unopened { failed, fallback } = match self.patiently(record, &Goal::Dialled(words)).await {
            Ok(ready) => return Ok(ready),
            Err(unopened) => unopened,
        };
        let (Some(port), Some(reason)) = (fallback, failed.fallback_reason()) else { return Err(failed) };
        self.patiently(record, &Goal::Fallback(port, reason)).await.map_err(|unopened| unopened.failed)
    }

    /// Opens the way, again and again for a while if no agent answers there: it is just being started anew, or the pod
    /// is being released and its peers do not know yet.
    async fn patiently(&self, record: &mut ConnectionRecord, goal: &Goal<'_>) -> Result<Ready, Unopened> {
        let give_up = Instant::now() + ABSENT_AGENT;
        let mut snapshot = Arc::clone(&self.snapshot);
        loop {
            let Destined { route, fallback, reason } = self.destined(&snapshot, record, goal)?;
            // What was sent to one must not be sent to another.
            let socket = goal.socket().filter(|_| fallback.is_none());
            match self.open_to(&snapshot, record, (&route, fallback.is_some()), socket).await {
                Err(Failed::Connect(error)) if error.is_absent_agent() && Instant::now() < give_up => {
                    sleep(LOOK_AGAIN).await;
                    snapshot = self.thread.node.snapshot.load();
                }
                Ok(ready) => return Ok(Ready { fallback: reason, ..ready }),
                Err(failed) => return Err(Unopened { failed, fallback }),
            }
        }
    }

    fn destined(
        &self,
        snapshot: &Snapshot,
        record: &mut ConnectionRecord,
        goal: &Goal<'_>,
    ) -> Result<Destined, Failed> {
        let server_name = match goal {
            Goal::Dialled(words) => words.server_name,
            Goal::Fallback(port, reason) => {
                record.set_service(port.service.clone());
                let route = Route::Service(Arc::clone(port));
                return Ok(Destined { route, fallback: None, reason: Some(*reason) });
            }
        };
        let route = route::route(snapshot, self.original_dst)?;
        if let Some(service) = route.service() {
            record.set_service(service.clone());
        }
        let Route::Service(dialled) = &route else { return Ok(Destined { route, fallback: None, reason: None }) };
        let table = snapshot.routes().table(&dialled.service, dialled.port, &self.source.namespace);
        let backend = streams::backend(snapshot, dialled, table.map(AsRef::as_ref), server_name)?;
        let Resolved { port, is_fallback, fallback } = backend.unwrap_or_else(|| Resolved::of(snapshot, dialled));
        if is_fallback {
            record.set_service(port.service.clone());
        }
        let reason = is_fallback.then_some(FallbackReason::NoEndpoint);
        Ok(Destined { route: Route::Service(port), fallback, reason })
    }

    async fn open_to(
        &self,
        snapshot: &Snapshot,
        record: &mut ConnectionRecord,
        (route, has_fallback): (&Route, bool),
        client: Option<&TcpStream>,
    ) -> Result<Ready, Failed> {
        let node = &self.thread.node;
        let settings = match route {
            Route::Service(port) => snapshot.destination_settings(&port.service, port.port, &self.source.namespace),
            Route::Workload(..) | Route::External(..) => None,
        };
        let settings = settings.map(AsRef::as_ref);
        let chooser = Chooser { balancer: &node.balancer, snapshot, source: &self.source, client: self.client.ip() };
        let wanted = Wanted { settings, has_fallback, ..Wanted::default() };
        let (candidates, lease) = chooser.candidates(route, &wanted)?;
        record.set_server(candidates.first.party(None));
        let headers = self.headers(route);
        let pool = PoolSettings::of(settings);
        let underway = self.underway(route, pool)?;
        let (tunnels, pod, source) = (&self.thread.tunnels, &self.pod, &self.source);
        let opener = Opener { node, tunnels, pod, source, headers: &headers, client };
        let after = pool.own_connect_timeout().unwrap_or(node.limits.connect_timeout);
        let opened = opener.open(candidates, after).await.inspect_err(|_| told(lease.as_ref(), after))?;
        record.set_server(opened.candidate.party(opened.peer.clone()));
        record.set_transport(opened.transport);
        record.set_tries(opened.tries);
        if let Some(reason) = bypass(&opened.candidate.way) {
            node.observer.metrics().bypassed(reason, 1);
        }
        Ok(Ready { opened, lease, underway, fallback: None })
    }

    /// Counts the connection among those to its destination.
    fn underway(&self, route: &Route, pool: PoolSettings<'_>) -> Result<Option<Underway>, Overflow> {
        let Route::Service(port) = route else { return Ok(None) };
        let node = &self.thread.node;
        node.begin(&node.breakers.of(&port.service, port.port), OverflowLimit::Connections, pool).map(Some)
    }

    fn headers(&self, route: &Route) -> ConnectHeaders {
        let host = match route.service() {
            Some(service) => service.host(),
            None => self.original_dst.ip().to_string(),
        };
        ConnectHeaders::new(&self.thread.node.cluster, &self.source, self.client, &host)
    }
}

impl<'a> Goal<'a> {
    fn socket(&self) -> Option<&'a TcpStream> {
        match self {
            Self::Dialled(words) => words.socket,
            Self::Fallback(..) => None,
        }
    }
}

impl From<Failed> for Unopened {
    fn from(failed: Failed) -> Self {
        Self { failed, fallback: None }
    }
}

impl Failed {
    /// Why a fallback takes over from what failed so; `None` where it does not.
    fn fallback_reason(&self) -> Option<FallbackReason> {
        match self {
            Self::Balance(_) => Some(FallbackReason::NoEndpoint),
            Self::Overflow(_) => Some(FallbackReason::Overflow),
            // A policy that refuses the client has decided: that is no failure to get around.
            Self::Connect(error) => (!error.is_denied()).then_some(FallbackReason::NotReached),
            Self::Overloaded(_)
            | Self::Authorize(_)
            | Self::Withdrawn(_)
            | Self::Request(_)
            | Self::Route(_)
            | Self::Streams(_)
            | Self::Application(_)
            | Self::Relay(_) => None,
        }
    }
}

/// Tells an endpoint's health that it could not be reached.
fn told(lease: Option<&Lease>, after: Duration) {
    if let Some(lease) = lease {
        lease.responded(Answered { latency: after, result: TryResult::ConnectFailed });
    }
}
