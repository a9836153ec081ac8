//! AuthorizationPolicy as a pure decision.
//!
//! In: the policies that select a workload ([`Snapshot::policies_of`](crate::mesh::Snapshot::policies_of)), and what is
//! known of a connection or request ([`Facts`]). Out: a [`Decision`], or an [`Explanation`] of it. Nothing here waits,
//! keeps or counts anything.
//!
//! The order: a DENY rule that matches refuses; then, where any ALLOW policy selects the workload, one of their rules must
//! match; then everything is allowed. AUDIT policies and policies on trial are evaluated and reported, and decide nothing.
//!
//! A connection that is not parsed as HTTP has no request to look at. A DENY rule then takes what it asks of requests for
//! met, and so refuses what it cannot inspect where the rest of it matches; an ALLOW or AUDIT rule that asks anything of
//! requests, a negation too, does not match. Istio's sidecars do the same but for AUDIT, which there is taken for met.
//! Before the first request of a connection that is parsed as HTTP it is the other way round, since the question is whether
//! any request could be allowed: an ALLOW rule takes what it asks of requests for met, a DENY or AUDIT rule does not match.
//! Remote addresses are not asked of requests: without a trusted proxy they are those of the connection.

mod address;
mod condition;
mod decision;
mod explain;
mod facts;
mod operation;
mod question;
mod source;
mod text;

use crate::{identify::TrustDomains, mesh::Policy};

pub use decision::{Decision, Hit, RuleRef, Ruling, Verdict};
pub use explain::{ExplainedPolicy, ExplainedRule, Explanation, Unmet, explain};
pub use facts::{Facts, RequestFacts, TokenFacts};

use decision::Tally;
use question::Question;

/// Decides. The policies are those that select the workload, in the order in which rules are to be named.
pub fn decide<'a>(policies: &[&'a Policy], domains: &TrustDomains, facts: &Facts<'_>) -> Decision<'a> {
    let mut tally = Tally::default();
    for policy in policies.iter().copied() {
        if tally.depends_on(policy) {
            tally.add(policy, Question { policy, domains, facts }.first_match());
        }
    }
    tally.into()
}
#[cfg(test)]
mod laws;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod truth;
