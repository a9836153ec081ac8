//! What new AuthorizationPolicies would change over flows that were recorded: who would newly be refused, and who allowed.
//!
//! In: recorded [`Flow`]s, the mesh as it is, and policies to add or replace. Out: a [`Forecast`], with counts. Each flow is
//! judged twice by the decision that judges connections, with the policies in force and with the new ones. Flows have no
//! headers, no tokens, and no address of clients that proved who they are: where a verdict depends on these, it cannot be
//! judged, and is said so (`unseen.rs`). What they have is read as the data path reads it (`head.rs`).

mod case;
mod head;
#[cfg(test)]
mod tests;
mod unseen;

use std::sync::Arc;

use serde::Serialize;

use crate::{
    authorize::AccessSettings,
    mesh::{Policy, Snapshot, Workload},
    observe::{Flow, Flows},
};
use case::{Case, Outcome};

/// What would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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
    /// How many were recorded without their flow, since there were too many different ones.
    pub overflow: u64,
}

/// A flow of which something would change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Changed {
    /// The flow.
    #[serde(flatten)]
    pub flow: Flow,
    /// The document that would decide, or why it cannot be judged.
    pub why: String,
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
pub fn simulate(change: &Change<'_>, flows: &Flows) -> Forecast {
    let mut forecast = Forecast { overflow: flows.end.overflow, ..Forecast::default() };
    let workloads = change.before.workloads();
    for flow in &flows.flows {
        let is_it =
            |workload: &&&Arc<Workload>| *workload.namespace == *flow.namespace && *workload.owner == *flow.workload;
        let changed = |why: String| Changed { flow: flow.clone(), why };
        let Some(workload) = workloads.iter().find(is_it) else {
            forecast.cannot_be_judged.push(changed("the mesh has no pod of this workload any more".to_owned()));
            continue;
        };
        match Case::of(change, workload, flow).map_or_else(Outcome::Unknown, |case| case.outcome()) {
            Outcome::Unchanged => forecast.unchanged += flow.count,
            Outcome::NewlyDenied(why) => forecast.newly_denied.push(changed(why)),
            Outcome::NewlyAllowed(why) => forecast.newly_allowed.push(changed(why)),
            Outcome::Unknown(why) => forecast.cannot_be_judged.push(changed(why)),
        }
    }
    for list in [&mut forecast.newly_denied, &mut forecast.newly_allowed, &mut forecast.cannot_be_judged] {
        list.sort_by_key(|changed| std::cmp::Reverse(changed.flow.count));
    }
    forecast
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
