//! Which nodes are to be tainted or freed, and when: pure, given the time.
//!
//! A node with a ready agent is to be free, at once. One whose agent has gone is to be tainted after the grace, one that is
//! new or has never been seen with a ready agent at once, unless it was there when this began.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use tokio::time::Instant;

use super::patch;

/// What is to be of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The taint.
    Tainted,
    /// None.
    Free,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) node: Arc<str>,
    pub(super) wanted: Wanted,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The node is so now.
    As(Wanted),
    /// It is to be looked at again, after a pause.
    Again(Duration),
    /// The API server says that its agent is ready, and the watch is behind.
    Doubtful,
}

/// A node, as an event shows it.
#[derive(Clone, Debug)]
pub(super) struct SeenNode {
    pub(super) name: Arc<str>,
    pub(super) tainted: bool,
}

/// An agent's pod, as an event shows it.
#[derive(Clone, Debug)]
pub(super) struct SeenAgent {
    pub(super) pod: Arc<str>,
    pub(super) node: Arc<str>,
    pub(super) ready: bool,
}

/// All nodes and agents.
#[derive(Debug)]
pub(super) struct Nodes {
    grace: Duration,
    nodes: BTreeMap<Arc<str>, KnownNode>,
    agents: HashMap<Arc<str>, SeenAgent>,
    /// How many ready agents each node has.
    ready: HashMap<Arc<str>, usize>,
    listed_nodes: Listing<HashMap<Arc<str>, SeenNode>>,
    listed_agents: Listing<HashMap<Arc<str>, SeenAgent>>,
}

/// Whether all of a kind were listed once, and a list that is coming in.
#[derive(Debug, Default)]
struct Listing<T> {
    complete: bool,
    coming: T,
}

#[derive(Debug)]
struct KnownNode {
    tainted: bool,
    /// From when on it is to be tainted if it has no ready agent.
    taint_from: Instant,
    /// Nothing is done before.
    rests_until: Instant,
}

impl SeenNode {
    pub(super) fn of(node: &Node) -> Self {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        let tainted =
            taints.into_iter().flatten().any(|taint| taint.key == patch::KEY && taint.effect == patch::EFFECT);
        Self { name: node.metadata.name.as_deref().unwrap_or_default().into(), tainted }
    }
}

impl SeenAgent {
    pub(super) fn of(pod: &Pod) -> Self {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready =
            conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Self {
            pod: pod.metadata.name.as_deref().unwrap_or_default().into(),
            node: node.unwrap_or_default().into(),
            ready,
        }
    }
}

