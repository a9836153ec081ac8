//! The keys of issuers: fetched ahead of any request, from where the documents in force say, and kept up to date.
//!
//! In: the rules of RequestAuthentications. Out: [`KnownKeys`], swapped whole, which requests read and never wait for. Keys
//! in a document need none of this: they come with the rule.
//!
//! `refresh.rs` decides when to fetch and what an answer or its absence means; `fetch.rs` and `http.rs` fetch;
//! `address.rs` says from where not.

mod address;
mod fetch;
mod http_get;
mod refresh;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::Uri;
use tokio::sync::mpsc;

use super::outcome::{Outcome, Refusal};
use crate::rules::request_authentication::{JwtRule, KeySet, KeySource};

pub use address::{AddressRule, OUTSIDE_ONLY};
pub use fetch::KeyServers;
pub use refresh::KeyRefresh;

/// Where an issuer publishes its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyLocation {
    /// At a URL.
    Uri(Uri),
    /// Where the issuer's metadata says (OpenID Connect Discovery 1.0, section 4).
    Issuer(Arc<str>),
}

/// Keys that somebody published.
#[derive(Debug)]
pub struct PublishedKeys {
    /// The keys.
    pub keys: Arc<KeySet>,
    /// What was in the set and cannot be used.
    pub left_out: Vec<String>,
    /// For how long the server calls its answer good.
    pub good_for: Option<Duration>,
}

/// Whoever can be asked for keys.
pub trait FetchKeys: Send + Sync {
    /// Asks, once, and waits for no longer than `limit` for each answer.
    fn fetch(&self, location: &KeyLocation, limit: Duration) -> BoxFuture<'static, Result<PublishedKeys, FetchError>>;
}

pub use fetch::FetchError;

/// Every set of keys that could be had. What is not in it was never fetched.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys {
    by_uri: HashMap<Uri, Arc<KeySet>>,
    by_issuer: HashMap<Arc<str>, Arc<KeySet>>,
}

/// The keys that are known now, shared by all who check tokens. Cloning is cheap; reading never blocks.
#[derive(Clone, Debug)]
pub struct KeyStore {
    known: Arc<ArcSwap<KnownKeys>>,
    wishes: mpsc::Sender<KeyLocation>,
}

impl KeyLocation {
    /// Where the keys of a rule come from, unless they are in it.
    pub fn of(rule: &JwtRule) -> Option<Self> {
        match &rule.keys {
            KeySource::Inline(_) => None,
            KeySource::Uri(uri) => Some(Self::Uri(uri.clone())),
            KeySource::Discovered => Some(Self::Issuer(rule.issuer.as_str().into())),
        }
    }
}

impl KnownKeys {
    /// The keys of a rule, if they could be had.
    pub fn of<'a>(&'a self, rule: &'a JwtRule) -> Option<&'a Arc<KeySet>> {
        match &rule.keys {
            KeySource::Inline(set) => Some(set.keys()),
            KeySource::Uri(uri) => self.by_uri.get(uri),
            KeySource::Discovered => self.by_issuer.get(rule.issuer.as_str()),
        }
    }

    fn put(&mut self, location: &KeyLocation, keys: &Arc<KeySet>) {
        match location {
            KeyLocation::Uri(uri) => self.by_uri.insert(uri.clone(), Arc::clone(keys)),
            KeyLocation::Issuer(issuer) => self.by_issuer.insert(Arc::clone(issuer), Arc::clone(keys)),
        };
    }

    fn remove(&mut self, location: &KeyLocation) {
        match location {
            KeyLocation::Uri(uri) => self.by_uri.remove(uri),
            KeyLocation::Issuer(issuer) => self.by_issuer.remove(issuer),
        };
    }
}

impl KeyStore {
    /// None known, and where wishes for newer ones arrive.
    fn new() -> (Self, mpsc::Receiver<KeyLocation>) {
        let (wishes, wished) = mpsc::channel(MOST_WISHES);
        (Self { known: Arc::default(), wishes }, wished)
    }

    /// What is known now.
    pub fn load(&self) -> Arc<KnownKeys> {
        self.known.load_full()
    }

    /// Has the keys fetched soon, where a token was refused that newer ones might prove. Called after every refusal; how
    /// often that leads to a fetch is limited, since anyone can send such tokens.
    pub fn learn_from(&self, outcome: &Outcome) {
        let Outcome::Refused(Refusal { rule: Some(rule), keys_may_be_old: true, .. }) = outcome else { return };
        if let Some(location) = KeyLocation::of(rule.rule()) {
            // A full queue is full of wishes, and one of them is enough for each place.
            let _ = self.wishes.try_send(location);
        }
    }
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => uri.fmt(f),
            Self::Issuer(issuer) => write!(f, "the metadata of {issuer:?}"),
        }
    }
}

/// One for each of many issuers; each is dealt with at once.
const MOST_WISHES: usize = 64;
