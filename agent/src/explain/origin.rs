//! The client: who it is, whether the kernel hands its connection to the agent, and what proves its identity.

use std::{net::IpAddr, net::SocketAddr, sync::Arc};

use heddle_common::KernelEvent;

use super::{
    Unanswerable, View, World, dialled,
    question::Origin,
    report::{StepName, Verdict},
    telling::Telling,
};
use crate::{
    capture::foretell_outbound,
    mesh::{CaptureRules, Membership, Snapshot, Workload},
};

/// Pods that are named where one is not found.
const SIMILAR: usize = 8;

/// Who connects.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) workload: Option<Arc<Workload>>,
    pub(super) address: IpAddr,
}

/// What becomes of its connect().
pub(super) enum Captured {
    ByAgent(Arc<Workload>),
    PastAgent,
    StaysInPod,
}

impl Client {
    pub(super) fn of(snapshot: &Snapshot, origin: &Origin) -> Result<Self, Unanswerable> {
        let (namespace, name) = match origin {
            Origin::Address(address) => {
                return Ok(Self { workload: snapshot.workload(*address).cloned(), address: *address });
            }
            Origin::Pod { namespace, name } => (namespace, name),
        };
        let all = snapshot.workloads();
        let mut of_namespace = all.iter().filter(|workload| *workload.namespace == **namespace);
        let Some(workload) = of_namespace.clone().find(|workload| *workload.name == **name) else {
            let known = of_namespace.by_ref().take(SIMILAR).map(|workload| workload.name.to_string()).collect();
            return Err(Unanswerable::Pod { namespace: namespace.clone(), name: name.clone(), known });
        };
        let address = workload.addresses.first().copied();
        let address = address.ok_or_else(|| Unanswerable::PodWithoutAddress(format!("{namespace}/{name}")))?;
        Ok(Self { workload: Some(Arc::clone(workload)), address })
    }

    pub(super) fn as_dialling(&self) -> dialled::Client<'_> {
        dialled::Client { namespace: self.workload.as_deref().map(|pod| &*pod.namespace), address: self.address }
    }

    /// The client's address as the server sees it: of the family that was dialled.
    pub(super) fn address_towards(&self, to: SocketAddr) -> IpAddr {
        let addresses = self.workload.iter().flat_map(|workload| workload.addresses.iter());
        let same = addresses.copied().find(|address| address.is_ipv4() == to.is_ipv4());
        same.unwrap_or(self.address)
    }

    /// Whether the kernel hands its connection to the agent.
    pub(super) fn capture(&self, world: &World<'_>, to: SocketAddr, telling: &mut Telling) -> Captured {
        let Some(workload) = &self.workload else {
            let step = telling.step(StepName::Capture, format!("{} is no pod that the mesh knows", self.address));
            step.verdict(Verdict::Bypasses).because("only the connections of enrolled pods are captured");
            return Captured::PastAgent;
        };
        let pod = format!("pod {}/{}", workload.namespace, workload.name);
        if workload.membership == Membership::Outside {
            let step =
                telling.step(StepName::Capture, format!("{pod} is not enrolled: it connects as if there were no mesh"));
            step.verdict(Verdict::Bypasses).because(
                "neither it nor its namespace has the label heddle.io/mesh: enabled, or it uses the node's own network",
            );
            return Captured::PastAgent;
        }
        let rules = (world.capture)(workload);
        if rules.is_none() {
            telling.note(format!(
                "which ports and networks are excluded for {pod} is known on its own node, {}; taken for none",
                workload.node
            ));
        }
        let rules = rules.unwrap_or_default();
        match foretell_outbound(&workload.addresses, &rules, to) {
            None => {
                let step = telling.step(
                    StepName::Capture,
                    format!("the kernel hands the connection to the agent of {}", workload.node),
                );
                step.because(format!("{pod} is enrolled, and nothing excludes {to}{}", exclusions(&rules)));
                Captured::ByAgent(Arc::clone(workload))
            }
            Some(event) => {
                let step = telling.step(
                    StepName::Capture,
                    format!("the kernel lets the connection pass the agent by ({})", event.name()),
                );
                step.verdict(Verdict::Bypasses).because(passed_by(event, &pod, &rules, to));
                match event {
                    KernelEvent::OutboundLocal => Captured::StaysInPod,
                    _ => Captured::PastAgent,
                }
            }
        }
    }
}

fn passed_by(event: KernelEvent, pod: &str, rules: &CaptureRules, to: SocketAddr) -> String {
    match event {
        KernelEvent::OutboundLocal => format!("{to} is the pod itself"),
        KernelEvent::OutboundExcludedPort => {
            format!("port {} is excluded for {pod}: an annotation or a Capture document says so", to.port())
        }
        KernelEvent::OutboundExcludedNetwork => {
            let networks: Vec<String> = rules.exclude_outbound_cidrs.iter().map(ToString::to_string).collect();
            format!("{} is in a network that is excluded for {pod}: {}", to.ip(), networks.join(", "))
        }
        other => format!("the kernel counts it as {}", other.name()),
    }
}

/// What is excluded otherwise.
fn exclusions(rules: &CaptureRules) -> String {
    let ports = rules.exclude_outbound_ports.iter().map(|port| format!("port {port}"));
    let networks = rules.exclude_outbound_cidrs.iter().map(ToString::to_string);
    match ports.chain(networks).collect::<Vec<_>>() {
        none if none.is_empty() => String::new(),
        some => format!(" (excluded are {})", some.join(", ")),
    }
}

/// Tells the identity of a pod whose connection the agent has; whether it can be proven.
pub(super) fn identity(world: &World<'_>, source: &Workload, telling: &mut Telling) -> bool {
    let id = &source.identity;
    let (certificates, node) = match world.view {
        View::Objects => {
            let step = telling.step(StepName::Identity, id.to_string());
            step.because(
                "the kernel accepts the connection inside the pod's network namespace: that proves whose it is",
            );
            return true;
        }
        View::Agent { certificates, node } => (certificates, node),
    };
    if *source.node != *node {
        telling.note(format!(
            "the client runs on node {}: the state of its certificate and the scores of endpoints are known to the agent \
             there, and those of node {node} are shown; ask there for its own",
            source.node
        ));
        telling.step(StepName::Identity, id.to_string());
        return true;
    }
    let held = certificates.status().into_iter().find(|held| held.id == *id);
    let state = held.as_ref().map_or("not held here", |held| held.state.as_str());
    let is_usable = certificates.get(id).is_some();
    let step = telling.step(StepName::Identity, format!("{id}, certificate {state}"));
    step.because("the kernel accepts the connection inside the pod's network namespace: that proves whose it is");
    if let Some(error) = held.and_then(|held| held.last_error) {
        step.because(format!("the last request for a certificate failed: {error}"));
    }
    is_usable
}
