//! What new AuthorizationPolicies would change over flows that were recorded: who would newly be refused, and who allowed.
//!
//! In: recorded [`Flow`]s, the mesh as it is, and policies to add or replace. Out: a [`Forecast`], with counts. Each flow is
//! judged twice by the decision that judges connections, with the policies in force and with the new ones. Flows have no
//! headers, no tokens, and no address of clients that proved who they are: where a verdict depends on these, it cannot be
//! judged, and is said so (`unseen.rs`). What they have is read as the data path reads it (`head.rs`).

mod case;
mod head;
mod new;
#[cfg(test)]
mod tests;
mod unseen;

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

pub use new::{BadPolicies, new_policies};

use crate::{
    authorize::AccessSettings,
    mesh::{Policy, Snapshot, Workload},
    objects::{ConfigMap, Object, ObjectSet},
    observe::Flow,
};
use case::{Case, Outcome};

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Flows that are allowed and would be refused, the most frequent first.
    pub newly_denied: Vec<Changed>,
    /// Flows that are refused and would be allowed.
    pub newly_allowed: Vec<Changed>,
    /// Flows of which that cannot be told.
    pub cannot_be_judged: Vec<Changed>,
    /// How many connections and requests stay as they are.
    pub unchanged: u64,
    /// How many were recorded without their flow.
    pub overflow: u64,
}

/// A flow of which something would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The flow.
    #[serde(flatten)]
    pub flow: Flow,
    /// The document that would decide, or why it cannot be judged.
    pub why: String,
}

/// What a running agent is asked: some flows, and the documents that are to be new in its mesh.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// What holds the new AuthorizationPolicies.
    pub documents: Vec<ConfigMap>,
    /// Recorded flows.
    pub flows: Vec<Flow>,
}

/// The mesh, and what is to be new in it.
pub struct Change<'a> {
    /// The mesh as it is.
    pub before: &'a Snapshot,
    /// Only the new policies.
    pub policies: &'a Snapshot,
    /// What agent.yaml says about access.
    pub access: &'a AccessSettings,
}

/// Judges all flows.
pub fn simulate(change: &Change<'_>, flows: &[Flow]) -> Forecast {
    let mut forecast = Forecast::default();
    let workloads = by_owner(change.before);
    for flow in flows {
        let changed = |why: String| Changed { flow: flow.clone(), why };
        let Some(workload) = workloads.get(&(flow.namespace.as_str(), flow.workload.as_str())) else {
            forecast.cannot_be_judged.push(changed("the mesh has no pod of this workload any more".to_owned()));
            continue;
        };
        match Case::of(change, workload, flow).map_or_else(Outcome::Unknown, |case| case.outcome()) {
            Outcome::Unchanged => forecast.unchanged = forecast.unchanged.saturating_add(flow.count),
            Outcome::NewlyDenied(why) => forecast.newly_denied.push(changed(why)),
            Outcome::NewlyAllowed(why) => forecast.newly_allowed.push(changed(why)),
            Outcome::Unknown(why) => forecast.cannot_be_judged.push(changed(why)),
        }
    }
    forecast.in_order()
}

/// A pod of each workload.
fn by_owner(mesh: &Snapshot) -> HashMap<(&str, &str), &Arc<Workload>> {
    let mut pods = HashMap::new();
    for pod in mesh.workloads() {
        pods.entry((&*pod.namespace, &*pod.owner)).or_insert(pod);
    }
    pods
}

impl Forecast {
    /// Adds what was found of other flows.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.newly_denied.extend(other.newly_denied);
        self.newly_allowed.extend(other.newly_allowed);
        self.cannot_be_judged.extend(other.cannot_be_judged);
        self.unchanged = self.unchanged.saturating_add(other.unchanged);
        self.overflow = self.overflow.saturating_add(other.overflow);
        self.in_order()
    }

    fn in_order(mut self) -> Self {
        for list in [&mut self.newly_denied, &mut self.newly_allowed, &mut self.cannot_be_judged] {
            list.sort_by_key(|changed| Reverse(changed.flow.count));
        }
        self
    }
}

impl Proposal {
    /// Its documents as the objects that they are.
    pub fn objects(&self) -> ObjectSet {
        let mut objects = ObjectSet::default();
        for map in &self.documents {
            objects.insert(Object::ConfigMap(Arc::new(map.clone())));
        }
        objects
    }
}

impl Change<'_> {
    /// The policies that select a workload, with the new ones in place of those that they replace.
    fn policies_of(&self, workload: &Workload, with_new: bool) -> Vec<&Policy> {
        let before = self.before.policies_of(workload);
        if !with_new {
            return before;
        }
        let is_replaced = |policy: &&Policy| self.policies.rules().keys().any(|key| key.name == policy.name);
        let kept = before.into_iter().filter(|policy| !is_replaced(policy));
        kept.chain(self.policies.policies_of(workload)).collect()
    }
}
