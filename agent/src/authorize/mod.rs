//! Step 3: may they? Evaluated at the server's node, on proven identities only.
//!
//! Every connection that comes to a pod of this node, by a tunnel or without, is decided in two steps. [`approach`] decides
//! whether it may reach the pod at all: whether any bytes or requests of it could be let through. What it carries is then
//! decided as what it turned out to be: all its bytes by [`inbound`], or each of its requests by [`request`]. The results
//! can only be made here; the application is dialled only with the first, and gets bytes or a request only with the second:
//! a path that forgets to authorize does not compile. The mode of the port comes first (PeerAuthentication, else
//! agent.yaml), then the policies (AuthorizationPolicy). [`Admissions`] keeps what an open connection was decided on, and
//! decides again when access changes.

mod admissions;
pub mod limits;
mod mode;
pub mod policy;
mod remark;
mod supposed;
#[cfg(test)]
mod tests;
pub mod token;

use std::net::{IpAddr, SocketAddr};

pub use admissions::{Admission, Admissions, Withdrawn, access_differs, follow};
pub use mode::{DecidedMode, ModeSource, mode, takes_plaintext_only};
pub use remark::Remark;
pub use supposed::{Judgement, Stage, Supposed, judge, judge_policies, mode_refuses, rule_policies};

use self::policy::Ruling;
use crate::{
    capture::ByNamespace,
    config::MtlsMode,
    identify::{TrustDomains, VerifiedPeer},
    mesh::{Mode, Snapshot, SpiffeId, Workload},
    objects::ObjectName,
    observe::{DenialReason, Observer, PolicyEffect},
};

/// What agent.yaml says about access to the pods of this node.
#[derive(Clone, Debug)]
pub struct AccessSettings {
    /// The mode of ports of which no document says one.
    pub mtls: MtlsMode,
    /// The trust domains that are one and the same to policies.
    pub domains: TrustDomains,
}

/// Who a client has proved to be, and by what.
#[derive(Clone, Copy, Debug)]
pub enum Proven<'a> {
    /// By its certificate, in a handshake.
    ByCertificate(&'a VerifiedPeer),
    /// By the network namespace of this node that the kernel has seen it in.
    ByNamespace(&'a ByNamespace),
}

/// What is known of a connection to a pod of this node.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who its client has proved to be; `None` for one that has proved nothing.
    pub peer: Option<Proven<'a>>,
    /// The client's address, which proves nothing.
    pub client: IpAddr,
    /// The pod's address and port.
    pub to: SocketAddr,
}

/// An answer, and what else there is to tell.
#[derive(Debug)]
pub struct Answer<T> {
    /// The answer.
    pub leave: Result<T, Denied>,
    /// What documents have to say that do not decide. Empty as a rule.
    pub remarks: Vec<Remark>,
}

/// Leave to connect to the application, and to look at what the client sends.
#[derive(Clone, Copy, Debug)]
pub struct Approach {
    mode: Mode,
}

/// Leave for all bytes of a connection to reach the application.
#[derive(Debug)]
pub struct Permitted(());

/// Leave for one request to reach the application.
#[derive(Debug)]
pub struct PermittedRequest(());

/// Why a connection or request may not reach the application.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It came without a tunnel and the mode is STRICT.
    #[error("plaintext, and {}: enrol the client's pod, or say PERMISSIVE there", strict(.0))]
    Plaintext(ModeSource),
    /// A DENY policy has a rule that matches.
    #[error("denied by rules[{rule}] of AuthorizationPolicy {policy}")]
    Policy {
        /// The policy.
        policy: ObjectName,
        /// Counts from 0.
        rule: usize,
    },
    /// ALLOW policies select the workload, and none has a rule that matches.
    #[error("no rule of an ALLOW policy that selects the pod matches; the first is AuthorizationPolicy {first}")]
    NothingAllows {
        /// The first of them.
        first: ObjectName,
    },
}

/// Decides whether a connection may come to a workload of this node, before anything of it was read: in plaintext, and for
/// whichever requests it may carry. It reads nothing but its arguments, like the others.
pub fn approach(
    snapshot: &Snapshot,
    settings: &AccessSettings,
    workload: &Workload,
    facts: Facts<'_>,
) -> Result<Approach, Denied> {
    let mode = taken(snapshot, settings, workload, facts.into())?.mode;
    permission(ruled(snapshot, settings, workload, facts.into(), Stage::Approach).ruling)?;
    Ok(Approach { mode })
}

