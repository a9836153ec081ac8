//! Each kind as the API knows it, and one object as the API server sends it.

use std::borrow::Cow;

use kube::{core::DynamicResourceScope, core::ObjectMeta};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::objects::{Kind, ObjectKey, ObjectName};

/// Only ConfigMaps that are meant for the mesh: there may be thousands of others, with anything in them.
const MESH_CONFIGURATION: &str = "heddle.io/config=true";

/// The API group, version and plural of a kind.
pub(super) const fn path(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Namespace => ("", "v1", "namespaces"),
        Kind::Pod => ("", "v1", "pods"),
        Kind::Service => ("", "v1", "services"),
        Kind::EndpointSlice => ("discovery.k8s.io", "v1", "endpointslices"),
        Kind::Node => ("", "v1", "nodes"),
        Kind::ServiceAccount => ("", "v1", "serviceaccounts"),
        Kind::ConfigMap => ("", "v1", "configmaps"),
    }
}

/// The label selector of a kind's list and watch.
pub(super) const fn selector(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::ConfigMap => Some(MESH_CONFIGURATION),
        Kind::Namespace | Kind::Pod | Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::ServiceAccount => None,
    }
}

/// An object with all its JSON.
///
/// Of the metadata only what names and versions it is read here, so that nothing in one object can break the list that
/// it came with.
#[derive(Clone, Debug)]
pub(super) struct RawObject {
    metadata: ObjectMeta,
    json: Value,
}

impl RawObject {
    /// Names it, with the kind that it was asked for as.
    pub(super) fn key(&self, kind: Kind) -> ObjectKey {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        ObjectKey { kind, name: ObjectName::new(&text(&self.metadata.namespace), &text(&self.metadata.name)) }
    }

    /// The whole object. The items of a list come without kind and version, so they are put in here.
    pub(super) fn into_json(mut self, kind: Kind) -> Value {
        let (group, version, _) = path(kind);
        let version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        if let Value::Object(entries) = &mut self.json {
            entries.insert("apiVersion".to_owned(), version.into());
            entries.insert("kind".to_owned(), kind.as_str().into());
        }
        self.json
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(deserializer)?;
        let Some(found) = json.get("metadata") else { return Err(D::Error::missing_field("metadata")) };
        let text = |key: &str| found.get(key).and_then(Value::as_str).map(str::to_owned);
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, json })
    }
}

impl kube::Resource for RawObject {
    type DynamicType = Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Kind) -> Cow<'_, str> {
        kind.as_str().into()
    }

    fn group(kind: &Kind) -> Cow<'_, str> {
        path(*kind).0.into()
    }

    fn version(kind: &Kind) -> Cow<'_, str> {
        path(*kind).1.into()
    }

    fn plural(kind: &Kind) -> Cow<'_, str> {
        path(*kind).2.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
