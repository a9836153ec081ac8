//! The taint of nodes without a ready agent, so that no pod is scheduled where nothing would protect it.
//!
//! In: watches of nodes and of the agents' pods. Out: one taint, put on and taken away. `nodes` decides, without any
//! I/O; `patch` asks the API server whether that is still so, and writes. It is the authority that does this and not the
//! agents, since whoever takes a node over has its agent's rights, and could free other nodes of their taint.
//!
//! Several replicas do the same, and each looks before it writes. While the API server is away nothing happens. Where there is no pod of
//! an agent at all, Heddle is being installed or removed, or the selector is wrong: then no node is touched, since all of
//! them would be.

mod nodes;
mod patch;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use self::{
    nodes::{Change, Nodes, SeenAgent, SeenNode, Settled, Wanted},
    patch::{PatchError, Patcher},
};
use crate::{
    config::authority::AgentsConfig,
    objects::{Kind, explain_watch, watch_all},
    observe::{AuthorityMetrics, NodePatchResult},
};

/// Keeps the taint of all nodes.
pub struct Tainting {
    client: Client,
    agents: AgentsConfig,
    metrics: AuthorityMetrics,
    nodes: Nodes,
    patcher: Patcher,
    told: Told,
}

/// What the log has said last, so that nothing is said with each try.
#[derive(Default)]
struct Told {
    watch: Option<String>,
    patch: Option<String>,
    no_agents: bool,
}

impl Tainting {
    /// Knows nothing before [`Self::follow`] runs.
    pub fn new(client: Client, agents: AgentsConfig, metrics: AuthorityMetrics) -> Self {
        let (nodes, patcher) = (Nodes::new(agents.grace), Patcher::new(client.clone(), &agents));
        Self { client, agents, metrics, nodes, patcher, told: Told::default() }
    }

    /// Keeps it for ever.
    pub async fn follow(mut self) {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.agents.namespace);
        let mut agents = watch_all(pods, &self.agents.selector);
        let mut nodes = watch_all(Api::<Node>::all(self.client.clone()), &self.agents.node_selector);
        let mut rest = Instant::now();
        loop {
            let wake = self.nodes.due_at().map_or_else(|| Instant::now() + IDLE, |due| due.max(rest));
            tokio::select! {
                // What is known first, so that nothing is written by what is known to be over.
                biased;
                Some(event) = agents.next() => self.take_agents(event),
                Some(event) = nodes.next() => self.take_nodes(event),
                () = sleep_until(wake) => {
                    if let Some(change) = self.nodes.next(Instant::now()) {
                        self.make(change).await;
                        rest = Instant::now() + APART;
                    }
                }
            }
            self.metrics.set_nodes_tainted(self.nodes.tainted());
        }
    }

    fn take_agents(&mut self, event: Result<Event<Pod>, watcher::Error>) {
        let now = Instant::now();
        match event {
            Ok(Event::Init) => self.nodes.begin_agents(),
            Ok(Event::InitApply(pod)) => self.nodes.list_agent(SeenAgent::of(&pod)),
            Ok(Event::InitDone) => {
                self.nodes.end_agents(now);
                self.told.watch = None;
            }
            Ok(Event::Apply(pod)) => self.nodes.put_agent(SeenAgent::of(&pod), now),
            Ok(Event::Delete(pod)) => self.nodes.remove_agent(&SeenAgent::of(&pod), now),
            Err(error) => self.watch_failed(Kind::Pod, &error),
        }
        self.tell_of_no_agents();
    }

    fn take_nodes(&mut self, event: Result<Event<Node>, watcher::Error>) {
        let now = Instant::now();
        match event {
            Ok(Event::Init) => self.nodes.begin_nodes(),
            Ok(Event::InitApply(node)) => self.nodes.list_node(SeenNode::of(&node)),
            Ok(Event::InitDone) => {
                self.nodes.end_nodes(now);
                self.told.watch = None;
            }
            Ok(Event::Apply(node)) => self.nodes.put_node(SeenNode::of(&node), now),
            Ok(Event::Delete(node)) => self.nodes.remove_node(&SeenNode::of(&node)),
            Err(error) => self.watch_failed(Kind::Node, &error),
        }
    }

    fn watch_failed(&mut self, kind: Kind, error: &watcher::Error) {
        self.metrics.node_watch_problem();
        let problem = explain_watch(kind, error);
        if self.told.watch.as_ref() != Some(&problem) {
            error!("taintNodes: {problem}; no node is tainted or freed by what is not known");
        }
        self.told.watch = Some(problem);
    }

    fn tell_of_no_agents(&mut self) {
        let none = self.nodes.has_no_agents();
        if none && !self.told.no_agents {
            let AgentsConfig { namespace, selector, .. } = &self.agents;
            warn!(
                "taintNodes: namespace {namespace} has no pod with {selector}; no node is touched before there is one, \
                 and if agents run, correct agents in ca.yaml"
            );
        }
        self.told.no_agents = none;
    }

    async fn make(&mut self, change: Change) {
        let Change { node, wanted } = change;
        let making = timeout(ANSWER_WITHIN, self.patcher.make(&node, wanted));
        let made = making.await.unwrap_or_else(|_| {
            Err(PatchError::Failed(format!("no answer of the API server within {ANSWER_WITHIN:?}")))
        });
        let (result, settled) = match made {
            Ok(true) => {
                info!(%node, tainted = wanted == Wanted::Tainted, "the taint {} was changed", patch::KEY);
                self.told.patch = None;
                let result = match wanted {
                    Wanted::Tainted => NodePatchResult::Tainted,
                    Wanted::Free => NodePatchResult::Freed,
                };
                (result, Settled::As(wanted))
            }
            Ok(false) => (NodePatchResult::Unchanged, Settled::As(wanted)),
            Err(PatchError::AgentIsReady) => (NodePatchResult::Unchanged, Settled::Doubtful),
            Err(PatchError::Conflict) => {
                debug!(%node, "somebody else wrote the node at the same time");
                (NodePatchResult::Conflict, Settled::Again(CONFLICT_PAUSE.mul_f64(0.5 + fastrand::f64())))
            }
            Err(PatchError::Failed(problem)) => {
                self.patch_failed(&node, problem);
                (NodePatchResult::Failed, Settled::Again(FAILURE_PAUSE.mul_f64(0.5 + fastrand::f64())))
            }
        };
        self.metrics.node_patch(result);
        self.nodes.settle(&node, settled, Instant::now());
    }

    fn patch_failed(&mut self, node: &Arc<str>, problem: String) {
        if self.told.patch.as_ref() != Some(&problem) {
            error!(%node, "taintNodes: {problem}");
        }
        self.told.patch = Some(problem);
    }
}

/// Between two changes: 5,000 nodes that have lost their agents at once are tainted within nine minutes, and the API
/// server is asked for thirty things a second at most.
const APART: Duration = Duration::from_millis(100);

/// Three requests, which take milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Others write a node now and then, and not all the time.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

/// An API server that is away, or does not let us.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// While there is nothing to do, only events wake it.
const IDLE: Duration = Duration::from_secs(3600);
