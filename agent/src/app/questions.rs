//! Answers questions about this node from what its data path decides on.

use std::sync::{Arc, OnceLock, Weak};

use crate::{
    admin::{self, ExplainError, SimulateError},
    explain::{self, AccessLogState, Report, Unanswerable, View, World, Written},
    mesh::{MeshSettings, Workload},
    node::Node,
    observe::{Observer, OpenView},
    simulate::{Change, Forecast, Proposal, new_policies, simulate},
};

/// Who answers. The node is there only once the objects of the mesh are known.
#[derive(Clone)]
pub(super) struct Questions {
    observer: Observer,
    settings: MeshSettings,
    node: Arc<OnceLock<Weak<Node>>>,
}

impl Questions {
    pub(super) fn new(observer: Observer, settings: MeshSettings) -> Self {
        Self { observer, settings, node: Arc::default() }
    }

    /// From now on there is something to answer from. It is not kept alive by that.
    pub(super) fn answer_from(&self, node: &Arc<Node>) {
        let _ = self.node.set(Arc::downgrade(node));
    }

    fn node(&self) -> Option<Arc<Node>> {
        self.node.get().and_then(Weak::upgrade)
    }

    fn with_world<T>(&self, answer: impl FnOnce(&World<'_>) -> Result<T, Unanswerable>) -> Result<T, ExplainError> {
        let node = self.node().ok_or(ExplainError::NotYet)?;
        let (snapshot, keys) = (node.snapshot.load(), node.token_keys.load());
        let capture = |workload: &Workload| workload.local.as_deref().map(|local| local.rules.clone());
        let world = World {
            snapshot: &snapshot,
            access: &node.access,
            balancer: &node.balancer,
            breakers: &node.breakers,
            limiter: &node.rate_limiter,
            learned: &node.learned,
            keys: &keys,
            sessions: &node.session_key,
            connect_timeout: node.limits.connect_timeout,
            fast_path: Some(node.native.setting()),
            view: View::Agent { node: &self.settings.node, certificates: &node.certificates },
            capture: &capture,
        };
        Ok(answer(&world)?)
    }

    fn connection(&self, id: &str) -> Result<Report, ExplainError> {
        let number = id.parse().map_err(|_| Unanswerable::NoId(id.to_owned()))?;
        let open = self.observer.open_connection(number).ok_or(Unanswerable::NoConnection(number))?;
        self.with_world(|world| explain::explain_open(world, &open))
    }

    fn trace(&self, id: &str) -> Result<Report, ExplainError> {
        let kept = self.observer.remembered();
        if kept == 0 {
            return Err(Unanswerable::NothingKept.into());
        }
        let ended = self.observer.ended(id);
        if ended.is_empty() {
            let log = match self.observer.access_log_is_on() {
                true => AccessLogState::On,
                false => AccessLogState::Off,
            };
            return Err(Unanswerable::NoTrace { id: id.to_owned(), kept, log }.into());
        }
        self.with_world(|world| Ok(explain::explain_ended(world, &ended)))
    }
}

impl admin::Questions for Questions {
    fn explain(&self, query: &str) -> Result<Report, ExplainError> {
        let (written, others) = Written::from_query(query)?;
        match others.as_slice() {
            [] => {
                let question = written.understood()?;
                self.with_world(|world| explain::explain(world, &question))
            }
            [(key, id)] if key == "connection" && written == Written::default() => self.connection(id),
            [(key, id)] if key == "trace" && written == Written::default() => self.trace(id),
            [(key, _), ..] => Err(explain::BadQuestion::Unknown(key.clone()).into()),
        }
    }

    fn connections(&self, most: usize) -> OpenView {
        self.observer.open_connections(most)
    }

    fn simulate(&self, proposal: &Proposal) -> Result<Forecast, SimulateError> {
        let node = self.node().ok_or(SimulateError::NotYet)?;
        let policies = new_policies(&proposal.objects(), &self.settings)?;
        let before = node.snapshot.load();
        Ok(simulate(&Change { before: &before, policies: &policies, access: &node.access }, &proposal.flows))
    }
}
