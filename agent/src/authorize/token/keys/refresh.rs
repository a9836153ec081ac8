//! The task that keeps the keys of issuers up to date.
//!
//! Each place that a document in force names is asked every [`LONGEST_LIFE`], earlier where its server says so, and with
//! growing pauses while it gives no keys. The last keys stay in force meanwhile, however old: an outage of an issuer is not
//! one of whoever has its tokens. So a key that an issuer withdraws is believed for as long as its server cannot be reached,
//! and `heddle_token_keys_age_seconds` tells. Bounds: [`MOST_FETCHES`] at a time, one of each place; [`MOST_PLACES`].

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{FetchError, FetchKeys, KeyLocation, KeyStore, KnownKeys, PublishedKeys};
use crate::{
    mesh::{FollowedRules, MeshState, Rules},
    observe::{KeyFetchResult, Observer},
    rules::{Spec, request_authentication::KeySet},
};

/// Fetches the keys that documents name.
pub struct KeyRefresh {
    servers: Arc<dyn FetchKeys>,
    observer: Observer,
    random: fastrand::Rng,
    places: HashMap<KeyLocation, Place>,
    fetches: FuturesUnordered<BoxFuture<'static, Fetched>>,
    in_flight: HashSet<KeyLocation>,
    store: KeyStore,
    wished: mpsc::Receiver<KeyLocation>,
}

type Fetched = (KeyLocation, Result<PublishedKeys, FetchError>);

/// What is known of a place.
#[derive(Debug)]
struct Place {
    /// How long a fetch may take: the longest that a rule grants.
    limit: Duration,
    keys: Option<(Arc<KeySet>, Instant)>,
    left_out: Vec<String>,
    failures: u32,
    asked: Option<Instant>,
    due: Instant,
}

impl KeyRefresh {
    /// The task, and what it keeps up to date.
    pub fn new(servers: Arc<dyn FetchKeys>, observer: Observer) -> (Self, KeyStore) {
        let (store, wished) = KeyStore::new();
        let (places, fetches, in_flight) = Default::default();
        let random = fastrand::Rng::new();
        (Self { servers, observer, random, places, fetches, in_flight, store: store.clone(), wished }, store)
    }

    /// Follows the documents in force, until the mesh ends.
    pub async fn run(mut self, mesh: watch::Receiver<MeshState>) {
        let mut rules = FollowedRules::of(mesh);
        self.want(&wanted(rules.get()));
        loop {
            let due = self.fetch_what_is_due();
            tokio::select! {
                rules = rules.changed() => match rules {
                    Some(rules) => self.want(&wanted(rules)),
                    None => return,
                },
                Some((location, result)) = self.fetches.next() => self.settle(&location, result),
                Some(location) = self.wished.recv() => self.hurry(&location),
                () = sleep_until(due) => {}
            }
        }
    }

    /// These places and no others.
    fn want(&mut self, wanted: &HashMap<KeyLocation, Duration>) {
        self.places.retain(|location, _| wanted.contains_key(location));
        for (location, limit) in wanted {
            let many = self.places.len() >= MOST_PLACES;
            match self.places.entry(location.clone()) {
                Entry::Occupied(mut place) => place.get_mut().limit = *limit,
                Entry::Vacant(place) if !many => {
                    place.insert(Place::new(*limit));
                }
                Entry::Vacant(_) => {
                    tracing::error!(%location, "keys of tokens are at more than {MOST_PLACES} places; this one is not asked");
                }
            }
        }
        let known = self.store.load();
        let gone: Vec<KeyLocation> = known.locations().filter(|location| !wanted.contains_key(location)).collect();
        if !gone.is_empty() {
            self.publish(|known| gone.iter().for_each(|location| known.remove(location)));
        }
        self.measure();
    }

    /// Starts fetches, and says until when nothing else can be due.
    fn fetch_what_is_due(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = now + LONGEST_LIFE;
        for (location, place) in &mut self.places {
            if self.in_flight.contains(location) {
                continue;
            }
            if place.due > now {
                next = next.min(place.due);
            } else if self.in_flight.len() < MOST_FETCHES {
                // When all are taken, one that ends wakes the loop.
                let fetch = self.servers.fetch(location, place.limit);
                let asked = location.clone();
                self.fetches.push(Box::pin(async move { (asked, fetch.await) }));
                self.in_flight.insert(location.clone());
                place.asked = Some(now);
            }
        }
        next
    }

    fn settle(&mut self, location: &KeyLocation, result: Result<PublishedKeys, FetchError>) {
        self.in_flight.remove(location);
        self.observer.metrics().token_keys_fetched(match &result {
            Ok(_) => KeyFetchResult::Ok,
            Err(error) => error.result(),
        });
        // Nobody may want it any more.
        let Some(place) = self.places.get_mut(location) else { return };
        match result {
            Ok(published) => {
                let keys = Arc::clone(&published.keys);
                place.answer(location, published, &mut self.random);
                self.publish(|known| known.put(location, &keys));
            }
            Err(error) => place.fail(location, &error, &mut self.random),
        }
        self.measure();
    }

