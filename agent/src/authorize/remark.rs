//! What policies have to say about a connection without deciding over it: AUDIT policies that match, and what would be
//! decided if the policies on trial were in force.

use std::fmt;

use super::policy::{Decision, Ruling, Verdict};
use crate::{objects::ObjectName, observe::PolicyEffect, rules::authorization_policy::Action};

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The policy that it is about.
    pub policy: ObjectName,
    /// What the policy did, as metrics have it.
    pub effect: PolicyEffect,
    text: String,
}

/// Everything that a decision has to tell.
pub(super) fn remarks(decision: &Decision<'_>) -> Vec<Remark> {
    let audits = decision.hits.iter().filter(|hit| hit.action == Action::Audit);
    let audits = audits.map(|hit| Remark {
        policy: hit.rule.policy.clone(),
        effect: if hit.is_dry_run { PolicyEffect::WouldAudit } else { PolicyEffect::Audited },
        text: hit.to_string(),
    });
    audits.chain(decision.on_trial.and_then(of_trial)).collect()
}

/// A ruling that no policy brought about says nothing about any.
fn of_trial(ruling: Ruling<'_>) -> Option<Remark> {
    let effect = match ruling.verdict() {
        Verdict::Allowed => PolicyEffect::WouldAllow,
        Verdict::Denied => PolicyEffect::WouldDeny,
    };
    Some(Remark { policy: ruling.policy()?.clone(), effect, text: format!("on trial: {ruling}") })
}

impl Remark {
    /// The policy, by the name that logs give it.
    pub fn of(&self) -> String {
        format!("AuthorizationPolicy {}", self.policy)
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
