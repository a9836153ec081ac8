//! Tokens of requests, from documents to what becomes of them. Documents are read and indexed as the agent reads them, in a
//! build that enforces every kind.

#![expect(clippy::unwrap_used, reason = "tests")]

mod cases;
mod forwarding;
pub(super) mod issuer;
mod properties;
mod selection;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::{Value, json};

use super::{keys::KnownKeys, *};
use crate::{
    mesh::{MeshSettings, Snapshot, TokenRule, compile_enforcing},
    objects::{ConfigMap, Object, ObjectName, ObjectSet, Pod},
    rules::Enforced,
};

/// Seconds since 1970 at which all tests play.
pub(super) const NOW: u64 = 1_800_000_000;

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

/// A snapshot of one pod, of these labels, and of RequestAuthentications: namespace, name, spec.
pub(super) fn snapshot(labels: &[(&str, &str)], documents: &[(&str, &str, &str)]) -> Snapshot {
    let mut objects = ObjectSet::default();
    objects.insert(Object::Pod(
        Pod {
            name: ObjectName::new("shop", "cart"),
            addresses: ["10.0.0.1".parse().unwrap()].into(),
            labels: Arc::new(labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()),
            ..Pod::default()
        }
        .into(),
    ));
    for (namespace, name, spec) in documents {
        let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}}}\nspec:\n{spec}"
        );
        let map = ConfigMap {
            name: ObjectName::new(namespace, name),
            uid: None,
            created: Some(SystemTime::UNIX_EPOCH),
            data: BTreeMap::from([("a".to_owned(), text.as_str().into())]),
        };
        objects.insert(Object::ConfigMap(map.into()));
    }
    let settings = MeshSettings {
        node: "node-a".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        root_namespace: "heddle-system".into(),
    };
    let compiled = compile_enforcing(&objects, &settings, Enforced::EVERYTHING);
    compiled.documents.iter().for_each(|status| assert_eq!(status.state.as_str(), "accepted", "{status}"));
    compiled.snapshot
}

/// The rules of the pod where there is one document, of these `jwtRules`.
pub(super) fn rules(jwt_rules: &Value) -> Vec<TokenRule> {
    let snapshot = snapshot(&[], &[("shop", "tokens", &json!({ "jwtRules": jwt_rules }).to_string())]);
    of_the_pod(&snapshot)
}

fn of_the_pod(snapshot: &Snapshot) -> Vec<TokenRule> {
    snapshot.token_rules_of(snapshot.workload("10.0.0.1".parse().unwrap()).unwrap())
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| -> (HeaderName, HeaderValue) {
        (name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

fn ask(rules: &[TokenRule], target: &str, lines: &[(&str, &str)]) -> Outcome {
    let (headers, target): (HeaderMap, Uri) = (headers(lines), target.parse().unwrap());
    authenticate(rules, &Request { headers: &headers, target: &target, at: now() }, &KnownKeys::default())
}

/// An outcome in short: `none`, the principal of a believed token, or the reason.
fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NoToken => "none".to_owned(),
        Outcome::Verified(token) => token.principal().unwrap_or_else(|| format!("{}, nobody", token.issuer())),
        Outcome::Refused(refusal) => refusal.reason().as_str().to_owned(),
    }
}
