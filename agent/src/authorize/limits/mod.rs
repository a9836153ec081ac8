//! Rate limits (RateLimit documents): each node counts for itself, with one time for each limit and key (GCRA).
//!
//! All limits of a document are looked at before any is charged, under the document's own lock: a request that one limit
//! refuses costs the others nothing. Times of limits that a change of the document keeps are kept; those of documents that
//! go are dropped by [`RateLimiter::retain`].

mod store;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use parking_lot::{Mutex, RwLock};

use self::store::{Key, Store};
use crate::{
    mesh::SpiffeId,
    objects::ObjectName,
    rules::rate_limit::{Limit, LimitPer},
};

/// What was asked for of all documents.
#[derive(Debug, Default)]
pub struct RateLimiter {
    documents: RwLock<HashMap<ObjectName, Arc<Mutex<Document>>>>,
    /// Keyed by chance, so that nobody can choose values that are counted together.
    hashers: [RandomState; 2],
    forgotten: AtomicU64,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum LimitSource<'a> {
    /// A client in the mesh.
    Identity(&'a SpiffeId),
    /// Any other, by its address.
    Address(IpAddr),
}

/// A request that is over a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("RateLimit {}/{} allows {requests} requests in {} s here; try again in {} s", document.namespace, document.name, interval.as_secs_f64(), retry_after.as_secs_f64())]
pub struct Limited {
    /// The document.
    pub document: ObjectName,
    /// Which of its limits, from 0.
    pub limit: usize,
    /// How many requests it allows.
    pub requests: NonZeroU32,
    /// In how long.
    pub interval: Duration,
    /// When the same request would pass, if there were no other.
    pub retry_after: Duration,
}

#[derive(Debug)]
struct Document {
    limits: Vec<Limit>,
    /// The numbers under which the times of `limits` are kept.
    ids: Vec<u64>,
    next_id: u64,
    store: Store,
}

impl RateLimiter {
    /// Charges a request to all limits of a document, or to none.
    pub fn check(
        &self,
        document: &ObjectName,
        limits: &[Limit],
        source: LimitSource<'_>,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<(), Limited> {
        let state = self.document(document);
        let mut state = state.lock();
        state.follow(limits);
        let keys = self.keys(&state, source, headers);
        let next = state.would_pass(document, state.limits.iter().enumerate(), &keys, now)?;
        let forgotten: usize = keys.into_iter().zip(next).map(|(key, full)| state.store.set(key, full)).sum();
        if forgotten > 0 {
            self.forgotten.fetch_add(forgotten as u64, Relaxed);
        }
        Ok(())
    }

    /// Whether a request would pass now, without charging it: for who explains. It is decided as [`check`](Self::check) would,
    /// by these limits, whichever the last request met.
    pub fn look(
        &self,
        document: &ObjectName,
        limits: &[Limit],
        source: LimitSource<'_>,
        headers: &HeaderMap,
        now: Instant,
    ) -> Result<(), Limited> {
        let Some(state) = self.documents.read().get(document).cloned() else { return Ok(()) };
        let state = state.lock();
        // A limit that no request has met has no times yet, and the first request passes it.
        let (met, ids): (Vec<(usize, &Limit)>, Vec<u64>) =
            limits.iter().enumerate().zip(state.known_ids(limits)).filter_map(|(limit, id)| Some((limit, id?))).unzip();
        let of_limit = |((_, limit), id): (&(usize, &Limit), &u64)| self.key(limit, *id, source, headers);
        let keys: Vec<Key> = met.iter().zip(&ids).map(of_limit).collect();
        state.would_pass(document, met, &keys, now).map(drop)
    }

    /// Drops what is known of documents that are gone.
    pub fn retain(&self, there: impl Fn(&ObjectName) -> bool) {
        self.documents.write().retain(|name, _| there(name));
    }

    /// How many clients and header values are counted apart, and how many were forgotten for want of room.
    pub fn size(&self) -> (usize, u64) {
        let documents: Vec<_> = self.documents.read().values().map(Arc::clone).collect();
        (documents.iter().map(|document| document.lock().store.len()).sum(), self.forgotten.load(Relaxed))
    }

    fn document(&self, name: &ObjectName) -> Arc<Mutex<Document>> {
        if let Some(document) = self.documents.read().get(name) {
            return Arc::clone(document);
        }
        Arc::clone(self.documents.write().entry(name.clone()).or_default())
    }

