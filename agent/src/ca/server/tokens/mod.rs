//! Who calls: a bearer token is what the API server says it is.
//!
//! In: a token. Out: a [`Caller`], which comes from nowhere else. An answer is remembered by the token's hash, a good one
//! for a minute at most and never beyond the token's own end, a bad one for seconds; so a pod that is deleted, and with it
//! its token, is believed for a minute at most.

mod cache;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use kube::{Api, Client, api::PostParams};
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use self::cache::{Cache, Hash};
use super::{cluster::in_words, refusal::Refusal};
use crate::{
    config::authority::AccountName,
    observe::{AuthorityMetrics, ReviewResult},
};

/// Knows tokens, by asking.
pub struct Tokens {
    reviews: Api<TokenReview>,
    audience: String,
    slots: Semaphore,
    good: Mutex<Cache<Arc<Caller>>>,
    bad: Mutex<Cache<String>>,
    metrics: AuthorityMetrics,
}

/// Who calls, proven by the API server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Caller {
    account: AccountName,
    pod: Option<BoundPod>,
    node: Option<Arc<str>>,
}

/// The pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BoundPod {
    /// Its name; its namespace is the account's.
    pub(super) name: Arc<str>,
    /// Its uid.
    pub(super) uid: Arc<str>,
}

impl Caller {
    /// The service account.
    pub(super) fn account(&self) -> &AccountName {
        &self.account
    }

    /// The pod that the token is bound to.
    pub(super) fn pod(&self) -> Option<&BoundPod> {
        self.pod.as_ref()
    }

    /// The pod's node, where the API server says it (Kubernetes 1.30 and later).
    pub(super) fn node(&self) -> Option<&Arc<str>> {
        self.node.as_ref()
    }
}

impl Tokens {
    /// Asks through `client`, at most `at_once` questions at a time.
    pub fn new(client: Client, audience: String, at_once: usize, metrics: AuthorityMetrics) -> Self {
        Self {
            reviews: Api::all(client),
            audience,
            slots: Semaphore::new(at_once),
            good: Mutex::new(Cache::new(GOOD)),
            bad: Mutex::new(Cache::new(BAD)),
            metrics,
        }
    }

    /// Whose token it is.
    pub(super) async fn caller(&self, token: &str) -> Result<Arc<Caller>, Refusal> {
        let hash = hash(token);
        if let Some(known) = self.known(&hash) {
            return known;
        }
        let waiting = timeout(SLOT_WITHIN, self.slots.acquire()).await;
        let Ok(Ok(_slot)) = waiting else { return Err(Refusal::Busy("token reviews")) };
        // Whoever waited may have waited for the same token.
        if let Some(known) = self.known(&hash) {
            return known;
        }
        let judged = self.ask(token).await?;
        self.remember(hash, token, &judged);
        judged.map_err(|problem| Refusal::BadToken(problem, self.audience.clone())).and_then(caller_of)
    }

    fn known(&self, hash: &Hash) -> Option<Result<Arc<Caller>, Refusal>> {
        let now = Instant::now();
        let good = self.good.lock().get(hash, now).cloned();
        let known = match good {
            Some(caller) => Ok(caller),
            None => {
                let problem = self.bad.lock().get(hash, now).cloned()?;
                Err(Refusal::BadToken(problem, self.audience.clone()))
            }
        };
        self.metrics.cache_hit();
        Some(known)
    }

    fn remember(&self, hash: Hash, token: &str, judged: &Result<UserInfo, String>) {
        let now = Instant::now();
        match judged {
            Ok(user) => {
                if let Ok(caller) = caller_of(user.clone()) {
                    let left = expiry(token).map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
                    self.good.lock().put(hash, caller, now, left.unwrap_or(GOOD.life));
                }
            }
            Err(problem) => self.bad.lock().put(hash, problem.clone(), now, BAD.life),
        }
        self.metrics.set_cache_entries(self.good.lock().len() + self.bad.lock().len());
    }

    /// The user, or why there is none; an error where the API server gave no answer.
    async fn ask(&self, token: &str) -> Result<Result<UserInfo, String>, Refusal> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![self.audience.clone()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let params = PostParams::default();
        let asking = self.reviews.create(&params, &review);
        let status = match timeout(ANSWER_WITHIN, asking).await {
            Ok(Ok(TokenReview { status: Some(status), .. })) => status,
            Ok(Ok(_)) => return Err(self.no_answer("its answer to a TokenReview has no status".to_owned())),
            Ok(Err(error)) => {
                let grant = "grant create on tokenreviews of authentication.k8s.io (ClusterRole system:auth-delegator)";
                return Err(self.no_answer(in_words(&error, grant)));
            }
            Err(_) => return Err(self.no_answer(format!("no answer to a TokenReview within {ANSWER_WITHIN:?}"))),
        };
        let judged = self.judge(status, token);
        self.metrics.review(if judged.is_ok() { ReviewResult::Ok } else { ReviewResult::Refused });
        Ok(judged)
    }

    fn no_answer(&self, problem: String) -> Refusal {
        self.metrics.review(ReviewResult::Failed);
        Refusal::ApiUnavailable(problem)
    }

    fn judge(&self, status: TokenReviewStatus, token: &str) -> Result<UserInfo, String> {
        if status.authenticated != Some(true) {
            let words = status.error.unwrap_or_default();
            // Nothing promises that the API server does not quote it.
            let sayable = !words.is_empty() && !words.contains(token);
            return Err(if sayable { words } else { "the API server does not know it".to_owned() });
        }
        // An API server that knows nothing of audiences answers without any: then the token is for whoever has it.
        if !status.audiences.unwrap_or_default().contains(&self.audience) {
            return Err("it is for another audience".to_owned());
        }
        status.user.ok_or_else(|| "the API server does not say whose it is".to_owned())
    }
}

/// A service account with what its token is bound to.
fn caller_of(user: UserInfo) -> Result<Arc<Caller>, Refusal> {
    let username = user.username.unwrap_or_default();
    let account = username.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let account = account.filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let Some((namespace, name)) = account else { return Err(Refusal::NotServiceAccount(username)) };
    let account = AccountName { namespace: namespace.into(), name: name.into() };
    let extra = user.extra.unwrap_or_default();
    let one = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([value]) => Some(Arc::<str>::from(value.as_str())),
        _ => None,
    };
    let pod = one(POD_NAME).zip(one(POD_UID)).map(|(name, uid)| BoundPod { name, uid });
    // Without a pod, the node that a token is bound to says nothing about who runs there.
    let node = pod.as_ref().and_then(|_| one(NODE_NAME));
    Ok(Arc::new(Caller { account, pod, node }))
}

fn hash(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

/// The end that a JSON web token (RFC 7519) names; its signature is the API server's matter. `None` for other tokens.
fn expiry(token: &str) -> Option<SystemTime> {
    let payload = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let seconds = claims.get("exp")?.as_u64()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Facts about a projected token, in the user's `extra`.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// Each node has an agent with one token, and a token is renewed every hour: two for each of 5,000 nodes.
const GOOD: cache::Bounds = cache::Bounds { entries: 10_000, life: Duration::from_secs(60) };

/// Enough for callers that try again, and little enough for those that guess.
const BAD: cache::Bounds = cache::Bounds { entries: 1_000, life: Duration::from_secs(5) };

/// A caller that waits longer for its turn had better come again.
const SLOT_WITHIN: Duration = Duration::from_secs(2);

/// An API server answers in milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
