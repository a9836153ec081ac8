//! What new AuthorizationPolicies would change over flows that were recorded: who would newly be refused, and who allowed.
//!
//! In: recorded [`Flow`]s, the mesh as it is, and policies to add or replace. Out: a [`Forecast`], with counts. Each flow is
//! judged twice by the decision that judges connections, with the policies in force and with the new ones. Flows have no
//! headers, no tokens, and no address of clients that proved who they are: where a verdict depends on these, it cannot be
//! judged, and is said so (`unseen.rs`).

#[cfg(test)]
mod tests;
mod unseen;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::HeaderMap;
use serde::Serialize;

use crate::{
    authorize::{AccessSettings, Stage, Supposed, judge_policies, mode_refuses, policy::RequestFacts},
    mesh::{Policy, Snapshot, SpiffeId, Workload},
    observe::{Flow, FlowClient, Flows},
};
use unseen::{Bent, Unseen};

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

/// What a flow comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Allowed(String),
    Denied(String),
    Unknown(String),
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
        match (change.verdict(workload, flow, false), change.verdict(workload, flow, true)) {
            (Verdict::Allowed(_), Verdict::Denied(why)) => forecast.newly_denied.push(changed(why)),
            (Verdict::Denied(_), Verdict::Allowed(why)) => forecast.newly_allowed.push(changed(why)),
            // What it depends on is as it was.
            (before, after) if before == after => forecast.unchanged += flow.count,
            (Verdict::Unknown(why), _) | (_, Verdict::Unknown(why)) => forecast.cannot_be_judged.push(changed(why)),
            _ => forecast.unchanged += flow.count,
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

    fn verdict(&self, workload: &Workload, flow: &Flow, with_new: bool) -> Verdict {
        let identity: Option<SpiffeId> = match &flow.client {
            FlowClient::Identity(identity) => Some(identity.clone()),
            FlowClient::Address(_) => None,
        };
        let client = match &flow.client {
            // It is not recorded, and nothing that is asked depends on it: such policies cannot be judged.
            FlowClient::Identity(_) => IpAddr::from([0, 0, 0, 0]),
            FlowClient::Address(address) => *address,
        };
        let to = SocketAddr::new(workload.addresses.first().copied().unwrap_or(client), flow.port);
        let supposed = Supposed { identity: identity.as_ref(), client, to };
        if let Some(denied) = mode_refuses(self.before, self.access, workload, supposed) {
            return Verdict::Denied(denied.decided_by());
        }
        let unseen = Unseen::of(flow);
        let policies = self.policies_of(workload, with_new);
        let (best, worst) = (unseen.bent(&policies, Bent::ToAllow), unseen.bent(&policies, Bent::ToRefuse));
        let judged = |bent: &[Policy]| self.judged(&bent.iter().collect::<Vec<_>>(), supposed, flow);
        match (judged(&best), judged(&worst)) {
            (Err(why), Err(_)) => Verdict::Denied(why),
            (Ok(()), Ok(())) => Verdict::Allowed("no policy refuses it any more".to_owned()),
            (Ok(()), Err(_)) | (Err(_), Ok(())) => Verdict::Unknown(unseen.why(&policies)),
        }
    }

    fn judged(&self, policies: &[&Policy], supposed: Supposed<'_>, flow: &Flow) -> Result<(), String> {
        let judge = |stage: Stage<'_>| {
            judge_policies(policies, self.access, supposed, stage).map_err(|denied| denied.decided_by())
        };
        let Some(request) = &flow.request else { return judge(Stage::Bytes) };
        judge(Stage::Approach)?;
        let facts = RequestFacts {
            method: &request.method,
            path: &request.path,
            host: request.host.as_deref().unwrap_or_default(),
            headers: &HeaderMap::new(),
            token: None,
        };
        judge(Stage::Request(&facts))
    }
}