impl Nodes {
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            grace,
            nodes: BTreeMap::new(),
            agents: HashMap::new(),
            ready: HashMap::new(),
            listed_nodes: Listing::default(),
            listed_agents: Listing::default(),
        }
    }

    pub(super) fn begin_nodes(&mut self) {
        self.listed_nodes.coming.clear();
    }

    pub(super) fn list_node(&mut self, node: SeenNode) {
        self.listed_nodes.coming.insert(Arc::clone(&node.name), node);
    }

    pub(super) fn end_nodes(&mut self, now: Instant) {
        let listed = std::mem::take(&mut self.listed_nodes.coming);
        self.nodes.retain(|name, _| listed.contains_key(name));
        listed.into_values().for_each(|node| self.put_node(node, now));
        self.begin(now, |this| this.listed_nodes.complete = true);
    }

    pub(super) fn put_node(&mut self, seen: SeenNode, now: Instant) {
        let node =
            self.nodes.entry(seen.name).or_insert(KnownNode { tainted: false, taint_from: now, rests_until: now });
        node.tainted = seen.tainted;
    }

    pub(super) fn remove_node(&mut self, seen: &SeenNode) {
        self.nodes.remove(&seen.name);
    }

    pub(super) fn begin_agents(&mut self) {
        self.listed_agents.coming.clear();
    }

    pub(super) fn list_agent(&mut self, agent: SeenAgent) {
        self.listed_agents.coming.insert(Arc::clone(&agent.pod), agent);
    }

    pub(super) fn end_agents(&mut self, now: Instant) {
        let listed = std::mem::take(&mut self.listed_agents.coming);
        let gone: Vec<_> = self.agents.keys().filter(|pod| !listed.contains_key(*pod)).cloned().collect();
        // Those that are there first, so that a node whose agent was replaced is never without.
        listed.into_values().for_each(|agent| self.put_agent(agent, now));
        gone.into_iter().for_each(|pod| self.forget(&pod, now));
        self.begin(now, |this| this.listed_agents.complete = true);
    }

    pub(super) fn put_agent(&mut self, agent: SeenAgent, now: Instant) {
        if agent.ready {
            *self.ready.entry(Arc::clone(&agent.node)).or_default() += 1;
        }
        if let Some(before) = self.agents.insert(Arc::clone(&agent.pod), agent) {
            self.uncount(&before, now);
        }
    }

    pub(super) fn remove_agent(&mut self, agent: &SeenAgent, now: Instant) {
        self.forget(&Arc::clone(&agent.pod), now);
    }

    fn forget(&mut self, pod: &Arc<str>, now: Instant) {
        if let Some(before) = self.agents.remove(pod) {
            self.uncount(&before, now);
        }
    }

    /// An agent is not what it was.
    fn uncount(&mut self, before: &SeenAgent, now: Instant) {
        if !before.ready {
            return;
        }
        let Some(count) = self.ready.get_mut(&before.node) else { return };
        *count -= 1;
        if *count == 0 {
            self.ready.remove(&before.node);
            if let Some(node) = self.nodes.get_mut(&before.node) {
                node.taint_from = now + self.grace;
            }
        }
    }

    /// Whether the API server has said all, and that is that there is no agent.
    pub(super) fn has_no_agents(&self) -> bool {
        self.listed_agents.complete && self.agents.is_empty()
    }

    /// How many nodes have the taint.
    pub(super) fn tainted(&self) -> usize {
        self.nodes.values().filter(|node| node.tainted).count()
    }

    /// When there is something to do next, if nothing happens.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.changes().map(|(due, _)| due).min()
    }

    /// What is to be done now, the longest overdue first.
    pub(super) fn next(&self, now: Instant) -> Option<Change> {
        let due = self.changes().filter(|(due, _)| *due <= now);
        due.min_by_key(|(due, _)| *due).map(|(_, change)| change)
    }

    fn changes(&self) -> impl Iterator<Item = (Instant, Change)> {
        let known = self.is_live() && !self.agents.is_empty();
        self.nodes.iter().filter(move |_| known).filter_map(|(name, node)| {
            let (due, wanted) = match (self.ready.contains_key(name), node.tainted) {
                (true, true) => (node.rests_until, Wanted::Free),
                (false, false) => (node.rests_until.max(node.taint_from), Wanted::Tainted),
                (true, false) | (false, true) => return None,
            };
            Some((due, Change { node: Arc::clone(name), wanted }))
        })
    }

    /// What became of a change.
    pub(super) fn settle(&mut self, node: &str, settled: Settled, now: Instant) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        match settled {
            Settled::As(wanted) => {
                node.tainted = wanted == Wanted::Tainted;
                // Whoever else takes it away has a reason, and is not to be fought with ten times a second.
                node.taint_from = node.taint_from.max(now + self.grace);
            }
            Settled::Again(pause) => node.rests_until = now + pause,
            Settled::Doubtful => node.taint_from = now + self.grace.max(DOUBT),
        }
    }

    /// One of the lists is complete. With both, the grace of the nodes that are there begins: an agent may just be restarted.
    fn begin(&mut self, now: Instant, complete: impl FnOnce(&mut Self)) {
        let was_live = self.is_live();
        complete(self);
        if !was_live && self.is_live() {
            self.nodes.values_mut().for_each(|node| node.taint_from = now + self.grace);
        }
    }

    fn is_live(&self) -> bool {
        self.listed_nodes.complete && self.listed_agents.complete
    }
}

/// For the watch to catch up.
const DOUBT: Duration = Duration::from_secs(1);
