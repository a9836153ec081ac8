//! `admission` of `ca.yaml`: the webhook that reads mesh documents before the API server stores them.

use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use super::defaults;
use crate::config::{
    Position,
    resolve::{is_label, is_subdomain},
    yaml::MapReader,
};

/// The webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionConfig {
    /// Where API servers reach it; without one there is no webhook.
    #[serde(serialize_with = "or_empty")]
    pub listen: Option<SocketAddr>,
    /// The ValidatingWebhookConfiguration whose `caBundle` it keeps; without one somebody else does.
    #[serde(serialize_with = "or_empty")]
    pub webhook: Option<String>,
    /// The namespace of documents that concern the whole mesh.
    pub root_namespace: String,
}

/// Reads it, and where `listen` is in the file.
pub(super) fn admission(root: &MapReader<'_>) -> Option<(AdmissionConfig, Position)> {
    let admission = root.map_or_empty("admission")?;
    let allowed = "an address with a port, such as 0.0.0.0:15017, or nothing for no webhook";
    let listen = admission.parsed("listen", allowed, |text| unless_empty(text, |text| text.parse().ok()));
    let allowed = "the name of a ValidatingWebhookConfiguration, or nothing to leave its caBundle alone";
    let webhook = admission
        .parsed("webhook", allowed, |text| unless_empty(text, |text| is_subdomain(text).then(|| text.to_owned())));
    let root_namespace =
        admission.parsed("rootNamespace", "the name of a namespace", |text| is_label(text).then(|| text.to_owned()));
    let position = admission.position_of("listen");
    admission.finish();
    let config = AdmissionConfig {
        listen: listen.flatten(),
        webhook: webhook.unwrap_or_else(|| Some(defaults::WEBHOOK.to_owned())),
        root_namespace: root_namespace.unwrap_or_else(|| defaults::ROOT_NAMESPACE.to_owned()),
    };
    Some((config, position))
}

/// A text that may be empty, and then means none.
fn unless_empty<T>(text: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { read(text).map(Some) }
}

fn or_empty<T: ToString, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.as_ref().map(ToString::to_string).unwrap_or_default())
}
