//! Creates, replaces, patches and deletes objects the way the API machinery does: who gives which field, what a stale
//! version means, what stays when only the status is written.
//!
//! Not done: validation of what is inside `spec`, defaults but for a few phases, admission, quotas.

use std::sync::Arc;

use serde_json::{Value, json};

use super::failure::Failure;
use super::fresh;
use super::resource::Resource;
use super::store::{Key, Store};

/// The object that a request is about.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) resource: &'a Resource,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// Whether only the status is meant.
    pub(super) status: bool,
}

impl Target<'_> {
    pub(super) fn key(&self) -> Key {
        key_of(self.resource, self.namespace, self.name)
    }

    pub(super) fn find<'a>(&self, store: &'a Store) -> Result<&'a Arc<Value>, Failure> {
        store.get(&self.key()).ok_or_else(|| Failure::not_found(self.resource, self.name))
    }
}

/// The place of an object.
pub(super) fn key_of(resource: &Resource, namespace: &str, name: &str) -> Key {
    Key {
        resource: format!("{}/{}", resource.api_version(), resource.plural),
        namespace: if resource.namespaced { namespace.to_owned() } else { String::new() },
        name: name.to_owned(),
    }
}

/// POST.
pub(super) fn create(store: &mut Store, target: Target<'_>, mut object: Value) -> Result<Arc<Value>, Failure> {
    let Target { resource, namespace, .. } = target;
    check_type(resource, &object)?;
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        return Err(Failure::bad_request("resourceVersion must not be set on an object that is to be created"));
    }
    place(target, &mut object)?;
    if text(&object, "/metadata/name").is_empty() {
        let prefix = text(&object, "/metadata/generateName");
        if prefix.is_empty() {
            return Err(Failure::invalid(&resource.kind, "", "metadata.name", "a name or generateName is required"));
        }
        object["metadata"]["name"] = json!(format!("{prefix}{}", fresh::suffix()));
    }
    let name = text(&object, "/metadata/name").to_owned();
    check_namespace(store, resource, namespace)?;
    let key = key_of(resource, namespace, &name);
    if store.get(&key).is_some() {
        return Err(Failure::already_exists(resource, &name));
    }
    for given_by_the_server in ["uid", "creationTimestamp", "deletionTimestamp", "selfLink"] {
        object["metadata"].as_object_mut().and_then(|metadata| metadata.remove(given_by_the_server));
    }
    begin_status(resource, &mut object);
    Ok(store.put(key, complete(resource, object)))
}

/// PUT, of the whole object or of its status.
pub(super) fn update(store: &mut Store, target: Target<'_>, mut object: Value) -> Result<Arc<Value>, Failure> {
    let Target { resource, name, status, .. } = target;
    check_type(resource, &object)?;
    place(target, &mut object)?;
    let current = Arc::clone(target.find(store)?);
    if text(&object, "/metadata/name") != name {
        let found = text(&object, "/metadata/name");
        return Err(Failure::bad_request(format!("the object is called \"{found}\", the path says \"{name}\"")));
    }
    for (field, what) in [("uid", "it is another object of the same name"), ("resourceVersion", "it was modified")] {
        let (given, found) = (text(&object["metadata"], &format!("/{field}")), current["metadata"][field].as_str());
        if !given.is_empty() && Some(given) != found {
            return Err(Failure::conflict(resource, name, what));
        }
    }
    let next = if status { with_status_of(&current, &object) } else { keeping_from(resource, &current, object) };
    if next == *current {
        return Ok(current);
    }
    let held = next["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    if next["metadata"].get("deletionTimestamp").is_some() && !held {
        store.delete(&target.key());
        return Ok(Arc::new(next));
    }
    Ok(store.put(target.key(), next))
}

/// PATCH with a merge patch (RFC 7386).
pub(super) fn patch(store: &mut Store, target: Target<'_>, patch: &Value) -> Result<Arc<Value>, Failure> {
    let mut patched = Value::clone(target.find(store)?);
    merge(&mut patched, patch);
    update(store, target, patched)
}

/// PATCH with a configuration to apply: a merge, or the creation of what is not there.
///
/// Ownership of fields is not kept: a field that is no longer applied stays.
pub(super) fn apply(store: &mut Store, target: Target<'_>, mut object: Value) -> Result<Arc<Value>, Failure> {
    check_type(target.resource, &object)?;
    if target.find(store).is_ok() {
        return patch(store, target, &object);
    }
    if target.status {
        return Err(Failure::not_found(target.resource, target.name));
    }
    object["metadata"]["name"] = json!(target.name);
    create(store, target, object)
}

/// DELETE; gives back the object, and whether it is gone or only marked because finalizers hold it.
pub(super) fn delete(store: &mut Store, target: Target<'_>, options: &Value) -> Result<(Arc<Value>, bool), Failure> {
    let Target { resource, name, .. } = target;
    let current = Arc::clone(target.find(store)?);
    for field in ["uid", "resourceVersion"] {
        let wanted = options["preconditions"].get(field).and_then(Value::as_str);
        if wanted.is_some() && wanted != current["metadata"][field].as_str() {
            return Err(Failure::conflict(resource, name, &format!("its {field} is not the one of the precondition")));
        }
    }
    if current["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty()) {
        if current["metadata"].get("deletionTimestamp").is_some() {
            return Ok((current, false));
        }
        let mut marked = Value::clone(&current);
        marked["metadata"]["deletionTimestamp"] = json!(fresh::timestamp());
        return Ok((store.put(target.key(), marked), false));
    }
    if resource.kind == "Namespace" && resource.group.is_empty() {
        // The namespace controller's work, done at once.
        for key in store.keys_in(name) {
            store.delete(&key);
        }
    }
    store.delete(&target.key());
    Ok((current, true))
}

