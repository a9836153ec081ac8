//! One flow, judged with the policies in force and with the new ones.

use std::{
    mem::{Discriminant, discriminant},
    net::{IpAddr, SocketAddr},
};

use http::HeaderMap;

use super::{
    Change,
    head::Head,
    unseen::{Bent, Unseen},
};
use crate::{
    authorize::{
        Stage, Supposed, judge_policies, mode_refuses,
        policy::{RequestFacts, Ruling},
        rule_policies,
    },
    mesh::{Policy, Workload},
    observe::{Flow, FlowClient},
};

/// Why a connection that stays refused as bytes cannot be judged.
const MAY_BE_REQUESTS: &str =
    "it was refused before it said anything: had it been HTTP, some of its requests might be allowed";

/// What a flow comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed(String),
    Denied(String),
    Unknown(String),
}

/// What becomes of a flow.
#[derive(Debug)]
pub(super) enum Outcome {
    Unchanged,
    NewlyDenied(String),
    NewlyAllowed(String),
    Unknown(String),
}

/// A flow of a workload.
pub(super) struct Case<'a> {
    change: &'a Change<'a>,
    workload: &'a Workload,
    flow: &'a Flow,
    head: Option<Head<'a>>,
    supposed: Supposed<'a>,
    unseen: Unseen,
}

impl<'a> Case<'a> {
    /// Reads it; or why that cannot be.
    pub(super) fn of(change: &'a Change<'a>, workload: &'a Workload, flow: &'a Flow) -> Result<Self, String> {
        let (identity, client) = match &flow.client {
            // Its address is not recorded, and nothing that is asked depends on it: such policies cannot be judged.
            FlowClient::Identity(identity) => (Some(identity), IpAddr::from([0, 0, 0, 0])),
            FlowClient::Address(address) => (None, *address),
        };
        let to = SocketAddr::new(workload.addresses.first().copied().unwrap_or(client), flow.port);
        let head = flow.request.as_ref().map(|request| Head::of(request, to)).transpose()?;
        let supposed = Supposed { identity, client, to };
        Ok(Self { change, workload, flow, head, supposed, unseen: Unseen::of(flow) })
    }

    pub(super) fn outcome(&self) -> Outcome {
        match (self.verdict(false), self.verdict(true)) {
            (Verdict::Allowed(_), Verdict::Denied(why)) => Outcome::NewlyDenied(why),
            (Verdict::Denied(_), Verdict::Allowed(why)) => Outcome::NewlyAllowed(why),
            (Verdict::Unknown(_), Verdict::Unknown(_)) if self.depends_on_the_same() => Outcome::Unchanged,
            (_, Verdict::Unknown(why)) | (Verdict::Unknown(why), _) => Outcome::Unknown(why),
            (Verdict::Denied(_), Verdict::Denied(_)) if self.may_pass_as_requests() => {
                Outcome::Unknown(MAY_BE_REQUESTS.to_owned())
            }
            (Verdict::Allowed(_), Verdict::Allowed(_)) | (Verdict::Denied(_), Verdict::Denied(_)) => Outcome::Unchanged,
        }
    }

    pub(super) fn verdict(&self, with_new: bool) -> Verdict {
        if let Some(denied) = self.mode_refuses() {
            return Verdict::Denied(denied);
        }
        let policies = self.change.policies_of(self.workload, with_new);
        let judged = |bent: Bent| self.judged(&self.unseen.bent(&policies, bent));
        match (judged(Bent::ToAllow), judged(Bent::ToRefuse)) {
            (Err(why), Err(_)) => Verdict::Denied(why),
            (Ok(()), Ok(())) => Verdict::Allowed("no policy refuses it any more".to_owned()),
            (Ok(()), Err(_)) | (Err(_), Ok(())) => Verdict::Unknown(self.unseen.why(&policies)),
        }
    }

    fn mode_refuses(&self) -> Option<String> {
        let Change { before, access, .. } = self.change;
        mode_refuses(before, access, self.workload, self.supposed).map(|denied| denied.decided_by())
    }

    /// Whether what cannot be told depends on the same policies as before, and all others come to what they came to.
    fn depends_on_the_same(&self) -> bool {
        let split = |with_new: bool| -> (Vec<&Policy>, Vec<&Policy>) {
            let policies = self.change.policies_of(self.workload, with_new);
            policies.into_iter().partition(|policy| self.unseen.is_asked_for_by(policy))
        };
        let ((asking, others), (asking_then, others_then)) = (split(false), split(true));
        let holds_all = |some: &[&Policy], of: &[&Policy]| of.iter().all(|policy| some.contains(policy));
        let is_same = holds_all(&asking, &asking_then) && holds_all(&asking_then, &asking);
        is_same && self.kind_of_ruling(&others) == self.kind_of_ruling(&others_then) && !self.may_pass_as_requests()
    }

    /// What these policies come to; by which of their rules does not matter.
    fn kind_of_ruling<'p>(&self, policies: &[&'p Policy]) -> Discriminant<Ruling<'p>> {
        let access = self.change.access;
        self.with_stage(|stage| discriminant(&rule_policies(policies, access, self.supposed, stage)))
    }

    /// Whether a connection of which no request is known might have had some, which the new policies might let through: who is
    /// refused before anything is read of it is recorded as a connection, whatever it was about to say.
    fn may_pass_as_requests(&self) -> bool {
        let is_unread = self.flow.request.is_none() && !self.workload.is_opaque(self.flow.port);
        if !is_unread || self.mode_refuses().is_some() {
            return false;
        }
        let comes_near = |with_new: bool, bent: Bent| {
            let policies = self.unseen.bent(&self.change.policies_of(self.workload, with_new), bent);
            self.judge(&policies, Stage::Approach).is_ok()
        };
        !comes_near(false, Bent::ToRefuse) && comes_near(true, Bent::ToAllow)
    }

    fn judged(&self, policies: &[Policy]) -> Result<(), String> {
        if self.head.is_some() {
            self.judge(policies, Stage::Approach)?;
        }
        self.with_stage(|stage| self.judge(policies, stage))
    }

    fn judge(&self, policies: &[Policy], stage: Stage<'_>) -> Result<(), String> {
        let policies: Vec<&Policy> = policies.iter().collect();
        judge_policies(&policies, self.change.access, self.supposed, stage).map_err(|denied| denied.decided_by())
    }

    /// What is asked last.
    fn with_stage<T>(&self, ask: impl FnOnce(Stage<'_>) -> T) -> T {
        let Some(Head { method, path, host }) = &self.head else { return ask(Stage::Bytes) };
        ask(Stage::Request(&RequestFacts { method, path, host, headers: &HeaderMap::new(), token: None }))
    }
}
