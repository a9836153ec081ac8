//! Puts the taint on one node, or takes it away, and touches nothing else.
//!
//! The taints of a node are one list, and are replaced whole: under the version of the node that was read, so that nothing
//! that somebody else writes meanwhile is lost.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::nodes::{SeenAgent, Wanted};
use crate::{ca::server::cluster::in_words, config::authority::AgentsConfig};

/// The taint.
pub(super) const KEY: &str = "heddle.io/agent-not-ready";
/// Only new pods are kept away: those that are there fail closed without their agent.
pub(super) const EFFECT: &str = "NoSchedule";

const GRANT_NODES: &str =
    "grant get and patch on nodes to this service account by a ClusterRole, or set taintNodes: false";
const GRANT_PODS: &str = "grant list and watch on pods to this service account by a ClusterRole";

/// Writes nodes.
pub(super) struct Patcher {
    nodes: Api<DynamicObject>,
    pods: Api<Pod>,
    selector: String,
}

/// Why a node is not as it was to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PatchError {
    /// It is not to be tainted: its agent is ready by now.
    AgentIsReady,
    /// Somebody else wrote it at the same time.
    Conflict,
    /// In words.
    Failed(String),
}

impl Patcher {
    pub(super) fn new(client: Client, agents: &AgentsConfig) -> Self {
        let resource = ApiResource {
            group: String::new(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            plural: "nodes".to_owned(),
        };
        let pods = Api::namespaced(client.clone(), &agents.namespace);
        Self { nodes: Api::all_with(client, &resource), pods, selector: agents.selector.clone() }
    }

    /// Makes a node as it is wanted; whether that took a change.
    pub(super) async fn make(&self, node: &str, wanted: Wanted) -> Result<bool, PatchError> {
        if wanted == Wanted::Tainted && self.has_ready_agent(node).await? {
            return Err(PatchError::AgentIsReady);
        }
        let failed =
            |error: kube::Error| PatchError::Failed(format!("reading node {node}: {}", in_words(&error, GRANT_NODES)));
        // One that is gone needs nothing.
        let Some(found) = self.nodes.get_opt(node).await.map_err(failed)? else { return Ok(false) };
        let Some(taints) = changed(&found.data["spec"]["taints"], wanted) else { return Ok(false) };
        let patch = json!({
            "metadata": {"resourceVersion": found.metadata.resource_version}, "spec": {"taints": taints},
        });
        match self.nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Err(PatchError::Conflict),
            Err(error) => Err(PatchError::Failed(format!("writing node {node}: {}", in_words(&error, GRANT_NODES)))),
        }
    }

    /// By a list of its own, since a watch that has died is silent for a while.
    async fn has_ready_agent(&self, node: &str) -> Result<bool, PatchError> {
        let params = ListParams::default().labels(&self.selector).fields(&format!("spec.nodeName={node}"));
        let listed = self.pods.list(&params).await.map_err(|error| {
            PatchError::Failed(format!("listing the agents of node {node}: {}", in_words(&error, GRANT_PODS)))
        })?;
        Ok(listed.items.iter().any(|pod| SeenAgent::of(pod).ready))
    }
}

/// The list with the taint or without it; `None` where it is so already.
pub(super) fn changed(taints: &Value, wanted: Wanted) -> Option<Value> {
    let taints = taints.as_array().map_or(&[][..], Vec::as_slice);
    let is_ours = |taint: &Value| taint["key"] == KEY && taint["effect"] == EFFECT;
    let has = taints.iter().any(is_ours);
    match wanted {
        Wanted::Tainted if !has => {
            let ours = json!({"key": KEY, "effect": EFFECT});
            Some(taints.iter().cloned().chain([ours]).collect())
        }
        Wanted::Free if has => Some(taints.iter().filter(|taint| !is_ours(taint)).cloned().collect()),
        Wanted::Tainted | Wanted::Free => None,
    }
}
