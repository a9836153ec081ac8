//! Why a connection or request goes where it goes, or does not: every decision in order, with its reasons, and what else
//! there was.
//!
//! In: a [`Question`] and a [`World`], which is what the data path decides on: a running agent's, or objects compiled as an
//! agent would. Out: a [`Report`]. Each decision is made by the function that makes it for real connections; here they are
//! only called in turn, and what they say is written down. Where chance decides, shares are told instead of a draw. Nothing
//! is opened, charged or kept.

mod dialled;
mod endpoints;
mod offline;
mod origin;
mod past;
mod plain;
mod question;
mod report;
mod requests;
mod rule;
mod server;
mod streams;
mod telling;
#[cfg(test)]
mod tests;
mod text;
mod through;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

pub use offline::{OfflineError, Settings, explain_objects};
pub use past::{explain_ended, explain_open};
pub use question::{Asked, BadQuestion, Origin, Question, Says, Target, Written};
pub use report::{Past, Possible, Report, Step, StepName, Verdict};
pub use text::Paint;

use self::{origin::Client, telling::Telling};
use crate::{
    authorize::{AccessSettings, limits::RateLimiter, token::keys::KnownKeys},
    balance::{Balancer, breaker::Breakers, session::SessionKey},
    config::FastPath,
    identify::Certificates,
    mesh::{CaptureRules, ServiceName, Snapshot, SpiffeId, Workload},
    route::protocol::Learned,
};

/// What decisions are made on.
pub struct World<'a> {
    /// The mesh.
    pub snapshot: &'a Snapshot,
    /// What agent.yaml says about access.
    pub access: &'a AccessSettings,
    /// How endpoints do.
    pub balancer: &'a Balancer,
    /// How much is under way.
    pub breakers: &'a Breakers,
    /// How many requests there were.
    pub limiter: &'a RateLimiter,
    /// What ports were found to speak.
    pub learned: &'a Learned,
    /// The keys of tokens.
    pub keys: &'a KnownKeys,
    /// What sessions are sealed with.
    pub sessions: &'a SessionKey,
    /// How long opening a connection may take where no document says.
    pub connect_timeout: Duration,
    /// Which connections may be left to the kernel; `None` where that is not known here.
    pub fast_path: Option<FastPath>,
    /// From where it is looked at.
    pub view: View<'a>,
    /// What stays out of the mesh of a pod; `None` where that is not known here.
    pub capture: &'a dyn Fn(&Workload) -> Option<CaptureRules>,
}

/// From where the mesh is looked at.
#[derive(Clone, Copy)]
pub enum View<'a> {
    /// From a running agent.
    Agent {
        /// Its node.
        node: &'a str,
        /// The certificates of its pods.
        certificates: &'a Certificates,
    },
    /// From objects alone.
    Objects,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// It cannot be understood.
    #[error(transparent)]
    Question(#[from] BadQuestion),
    /// There is no such pod.
    #[error("there is no pod {namespace}/{name}{}; write --from NAMESPACE/POD with one that runs", similar(known))]
    Pod {
        /// The namespace that was asked for.
        namespace: String,
        /// The name.
        name: String,
        /// Pods of that namespace.
        known: Vec<String>,
    },
    /// A pod without an address.
    #[error("pod {0} has no address yet, so it connects to nothing; wait until it runs")]
    PodWithoutAddress(String),
    /// Nobody knows the name.
    #[error(
        "no Service and no ServiceEntry has the name {host:?}{}; the mesh goes by addresses, so ask with the one that it \
         resolves to",
        looked_for(tried)
    )]
    Name {
        /// The name.
        host: String,
        /// What it would be in the cluster.
        tried: Vec<String>,
    },
    /// A Service that nobody can dial.
    #[error("service {service} has neither a cluster IP nor a ready endpoint, so its name resolves to nothing")]
    NoAddress {
        /// The Service.
        service: ServiceName,
    },
    /// A Service that is another name.
    #[error("service {service} is of type ExternalName: ask with the name that it stands for, or its address")]
    ExternalName {
        /// The Service.
        service: ServiceName,
    },
    /// Nothing is known of such a connection.
    #[error("no open connection has the id {0}; heddle connections lists them")]
    NoConnection(u64),
    /// Nothing is known of such a request.
    #[error(
        "no request that ended lately has the trace id or request id {id:?}: the last {kept} ends of connections and requests of this node are \
         kept, as its access log has them{}",
        where_from(*log)
    )]
    NoTrace {
        /// The id.
        id: String,
        /// How many ends are kept.
        kept: usize,
        /// Whether the access log would have had it.
        log: AccessLogState,
    },
    /// This agent is to keep none.
    #[error(
        "this agent keeps no ends of requests, since log.remembered is 0 in its agent.yaml; set it to how many it is to keep"
    )]
    NothingKept,
    /// Not an id.
    #[error("{0:?} is not the id of a connection; heddle connections lists them")]
    NoId(String),
}

