//! Who may call, by bearer token, and the answers to TokenReviews.

use std::collections::BTreeMap;
use std::time::SystemTime;

use parking_lot::RwLock;
use serde_json::{Value, json};

use super::failure::Failure;
use super::store::{Key, Store};

/// Whom a token stands for.
#[derive(Clone, Debug, Default)]
pub struct TokenUser {
    /// `system:serviceaccount:NAMESPACE:NAME` for a service account.
    pub username: String,
    /// The user's uid.
    pub uid: String,
    /// The groups, such as `system:serviceaccounts`.
    pub groups: Vec<String>,
    /// More facts, such as `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
    /// For whom the token was issued; empty is for the API server only.
    pub audiences: Vec<String>,
    /// Its end; `None` is far away.
    pub ends: Option<SystemTime>,
}

/// The audience of tokens that name none.
const OWN_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

impl TokenUser {
    /// A service account of a pod on a node, as the API server knows a projected token.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            username: format!("system:serviceaccount:{namespace}:{name}"),
            uid: super::fresh::uid(),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ],
            ..Self::default()
        }
    }

    /// One more group.
    #[must_use]
    pub fn group(mut self, name: &str) -> Self {
        self.groups.push(name.to_owned());
        self
    }

    /// The pod that the token is bound to.
    #[must_use]
    pub fn of_pod(self, name: &str, uid: &str) -> Self {
        self.extra("authentication.kubernetes.io/pod-name", name).extra("authentication.kubernetes.io/pod-uid", uid)
    }

    /// The node of that pod.
    #[must_use]
    pub fn on_node(self, name: &str) -> Self {
        self.extra("authentication.kubernetes.io/node-name", name)
    }

    /// One more fact.
    #[must_use]
    pub fn extra(mut self, key: &str, value: &str) -> Self {
        self.extra.entry(key.to_owned()).or_default().push(value.to_owned());
        self
    }

    /// One more audience.
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.audiences.push(audience.to_owned());
        self
    }

    /// The token has ended at a moment.
    #[must_use]
    pub fn ending(mut self, at: SystemTime) -> Self {
        self.ends = Some(at);
        self
    }

    /// What is wrong with the token now, as the real server finds it: a bound token ends with its pod.
    fn problem(&self, store: &Store) -> Option<String> {
        if self.ends.is_some_and(|end| end <= SystemTime::now()) {
            return Some("service account token has expired".to_owned());
        }
        let fact = |key: &str| Some(self.extra.get(key)?.first()?.as_str());
        let (name, uid) =
            (fact("authentication.kubernetes.io/pod-name")?, fact("authentication.kubernetes.io/pod-uid"));
        let namespace = self.username.strip_prefix("system:serviceaccount:")?.split(':').next()?;
        let key = Key { resource: "v1/pods".to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
        let found = store.get(&key).and_then(|pod| pod["metadata"]["uid"].as_str());
        (found.is_none() || found != uid).then(|| "service account token has been invalidated".to_owned())
    }

    fn is_for(&self, audience: &str) -> bool {
        if self.audiences.is_empty() {
            audience == OWN_AUDIENCE
        } else {
            self.audiences.iter().any(|own| own == audience)
        }
    }
}

/// All valid tokens.
#[derive(Default)]
pub(super) struct Tokens(RwLock<BTreeMap<String, TokenUser>>);

impl Tokens {
    pub(super) fn add(&self, token: &str, user: TokenUser) {
        self.0.write().insert(token.to_owned(), user);
    }

    pub(super) fn revoke(&self, token: &str) {
        self.0.write().remove(token);
    }

    /// Whom the token in an `Authorization` header stands for, if it is valid here.
    pub(super) fn user(&self, authorization: &str, store: &Store) -> Option<TokenUser> {
        let (scheme, token) = authorization.split_once(' ')?;
        let admitted = |user: &&TokenUser| user.is_for(OWN_AUDIENCE) && user.problem(store).is_none();
        let users = self.0.read();
        users.get(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer")).filter(admitted).cloned()
    }

    /// Answers a TokenReview.
    pub(super) fn review(&self, review: &Value, store: &Store) -> Result<Value, Failure> {
        let spec = &review["spec"];
        let token = spec["token"].as_str().unwrap_or_default();
        if token.is_empty() {
            return Err(Failure::bad_request("token is required for TokenReview in authentication"));
        }
        let asked = spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let asked: Vec<&str> = asked.collect();
        let wanted = if asked.is_empty() { vec![OWN_AUDIENCE] } else { asked };
        let status = match self.0.read().get(token) {
            None => json!({"authenticated": false, "user": {}, "error": "invalid bearer token"}),
            Some(user) if user.problem(store).is_some() => {
                json!({"authenticated": false, "user": {}, "error": user.problem(store)})
            }
            Some(user) => {
                let common: Vec<&str> = wanted.into_iter().filter(|audience| user.is_for(audience)).collect();
                if common.is_empty() {
                    json!({"authenticated": false, "user": {}, "error": "the token is for other audiences"})
                } else {
                    json!({"authenticated": true, "user": user.json(), "audiences": common})
                }
            }
        };
        Ok(json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"creationTimestamp": null}, "spec": spec, "status": status,
        }))
    }
}

impl TokenUser {
    fn json(&self) -> Value {
        let mut user = json!({"username": self.username, "uid": self.uid, "groups": self.groups});
        if !self.extra.is_empty() {
            user["extra"] = json!(self.extra);
        }
        user
    }
}
