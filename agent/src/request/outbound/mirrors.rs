//! Copies of requests: sent beside the request, once its body is known, and their answers thrown away.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::Request;
use http_body_util::BodyExt;
use tokio::{sync::Semaphore, time::timeout};

use super::{Asked, Outbound, backend::Backend, forward::Forwarding, plan::Plan};
use crate::{
    balance::Wanted,
    connect::http::{HttpPool, OpenWay, PoolError, PoolKey, RequestBody, Terms},
    observe::MirrorResult,
    route::{Route, http::Mirror},
    shares,
};

/// Copies under way on this node: more are dropped, since a mirror that is slow must not take the memory of what counts.
const MOST: usize = 256;
/// How long a copy may take in all.
const PATIENCE: Duration = Duration::from_secs(15);

static PLACES: Semaphore = Semaphore::const_new(MOST);

/// The copies of one request.
pub(super) struct Copies<'a> {
    at: &'a Arc<Outbound>,
    copies: Vec<Copy>,
}

/// One of them, as its endpoint gets it.
struct Copy {
    head: http::request::Parts,
    key: PoolKey,
    terms: Terms,
    open: BoxFuture<'static, Result<OpenWay, PoolError>>,
}

impl<'a> Copies<'a> {
    /// Makes the heads, of the request as the client sent it.
    pub(super) fn prepare(forwarding: &Forwarding<'a>, asked: &Asked, plan: &Plan<'_>) -> Self {
        let metrics = forwarding.at.thread.node.observer.metrics();
        let copy = |mirror: &Mirror<'_>| {
            // The lease ends here: a copy does not count for anything.
            let picked = mirror.port.as_ref().ok().and_then(|port| {
                let mut to = Backend::new(Route::Service(Arc::clone(port)));
                to.look_up(&forwarding.at.thread.node, forwarding.snapshot, &forwarding.source.namespace);
                let wanted = Wanted { settings: to.settings.as_deref(), ..Wanted::default() };
                let (candidate, _) = forwarding.chooser().one_of(port, &wanted).ok()?;
                Some((port, to, candidate))
            });
            let Some((port, to, candidate)) = picked else {
                metrics.mirrored(MirrorResult::Failed);
                return None;
            };
            let version = asked.version_for(Some(port));
            let mut asked = asked.clone();
            asked.prepare(&mirror.request, mirror.request.target().or(plan.target.as_deref()), version);
            let (key, terms) = (forwarding.key(&candidate, version), forwarding.terms(&to));
            Some(Copy { head: asked.parts, key, terms, open: forwarding.open(candidate, &to).boxed() })
        };
        Self { at: forwarding.at, copies: plan.mirrors.iter().filter_map(copy).collect() }
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
            shares::spawn(async move {
                let metrics = thread.node.observer.metrics();
                let Ok(_place) = PLACES.try_acquire() else { return metrics.mirrored(MirrorResult::Dropped) };
                let sent = timeout(PATIENCE, copy.sent(&thread.http, body)).await;
                metrics.mirrored(if sent == Ok(true) { MirrorResult::Sent } else { MirrorResult::Failed });
            });
        }
    }
}

impl Copy {
    /// Whether it was answered, to the end.
    async fn sent(self, pool: &Arc<HttpPool>, body: Bytes) -> bool {
        let Ok(mut lease) = pool.get(&self.key, self.terms, || self.open).await else { return false };
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
