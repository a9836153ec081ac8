//! What would be decided over a connection that nobody has made: for who explains and simulates.
//!
//! It is decided by the functions that decide over real ones, from an identity that is only supposed. So its result is a
//! [`Judgement`] and no leave: nothing reaches an application by it.

use std::net::{IpAddr, SocketAddr};

use super::{
    AccessSettings, DecidedMode, Denied, Facts, Proven, Remark, mode, permission,
    policy::{self, RequestFacts, Ruling},
    remark, ruled, taken,
};
use crate::mesh::{Policy, Snapshot, SpiffeId, Workload};

/// What is known of a connection, whether it is proven or only supposed.
#[derive(Clone, Copy, Debug)]
pub struct Supposed<'a> {
    /// Who the client is; `None` for plaintext.
    pub identity: Option<&'a SpiffeId>,
    /// The client's address.
    pub client: IpAddr,
    /// The pod's address and port.
    pub to: SocketAddr,
}

/// What is asked about a connection.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// May it come near the pod, whatever requests it carries?
    Approach,
    /// May all its bytes reach the application?
    Bytes,
    /// May this request?
    Request(&'a RequestFacts<'a>),
}

/// What would be decided, and why.
#[derive(Debug)]
pub struct Judgement<'a> {
    /// The mode of the port.
    pub mode: DecidedMode<'a>,
    /// What the policies say, whatever the mode does.
    pub policies: policy::Explanation,
    /// What documents have to say without deciding.
    pub remarks: Vec<Remark>,
    /// Why it would be refused; `None` where it would not.
    pub denied: Option<Denied>,
}

/// Judges what is only supposed.
pub fn judge<'a>(
    snapshot: &'a Snapshot,
    settings: &AccessSettings,
    workload: &Workload,
    supposed: Supposed<'_>,
    stage: Stage<'_>,
) -> Judgement<'a> {
    let decision = ruled(snapshot, settings, workload, supposed, stage);
    let denied = taken(snapshot, settings, workload, supposed).map(drop).and_then(|()| permission(decision.ruling));
    Judgement {
        mode: mode(snapshot, settings.mtls, workload, supposed.to.port()),
        policies: policy::explain(&snapshot.policies_of(workload), &settings.domains, &supposed.at(stage)),
        remarks: remark::remarks(&decision),
        denied: denied.err(),
    }
}

/// Judges by these policies alone, whatever mode the port has and whichever policies are in force.
///
/// # Errors
/// It would be refused.
pub fn judge_policies(
    policies: &[&Policy],
    settings: &AccessSettings,
    supposed: Supposed<'_>,
    stage: Stage<'_>,
) -> Result<(), Denied> {
    permission(rule_policies(policies, settings, supposed, stage))
}

/// What these policies alone say.
pub fn rule_policies<'a>(
    policies: &[&'a Policy],
    settings: &AccessSettings,
    supposed: Supposed<'_>,
    stage: Stage<'_>,
) -> Ruling<'a> {
    policy::decide(policies, &settings.domains, &supposed.at(stage)).ruling
}

/// Why the mode of the port would refuse it, whatever the policies say.
pub fn mode_refuses(
    snapshot: &Snapshot,
    settings: &AccessSettings,
    workload: &Workload,
    supposed: Supposed<'_>,
) -> Option<Denied> {
    taken(snapshot, settings, workload, supposed).err()
}

impl<'a> From<Facts<'a>> for Supposed<'a> {
    fn from(facts: Facts<'a>) -> Self {
        Self { identity: facts.peer.map(Proven::id), client: facts.client, to: facts.to }
    }
}

impl<'a> Supposed<'a> {
    /// What policies read of it.
    pub(super) fn at(self, stage: Stage<'a>) -> policy::Facts<'a> {
        policy::Facts {
            identity: self.identity,
            source: self.client,
            remote: self.client,
            destination: self.to,
            sni: None,
            request: match stage {
                Stage::Request(request) => Some(request),
                Stage::Approach | Stage::Bytes => None,
            },
            requests_follow: matches!(stage, Stage::Approach),
        }
    }
}
