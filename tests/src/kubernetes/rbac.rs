//! Who may do what: Kubernetes' role-based access control over the roles and bindings among the stored objects, and the
//! reviews by which clients ask about it.
//!
//! Members of `system:masters` may do everything, and whoever is known may ask what he may do himself. Not done: aggregated
//! roles, rules over paths that are no resource (everybody known may read those), and the check that a role which is
//! written grants no more than its writer has.

use serde_json::{Value, json};

use super::ask::{Asked, Verb};
use super::failure::Failure;
use super::store::{Key, Store};
use super::tokens::TokenUser;

const GROUP: &str = "rbac.authorization.k8s.io/v1";
const MASTERS: &str = "system:masters";

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    pub(super) resource: &'a str,
    pub(super) subresource: &'a str,
    /// Empty for all of them, and for what is cluster-wide.
    pub(super) namespace: &'a str,
    /// Empty for any.
    pub(super) name: &'a str,
}

/// Refuses a request that no role allows.
pub(super) fn authorize(store: &Store, user: &TokenUser, asked: &Asked) -> Result<(), Failure> {
    let verb = asked.verb.to_string();
    let wanted = Wanted {
        verb: &verb,
        group: &asked.group,
        resource: &asked.resource,
        subresource: &asked.subresource,
        namespace: &asked.namespace,
        name: &asked.name,
    };
    let asks_of_himself = asked.verb == Verb::Create && asked.resource.starts_with("selfsubject");
    if asked.resource.is_empty() || asks_of_himself || allows(store, user, wanted) {
        return Ok(());
    }
    Err(Failure::forbidden(&user.username, wanted))
}

/// Whether some role allows it.
pub(super) fn allows(store: &Store, user: &TokenUser, wanted: Wanted<'_>) -> bool {
    if user.groups.iter().any(|group| group == MASTERS) {
        return true;
    }
    let everywhere = bound(store, user, "clusterrolebindings", "");
    let here = match wanted.namespace {
        "" => Vec::new(),
        namespace => bound(store, user, "rolebindings", namespace),
    };
    everywhere.iter().chain(&here).flat_map(|role| list(role, "/rules")).any(|rule| rule_allows(rule, wanted))
}

/// Answers a `SelfSubjectAccessReview` or a `SubjectAccessReview`.
pub(super) fn review(store: &Store, asker: &TokenUser, kind: &str, review: &Value) -> Result<Value, Failure> {
    let spec = &review["spec"];
    let user = match kind {
        "SelfSubjectAccessReview" => asker.clone(),
        _ => subject(spec),
    };
    let attributes = &spec["resourceAttributes"];
    if !attributes.is_object() {
        return Err(Failure::bad_request("only spec.resourceAttributes are reviewed here"));
    }
    let text = |key: &str| attributes[key].as_str().unwrap_or_default();
    let wanted = Wanted {
        verb: text("verb"),
        group: text("group"),
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
    };
    let status = json!({"allowed": allows(store, &user, wanted)});
    Ok(json!({
        "kind": kind, "apiVersion": "authorization.k8s.io/v1", "metadata": {"creationTimestamp": null}, "spec": spec,
        "status": status,
    }))
}

fn subject(spec: &Value) -> TokenUser {
    let groups = list(spec, "/groups").filter_map(Value::as_str).map(str::to_owned).collect();
    TokenUser { username: spec["user"].as_str().unwrap_or_default().to_owned(), groups, ..TokenUser::default() }
}

/// The roles that bindings of a kind give to somebody.
fn bound(store: &Store, user: &TokenUser, bindings: &str, namespace: &str) -> Vec<Value> {
    let bindings = store.list(&format!("{GROUP}/{bindings}"), namespace).into_values();
    let his = bindings.filter(|binding| list(binding, "/subjects").any(|subject| is_subject(subject, user)));
    his.filter_map(|binding| {
        let name = binding["roleRef"]["name"].as_str()?.to_owned();
        let (plural, namespace) = match binding["roleRef"]["kind"].as_str()? {
            "ClusterRole" => ("clusterroles", ""),
            _ => ("roles", namespace),
        };
        let key = Key { resource: format!("{GROUP}/{plural}"), namespace: namespace.to_owned(), name };
        store.get(&key).map(|role| Value::clone(role))
    })
    .collect()
}

fn is_subject(subject: &Value, user: &TokenUser) -> bool {
    let text = |key: &str| subject[key].as_str().unwrap_or_default();
    match text("kind") {
        "ServiceAccount" => user.username == format!("system:serviceaccount:{}:{}", text("namespace"), text("name")),
        "User" => user.username == text("name"),
        "Group" => user.groups.iter().any(|group| group == text("name")),
        _ => false,
    }
}

fn rule_allows(rule: &Value, wanted: Wanted<'_>) -> bool {
    let has = |key: &str, value: &str| list(rule, key).any(|one| *one == "*" || *one == value);
    let resource = match wanted.subresource {
        "" => wanted.resource.to_owned(),
        subresource => format!("{}/{subresource}", wanted.resource),
    };
    let named = list(rule, "/resourceNames").next().is_none()
        || list(rule, "/resourceNames").any(|name| !wanted.name.is_empty() && *name == wanted.name);
    has("/verbs", wanted.verb) && has("/apiGroups", wanted.group) && has("/resources", &resource) && named
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}
