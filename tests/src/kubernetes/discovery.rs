//! Paths that are no resource: API discovery, the version, health.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::resource::{Registry, Resource};

/// What a path says, or `None` where nothing is served.
pub(super) fn discover(registry: &Registry, path: &str) -> Option<Value> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts[..] {
        ["version"] => Some(json!({
            "major": "1", "minor": "34", "gitVersion": "v1.34.0-heddle-test", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        })),
        ["api"] => Some(json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        })),
        ["apis"] => {
            let names: BTreeSet<String> = registry.all().iter().map(|resource| resource.group.clone()).collect();
            let groups: Vec<Value> = names.iter().filter_map(|name| group(registry, name)).collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let mut group = group(registry, name)?;
            (group["kind"], group["apiVersion"]) = (json!("APIGroup"), json!("v1"));
            Some(group)
        }
        ["api", version] => resources(registry, "", version),
        ["apis", name, version] => resources(registry, name, version),
        _ => None,
    }
}

/// Whether the path tells if the server lives.
pub(super) fn is_health(path: &str) -> bool {
    ["/healthz", "/livez", "/readyz"].contains(&path)
}

/// Whether everybody may ask, without a token.
pub(super) fn is_public(path: &str) -> bool {
    is_health(path) || path == "/version"
}

fn group(registry: &Registry, name: &str) -> Option<Value> {
    let all = registry.all();
    let versions: BTreeSet<&str> =
        all.iter().filter(|known| !name.is_empty() && known.group == name).map(|known| &*known.version).collect();
    let version = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    let preferred = versions.last()?.clone();
    Some(json!({"name": name, "versions": versions, "preferredVersion": preferred}))
}

fn resources(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let all = registry.all();
    let mine = all.iter().filter(|known| known.group == group && known.version == version);
    let listed: Vec<Value> = mine.clone().flat_map(|known| entries(known)).collect();
    let group_version = mine.clone().next()?.api_version();
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}))
}

/// The resource, and its status if that is one of its own.
fn entries(resource: &Resource) -> Vec<Value> {
    let entry = |name: &str, verbs: &[&str]| {
        json!({
            "name": name, "singularName": resource.kind.to_lowercase(), "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs,
        })
    };
    let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let mut main = entry(&resource.plural, if resource.stored { &all } else { &["create"] });
    if !resource.short.is_empty() {
        main["shortNames"] = json!([resource.short]);
    }
    let mut entries = vec![main];
    if resource.has_status {
        entries.push(entry(&format!("{}/status", resource.plural), &["get", "patch", "update"]));
    }
    entries
}