/// The test's own hand: creates or replaces as it is given, the status included.
pub(super) fn put(store: &mut Store, resource: &Resource, object: &Value) -> Result<Arc<Value>, Failure> {
    let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    if name.is_empty() || namespace.is_empty() == resource.namespaced {
        let message = "metadata.name, and metadata.namespace for namespaced kinds only, must be set";
        return Err(Failure::invalid(&resource.kind, name, "metadata", message));
    }
    check_namespace(store, resource, namespace)?;
    let key = key_of(resource, namespace, name);
    let Some(current) = store.get(&key).map(Arc::clone) else {
        return Ok(store.put(key, complete(resource, object.clone())));
    };
    let mut next = object.clone();
    for kept in ["uid", "creationTimestamp", "resourceVersion"] {
        if kept == "resourceVersion" || next["metadata"].get(kept).is_none() {
            next["metadata"][kept] = current["metadata"][kept].clone();
        }
    }
    let next = complete(resource, next);
    Ok(if next == *current { current } else { store.put(key, next) })
}

/// Merges a patch into a value (RFC 7386): null removes, objects merge, all else replaces.
pub(super) fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, change) in fields {
        if change.is_null() {
            value.as_object_mut().and_then(|fields| fields.remove(key));
        } else {
            merge(&mut value[key], change);
        }
    }
}

/// What the server gives an object that is new, unless it has it.
fn complete(resource: &Resource, mut object: Value) -> Value {
    let metadata = &mut object["metadata"];
    if metadata.get("uid").is_none() {
        metadata["uid"] = json!(fresh::uid());
    }
    if metadata.get("creationTimestamp").is_none() {
        metadata["creationTimestamp"] = json!(fresh::timestamp());
    }
    if resource.kind == "Namespace" && resource.group.is_empty() {
        metadata["labels"]["kubernetes.io/metadata.name"] = metadata["name"].clone();
        if object.get("status").is_none() {
            object["status"] = json!({"phase": "Active"});
        }
    }
    object
}

/// A client that creates an object does not decide its status; kubelet registers nodes with theirs.
fn begin_status(resource: &Resource, object: &mut Value) {
    if !resource.has_status || resource.kind == "Node" {
        return;
    }
    object.as_object_mut().and_then(|fields| fields.remove("status"));
    match resource.kind.as_str() {
        "Pod" => object["status"] = json!({"phase": "Pending"}),
        "Service" => object["status"] = json!({"loadBalancer": {}}),
        _ => {}
    }
}

/// A replacement with what a client cannot change.
fn keeping_from(resource: &Resource, current: &Value, mut next: Value) -> Value {
    for kept in ["uid", "creationTimestamp", "deletionTimestamp", "resourceVersion", "namespace", "generateName"] {
        match current["metadata"].get(kept) {
            Some(value) => next["metadata"][kept] = value.clone(),
            None => drop(next["metadata"].as_object_mut().and_then(|metadata| metadata.remove(kept))),
        }
    }
    if resource.has_status {
        return with_status_of(&next, current);
    }
    next
}

fn with_status_of(object: &Value, other: &Value) -> Value {
    let mut object = object.clone();
    match other.get("status") {
        Some(status) => object["status"] = status.clone(),
        None => drop(object.as_object_mut().and_then(|fields| fields.remove("status"))),
    }
    object
}

fn check_type(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let (kind, api_version) = (text(object, "/kind"), text(object, "/apiVersion"));
    // A body may leave its type to the path.
    let wrong = |found: &str, expected: &str| !found.is_empty() && found != expected;
    if !object.is_object() || wrong(kind, &resource.kind) || wrong(api_version, &resource.api_version()) {
        let expected = format!("{} {}", resource.api_version(), resource.kind);
        return Err(Failure::bad_request(format!("the body is {api_version} {kind}, the path takes {expected}")));
    }
    Ok(())
}

/// Gives the object its type and the namespace of the path; another namespace is an error.
fn place(target: Target<'_>, object: &mut Value) -> Result<(), Failure> {
    let Target { resource, namespace, .. } = target;
    object["kind"] = json!(resource.kind);
    object["apiVersion"] = json!(resource.api_version());
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let found = text(object, "/metadata/namespace");
    if !found.is_empty() && (found != namespace || !resource.namespaced) {
        return Err(Failure::bad_request(format!(
            "the object is of namespace \"{found}\", the path of \"{namespace}\""
        )));
    }
    if resource.namespaced {
        object["metadata"]["namespace"] = json!(namespace);
    }
    Ok(())
}

fn check_namespace(store: &Store, resource: &Resource, namespace: &str) -> Result<(), Failure> {
    if !resource.namespaced {
        return Ok(());
    }
    let namespaces = Resource::new("v1", "namespaces", "Namespace").cluster_wide();
    match store.get(&key_of(&namespaces, "", namespace)) {
        Some(_) => Ok(()),
        None => Err(Failure::not_found(&namespaces, namespace)),
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_adds_replaces_and_removes() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "list": [1, 2], "gone": true});
        merge(&mut value, &json!({"a": {"b": null, "d": {"e": null, "f": 3}}, "list": [3], "gone": null}));
        assert_eq!(value, json!({"a": {"c": 2, "d": {"f": 3}}, "list": [3]}));
    }
}