    fn keys(&self, state: &Document, source: LimitSource<'_>, headers: &HeaderMap) -> Vec<Key> {
        let of_limit = |(limit, id): (&Limit, &u64)| self.key(limit, *id, source, headers);
        state.limits.iter().zip(&state.ids).map(of_limit).collect()
    }

    fn key(&self, limit: &Limit, id: u64, source: LimitSource<'_>, headers: &HeaderMap) -> Key {
        (id, self.digest(limit.per.as_ref(), source, headers))
    }

    /// Whose request it is, in a fixed number of bytes however long a header is.
    fn digest(&self, per: Option<&LimitPer>, source: LimitSource<'_>, headers: &HeaderMap) -> u128 {
        match (per, source) {
            (None, _) => 0,
            (Some(LimitPer::Source), LimitSource::Identity(identity)) => self.hash(identity),
            (Some(LimitPer::Source), LimitSource::Address(address)) => self.hash(&address.to_canonical()),
            (Some(LimitPer::Header(name)), _) => {
                let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
                self.hash(&lines)
            }
        }
    }

    fn hash(&self, value: &impl Hash) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| u128::from(hasher.hash_one(value)));
        high << 64 | low
    }
}

impl Limited {
    /// What the answer 429 says: `Retry-After`, and the headers that Envoy's local rate limit sends, in whole seconds.
    pub fn headers(&self) -> [(HeaderName, HeaderValue); 4] {
        let seconds = self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0);
        [
            (RETRY_AFTER, seconds.into()),
            (HeaderName::from_static("x-ratelimit-limit"), self.requests.get().into()),
            (HeaderName::from_static("x-ratelimit-remaining"), 0_u32.into()),
            (HeaderName::from_static("x-ratelimit-reset"), seconds.into()),
        ]
    }
}

impl Default for Document {
    fn default() -> Self {
        Self { limits: Vec::new(), ids: Vec::new(), next_id: 0, store: Store::new(store::MAX_KEYS) }
    }
}

impl Document {
    /// A limit that is there as before keeps its times, wherever it stands in the list.
    fn follow(&mut self, limits: &[Limit]) {
        if self.limits == limits {
            return;
        }
        let known = self.known_ids(limits);
        self.ids = known.into_iter().map(|known| known.unwrap_or_else(|| self.new_id())).collect();
        self.limits = limits.to_vec();
        self.store.retain(|id| self.ids.contains(&id));
    }

    /// The numbers that these limits keep; `None` for new ones.
    fn known_ids(&self, limits: &[Limit]) -> Vec<Option<u64>> {
        let mut before: Vec<(&Limit, u64)> = self.limits.iter().zip(self.ids.iter().copied()).collect();
        let mut known = |limit: &Limit| {
            let place = before.iter().position(|(known, _)| *known == limit)?;
            Some(before.remove(place).1)
        };
        limits.iter().map(&mut known).collect()
    }

    /// The times that limits, with their places in the document, would have with one more request of these keys.
    fn would_pass<'l>(
        &self,
        document: &ObjectName,
        limits: impl IntoIterator<Item = (usize, &'l Limit)>,
        keys: &[Key],
        now: Instant,
    ) -> Result<Vec<Instant>, Limited> {
        let mut next = Vec::with_capacity(keys.len());
        for ((number, limit), key) in limits.into_iter().zip(keys) {
            let full = self.store.get(key).map_or(now, |full| full.max(now)) + cost(limit);
            let wait = full.saturating_duration_since(now).saturating_sub(most(limit));
            if !wait.is_zero() {
                return Err(Limited {
                    document: document.clone(),
                    limit: number,
                    requests: limit.requests,
                    interval: limit.interval,
                    retry_after: wait,
                });
            }
            next.push(full);
        }
        Ok(next)
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// The time that one request takes up; rounded up, so that never more than the limit pass.
fn cost(limit: &Limit) -> Duration {
    let nanos = limit.interval.as_nanos().div_ceil(u128::from(limit.requests.get()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The time that requests may take up in advance.
fn most(limit: &Limit) -> Duration {
    cost(limit).saturating_mul(limit.burst.unwrap_or(limit.requests).get())
}
