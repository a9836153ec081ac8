//! Connections that the agent leaves to the kernel: which, how they are told of, and that nothing which is decided can be
//! passed by them.

mod accounts;
mod changes;
mod guards;
mod restart;

use anyhow::Result;
use heddle_tests::bed::{Agent, AgentBuilder, Pod};
use heddle_tests::peer::report::ProbeReport;
use serde_json::Value;

use crate::world::{SOON, World, echoed, eventually, probe, refused};

const OPAQUE_PORTS: &str = "heddle.io/opaque-ports";

/// A world whose pod `near` says that its port 8080 carries no requests.
fn world(name: &str) -> Result<World> {
    with(name, |agent| agent)
}

fn with(name: &str, configure: impl Fn(AgentBuilder) -> AgentBuilder) -> Result<World> {
    let world = World::with(name, configure)?;
    world.near.annotate(OPAQUE_PORTS, Some("8080"))?;
    eventually("the port is opaque", SOON, || {
        Ok(of_pod(&world.a, &world.near)?["opaquePorts"] == serde_json::json!([8080]))
    })?;
    Ok(world)
}

/// What the agent has of a pod.
fn of_pod(agent: &Agent, pod: &Pod) -> Result<Value> {
    let config = agent.config_json()?;
    let workloads = config["mesh"]["workloads"].as_array().cloned().unwrap_or_default();
    Ok(workloads.into_iter().find(|workload| workload["uid"] == pod.uid()).unwrap_or_default())
}

/// What the first agent's kernel programs have counted.
fn counted(world: &World, event: &str) -> Result<f64> {
    Ok(world.a.metrics()?.sum("heddle_kernel_events_total", &[("event", event)]))
}

/// Connects until a connection goes natively: the one before has the agent decide.
pub(crate) fn warm(world: &World, from: &Pod, to: std::net::SocketAddr) -> Result<()> {
    eventually("a connection goes natively", SOON, || went_natively(world, from, to))
}

/// Connects once, and says whether that went natively.
fn went_natively(world: &World, from: &Pod, to: std::net::SocketAddr) -> Result<bool> {
    natively(world, || {
        let report: ProbeReport = probe(from, to, "word")?;
        assert!(echoed(&report, "word"), "{to}: {report:?}");
        Ok(())
    })
}

/// Whether what connects went natively.
fn natively(world: &World, connect: impl FnOnce() -> Result<()>) -> Result<bool> {
    let before = counted(world, "outbound_native")?;
    connect()?;
    Ok(counted(world, "outbound_native")? > before)
}

/// Connects several times: what the agent carries, and what would go natively after that, is refused alike.
fn stays_refused(from: &Pod, to: std::net::SocketAddr) -> Result<()> {
    for _ in 0..5 {
        assert!(refused(&probe(from, to, "word")?));
    }
    Ok(())
}

/// An AuthorizationPolicy of the namespace `default` for the pod `near`.
fn policy(action: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: near, namespace: default}}\n\
         spec: {{selector: {{matchLabels: {{app: near}}}}, action: {action}, rules: {rules}}}\n"
    )
}

/// A rule for connections of the pod `client`.
const FROM_CLIENT: &str = "[{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]";

/// Puts documents in force; an empty text takes them back.
fn in_force(world: &World, text: &str) -> Result<()> {
    world.bed.objects().put_text("documents.yaml", text)?;
    world.settle()
}
