//! Kubernetes Events on ConfigMaps: the one thing that an agent writes to the API.
//!
//! All agents of a cluster have the same to say. The name of an Event is therefore made of what it says, and the second
//! agent that says it is told that it exists.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::json;

use crate::objects::ObjectName;

/// The API takes 1,024 bytes of a message.
const LONGEST_MESSAGE: usize = 1024;

/// A name has at most 253 characters, and ends with a hash of 16 and a dot.
const LONGEST_NAME: usize = 253 - 17;

/// What is to be said about a ConfigMap.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The ConfigMap.
    pub config_map: ObjectName,
    /// Its `metadata.uid`.
    pub uid: Option<Arc<str>>,
    /// In one word, in upper camel case.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// There is an Event more.
    New,
    /// Another agent has said it, or this one before.
    Exists,
}

/// Why an Event could not be written.
#[derive(Debug)]
pub struct EventError(kube::Error);

/// Writes Events.
#[derive(Clone)]
pub struct EventWriter {
    client: Client,
}

impl EventWriter {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Writes one, as an agent of a node.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses.
    pub async fn write(&self, notice: &Notice, node: &str) -> Result<Written, EventError> {
        let resource = ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: "Event".to_owned(),
            plural: "events".to_owned(),
        };
        let events =
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &notice.config_map.namespace, &resource);
        let event =
            serde_json::from_value(notice.event(node)).map_err(|error| EventError(kube::Error::SerdeError(error)))?;
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => Ok(Written::New),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Written::Exists),
            Err(error) => Err(EventError(error)),
        }
    }
}

impl Notice {
    fn event(&self, node: &str) -> serde_json::Value {
        let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let ObjectName { namespace, name } = &self.config_map;
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": self.event_name(), "namespace": namespace},
            "type": "Warning", "reason": self.reason, "message": cut(&self.message, LONGEST_MESSAGE),
            "involvedObject": {
                "apiVersion": "v1", "kind": "ConfigMap", "namespace": namespace, "name": name, "uid": self.uid.as_deref(),
            },
            "source": {"component": "heddle", "host": node},
            "reportingComponent": "heddle.io/agent", "reportingInstance": node, "action": "Judge",
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        })
    }

    fn event_name(&self) -> String {
        let said = format!("{}\0{}\0{}", self.uid.as_deref().unwrap_or_default(), self.reason, self.message);
        let hash: String =
            digest(&SHA256, said.as_bytes()).as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // A name may not end with a dot before the next one.
        format!("{}.{hash}", cut(&self.config_map.name, LONGEST_NAME).trim_end_matches(['.', '-']))
    }
}

/// At most so many bytes of a text, whole characters.
fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

impl fmt::Debug for EventWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventWriter")
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match &self.0 {
            kube::Error::Api(status) if status.code == 403 => f.write_str(
                "; grant the verb create on events of API group \"\" to the agent's service account by a ClusterRole \
                 and a ClusterRoleBinding",
            ),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for EventError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(name: &str, message: &str) -> Notice {
        let config_map = ObjectName::new("shop", name);
        Notice { config_map, uid: Some("u".into()), reason: "DocumentRejected", message: message.into() }
    }

    #[test]
    fn what_is_said_makes_the_name_and_both_keep_within_their_limits() {
        let name = notice("routes", "wrong").event_name();
        assert_eq!(name, notice("routes", "wrong").event_name());
        assert_ne!(name, notice("routes", "wronger").event_name());
        assert!(name.starts_with("routes.") && name.len() == "routes.".len() + 16, "{name}");
        let long = notice(&("x".repeat(235) + "..."), &"é".repeat(1000));
        let (name, event) = (long.event_name(), long.event("node-a"));
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
        assert_eq!(event["message"].as_str().map(str::len), Some(1024));
    }
}