    /// Somebody was refused whom newer keys might prove right.
    fn hurry(&mut self, location: &KeyLocation) {
        if let Some(place) = self.places.get_mut(location)
            && let Some(asked) = place.asked
        {
            place.due = place.due.min(asked + WISH_PAUSE);
        }
    }

    fn publish(&self, change: impl Fn(&mut KnownKeys)) {
        let mut known = KnownKeys::clone(&self.store.load());
        change(&mut known);
        self.store.known.store(Arc::new(known));
    }

    fn measure(&self) {
        let sets = || self.places.values().filter_map(|place| place.keys.as_ref());
        let metrics = self.observer.metrics();
        metrics.set_token_key_places(self.places.len(), self.places.len() - sets().count());
        metrics.set_token_keys(sets().map(|(keys, _)| keys.keys().len()).sum());
        metrics.set_oldest_token_keys(sets().map(|(_, since)| *since).min());
    }
}

impl Place {
    fn new(limit: Duration) -> Self {
        Self { limit, keys: None, left_out: Vec::new(), failures: 0, asked: None, due: Instant::now() }
    }

    fn answer(&mut self, location: &KeyLocation, published: PublishedKeys, random: &mut fastrand::Rng) {
        let PublishedKeys { keys, left_out, good_for } = published;
        if self.failures > 0 {
            tracing::info!(%location, failures = self.failures, "the keys of an issuer of tokens are there again");
        }
        if left_out != self.left_out {
            tracing::warn!(%location, "keys of an issuer that cannot be used are left out: {}", left_out.join("; "));
            self.left_out = left_out;
        }
        self.keys = Some((keys, Instant::now()));
        self.failures = 0;
        let life = good_for.unwrap_or(LONGEST_LIFE).clamp(SHORTEST_LIFE, LONGEST_LIFE);
        // All agents of a mesh begin with a document at the same time.
        self.due = Instant::now() + life.mul_f64(0.9 + 0.1 * random.f64());
    }

    fn fail(&mut self, location: &KeyLocation, error: &FetchError, random: &mut fastrand::Rng) {
        if self.failures == 0 {
            match &self.keys {
                None => {
                    tracing::warn!(%location, %error, "fetch the keys of an issuer; its tokens are refused until then");
                }
                Some((_, since)) => {
                    let age = since.elapsed();
                    tracing::warn!(%location, %error, ?age, "fetch the keys of an issuer; those known stay in force");
                }
            }
        }
        self.failures = self.failures.saturating_add(1);
        self.due = Instant::now() + retry_pause(self.failures, random);
    }
}

impl KnownKeys {
    fn locations(&self) -> impl Iterator<Item = KeyLocation> {
        let uris = self.by_uri.keys().cloned().map(KeyLocation::Uri);
        uris.chain(self.by_issuer.keys().cloned().map(KeyLocation::Issuer))
    }
}

/// Where the keys of the documents in force are, and how long fetching them may take.
fn wanted(rules: &Rules) -> HashMap<KeyLocation, Duration> {
    let mut wanted = HashMap::new();
    for rule in rules.values() {
        let Spec::RequestAuthentication(spec) = &rule.spec else { continue };
        for rule in &spec.jwt_rules {
            let Some(location) = KeyLocation::of(rule) else { continue };
            let limit = rule.timeout.unwrap_or(DEFAULT_LIMIT).min(LONGEST_LIMIT);
            let granted = wanted.entry(location).or_insert(limit);
            *granted = limit.max(*granted);
        }
    }
    wanted
}

/// 1 s, 2 s, 4 s ... 60 s; each but the first shortened by up to half, and none below a second.
fn retry_pause(failures: u32, random: &mut fastrand::Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(MAX_PAUSE);
    pause.mul_f64(0.5 + 0.5 * random.f64()).max(FIRST_PAUSE)
}

/// How often Istio's control plane looks: keys that are withdrawn are forgotten in that time.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(20 * 60);
/// Many servers forbid all caching of all their answers; every node asks them.
pub(super) const SHORTEST_LIFE: Duration = Duration::from_secs(5 * 60);
/// How often a place is asked at most because of tokens whose key is not known: anyone can send such tokens.
pub(super) const WISH_PAUSE: Duration = Duration::from_secs(60);
/// What the API says of `timeout`.
pub(super) const DEFAULT_LIMIT: Duration = Duration::from_secs(5);
/// A fetch holds one of few places.
pub(super) const LONGEST_LIMIT: Duration = Duration::from_secs(60);
pub(super) const MOST_FETCHES: usize = 8;
/// Far beyond the issuers of any mesh, and within what a node can fetch in 20 minutes though all of them hang.
pub(super) const MOST_PLACES: usize = 1000;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// After a long outage of an issuer, recovery takes no longer than this.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(60);
