//! Copies of requests: sent beside the request, once its body is known, and their answers thrown away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::{
    Asked, Outbound,
    tries::{Forwarding, version},
};
use crate::{
    balance::{self, Ask, Candidate},
    connect::http::{HttpPool, OpenWay, PoolError, PoolKey, RequestBody},
    observe::MirrorResult,
    route::http::Mirror,
};

/// Copies under way on this node: more are dropped, since a mirror that is slow must not take the memory of what counts.
const MOST: usize = 256;
/// How long a copy may take in all.
const PATIENCE: Duration = Duration::from_secs(15);

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// The copies of one request.
pub(super) struct Copies<'a> {
    at: &'a Arc<Outbound>,
    copies: Vec<Copy>,
}

/// One of them, as its endpoint gets it.
struct Copy {
    head: http::request::Parts,
    key: PoolKey,
    open: Box<dyn FnOnce() -> Opening + Send>,
}

type Opening = std::pin::Pin<Box<dyn Future<Output = Result<OpenWay, PoolError>> + Send>>;

impl<'a> Copies<'a> {
    /// Makes the heads, of the request as the client sent it.
    pub(super) fn prepare(forwarding: &Forwarding<'a>, asked: &Asked, mirrors: &[Mirror<'_>], target: &str) -> Self {
        let metrics = forwarding.at.thread.node.observer.metrics();
        let copy = |mirror: &Mirror<'_>| {
            let candidate = mirror.port.as_ref().ok().and_then(|port| endpoint(forwarding, port));
            let Some(candidate) = candidate else {
                metrics.mirrored(MirrorResult::Failed);
                return None;
            };
            let (mut asked, version) = (asked.clone(), version(asked));
            asked.prepare(&mirror.request, mirror.request.target().unwrap_or(target), version);
            let (key, open) = (forwarding.key(&candidate, version), forwarding.open(candidate));
            Some(Copy { head: asked.parts, key, open: Box::new(move || Box::pin(open) as Opening) })
        };
        Self { at: forwarding.at, copies: mirrors.iter().filter_map(copy).collect() }
    }

    /// Sends them, where the whole body is known.
    pub(super) fn send(self, body: impl FnOnce() -> Option<Bytes>) {
        if self.copies.is_empty() {
            return;
        }
        let Some(body) = body() else {
            let metrics = self.at.thread.node.observer.metrics();
            return self.copies.iter().for_each(|_| metrics.mirrored(MirrorResult::Dropped));
        };
        for copy in self.copies {
            let (thread, body) = (Arc::clone(&self.at.thread), body.clone());
            tokio::spawn(async move {
                let metrics = thread.node.observer.metrics();
                let Some(_place) = Place::take() else { return metrics.mirrored(MirrorResult::Dropped) };
                let sent = timeout(PATIENCE, copy.sent(&thread.http, body)).await;
                metrics.mirrored(if sent == Ok(true) { MirrorResult::Sent } else { MirrorResult::Failed });
            });
        }
    }
}

fn endpoint(forwarding: &Forwarding<'_>, port: &Arc<crate::mesh::ServicePort>) -> Option<Candidate> {
    let ask = Ask {
        port,
        load_balancer: None,
        outliers: None,
        hash: None,
        client: forwarding.at.client.ip(),
        sticky: None,
        excluded: &[],
        now: Instant::now(),
    };
    // The lease ends here: a copy does not count for anything.
    let address = forwarding.at.thread.node.balancer.pick(&ask).ok()?.address();
    let workload = forwarding.snapshot.workload(address.ip()).cloned();
    Some(balance::candidate(forwarding.snapshot, address, workload, forwarding.source))
}

impl Copy {
    /// Whether it was answered, to the end.
    async fn sent(self, pool: &Arc<HttpPool>, body: Bytes) -> bool {
        let Ok(mut lease) = pool.get(&self.key, self.open).await else { return false };
        let Ok(response) = lease.send(Request::from_parts(self.head, RequestBody::copy(body))).await else {
            return false;
        };
        let mut answer = response.into_body();
        while let Some(frame) = answer.frame().await {
            if frame.is_err() {
                return false;
            }
        }
        lease.give_back();
        true
    }
}

/// A copy's place among those under way.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        if UNDER_WAY.fetch_add(1, Relaxed) < MOST {
            return Some(Self);
        }
        UNDER_WAY.fetch_sub(1, Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Relaxed);
    }
}