/// Whether the access log is written, beside what Telemetry documents say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogState {
    /// It is.
    On,
    /// It is not.
    Off,
}

fn where_from(log: AccessLogState) -> &'static str {
    match log {
        AccessLogState::On => "; a Telemetry document may leave some out of it",
        AccessLogState::Off => {
            ". That is off but where a Telemetry document turns it on: set log.access in agent.yaml, or heddle log-level \
             --access on"
        }
    }
}

fn similar(known: &[String]) -> String {
    match known {
        [] => String::new(),
        known => format!("; that namespace has {}", known.join(", ")),
    }
}

fn looked_for(tried: &[String]) -> String {
    match tried {
        [] => String::new(),
        tried => format!(" (looked for {})", tried.join(", ")),
    }
}

/// Explains what would come of a connection or request.
///
/// # Errors
/// There is no such client, or nothing that it could dial.
pub fn explain(world: &World<'_>, question: &Question) -> Result<Report, Unanswerable> {
    let client = Client::of(world.snapshot, &question.from)?;
    let dialled = dialled::dialled(world.snapshot, &client.as_dialling(), &question.to)?;
    let mut telling = Telling::default();
    let captured = client.capture(world, dialled.address, &mut telling);
    match captured {
        origin::Captured::ByAgent(source) => {
            through::by_agent(world, &source, &client, &dialled, question, &mut telling);
        }
        origin::Captured::StaysInPod => {
            telling.possible(telling::answered(1.0, "the pod itself gets it: the mesh has no part in it"));
        }
        origin::Captured::PastAgent => plain::past_agent(world, &client, &dialled, question, &mut telling),
    }
    Ok(report(world, question.to_string(), telling))
}

/// What arrives at a pod of the mesh, explained from there on: for connections that were seen at the server's node.
pub fn explain_arrival(world: &World<'_>, arrival: &Arrival<'_>, says: &Says, asked: String) -> Report {
    let mut telling = Telling::default();
    let carried = match (arrival.identity, says) {
        (Some(_), Says::Request(_)) => server::Carried::Requests,
        _ => server::Carried::ByNobody,
    };
    let told = server::Told { share: 1.0, backend: None, is_told: true, carried };
    server::arrives(world, arrival, says, told, &mut telling);
    report(world, asked, telling)
}

/// A connection that arrives at a pod.
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// The pod.
    pub workload: &'a Workload,
    /// Who the client has proved to be; `None` in plaintext.
    pub identity: Option<&'a SpiffeId>,
    /// The client's address.
    pub client: IpAddr,
    /// The address and port at which it arrives.
    pub to: SocketAddr,
}

fn report(world: &World<'_>, asked: String, telling: Telling) -> Report {
    let Telling { steps, mut result, notes } = telling;
    result.sort_by(|a, b| b.share.total_cmp(&a.share));
    let view = match world.view {
        View::Agent { node, .. } => format!("the agent of node {node}"),
        View::Objects => {
            "objects alone: nothing is known of the health and load of endpoints, of what ports were found \
                          to speak, nor of certificates"
                .to_owned()
        }
    };
    let answered = !result.is_empty() && result.iter().all(|possible| possible.answered);
    Report { asked, view, generation: world.snapshot.generation, past: Vec::new(), steps, result, answered, notes }
}
