//! Who may call, by bearer token, and the answers to TokenReviews.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use serde_json::{Value, json};

use super::failure::Failure;

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

    /// Whether the `Authorization` header has a token that is valid here.
    pub(super) fn admits(&self, authorization: &str) -> bool {
        let token = authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        token.is_some_and(|(_, token)| self.0.read().get(token.trim()).is_some_and(|user| user.is_for(OWN_AUDIENCE)))
    }

    /// Answers a TokenReview.
    pub(super) fn review(&self, review: &Value) -> Result<Value, Failure> {
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