/// Decides over all bytes of a connection that carries no requests.
pub fn inbound(
    snapshot: &Snapshot,
    settings: &AccessSettings,
    workload: &Workload,
    facts: Facts<'_>,
) -> Answer<Permitted> {
    decide(snapshot, settings, workload, facts, Stage::Bytes, Permitted(()))
}

/// Decides over one request of a connection.
pub fn request(
    snapshot: &Snapshot,
    settings: &AccessSettings,
    workload: &Workload,
    facts: Facts<'_>,
    request: &policy::RequestFacts<'_>,
) -> Answer<PermittedRequest> {
    decide(snapshot, settings, workload, facts, Stage::Request(request), PermittedRequest(()))
}

fn decide<T>(
    snapshot: &Snapshot,
    settings: &AccessSettings,
    workload: &Workload,
    facts: Facts<'_>,
    stage: Stage<'_>,
    leave: T,
) -> Answer<T> {
    // Again for each request: the mode may have changed since the connection came.
    if let Err(denied) = taken(snapshot, settings, workload, facts.into()) {
        return Answer { leave: Err(denied), remarks: Vec::new() };
    }
    let decision = ruled(snapshot, settings, workload, facts.into(), stage);
    Answer { leave: permission(decision.ruling).map(|()| leave), remarks: remark::remarks(&decision) }
}

/// The mode of the port, if it takes the connection.
fn taken<'a>(
    snapshot: &'a Snapshot,
    settings: &AccessSettings,
    workload: &Workload,
    supposed: Supposed<'_>,
) -> Result<DecidedMode<'a>, Denied> {
    let decided = mode(snapshot, settings.mtls, workload, supposed.to.port());
    match takes(decided.mode, supposed.identity.is_some()) {
        true => Ok(decided),
        false => Err(Denied::Plaintext(decided.source())),
    }
}

/// What the policies say.
fn ruled<'a>(
    snapshot: &'a Snapshot,
    settings: &AccessSettings,
    workload: &Workload,
    supposed: Supposed<'_>,
    stage: Stage<'_>,
) -> policy::Decision<'a> {
    policy::decide(&snapshot.policies_of(workload), &settings.domains, &supposed.at(stage))
}

fn permission(ruling: Ruling<'_>) -> Result<(), Denied> {
    match ruling {
        Ruling::Unrestricted | Ruling::AllowedBy(_) => Ok(()),
        Ruling::DeniedBy(by) => Err(Denied::Policy { policy: by.policy.clone(), rule: by.rule }),
        Ruling::NothingAllows(first) => Err(Denied::NothingAllows { first: first.clone() }),
    }
}

/// Whether a mode takes a connection whose client has proved who it is, or has not. Under DISABLE, tunnels still come from
/// nodes that have not seen the document yet: what is protected is no reason to refuse.
fn takes(mode: Mode, is_proven: bool) -> bool {
    match mode {
        Mode::Strict => is_proven,
        Mode::Permissive | Mode::Disable => true,
    }
}

impl<'a> Proven<'a> {
    /// The identity.
    pub fn id(self) -> &'a SpiffeId {
        match self {
            Self::ByCertificate(peer) => peer.id(),
            Self::ByNamespace(peer) => peer.id(),
        }
    }
}

impl Approach {
    /// The mode of the port.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

impl Denied {
    /// Counts a connection or request that was denied.
    pub fn count(&self, observer: &Observer) {
        observer.metrics().denied(self.reason());
        observer.policy_hit(&self.decided_by(), PolicyEffect::Denied);
    }

    /// The reason as metrics have it.
    pub fn reason(&self) -> DenialReason {
        match self {
            Self::Plaintext(_) => DenialReason::StrictMode,
            Self::Policy { .. } => DenialReason::PolicyDenies,
            Self::NothingAllows { .. } => DenialReason::NothingAllows,
        }
    }

    /// What decided, by the name that logs give it.
    pub fn decided_by(&self) -> String {
        match self {
            Self::Plaintext(source) => source.to_string(),
            Self::Policy { policy, .. } | Self::NothingAllows { first: policy } => {
                format!("AuthorizationPolicy {policy}")
            }
        }
    }
}

fn strict(source: &ModeSource) -> String {
    match source {
        ModeSource::Agent => format!("{source} is STRICT"),
        ModeSource::Document { level, .. } => format!("{source} says STRICT of {level}"),
    }
}
