//! Which service accounts have a pod on which node, now.
//!
//! In: a watch of all pods. Out: an answer for a node and an account. A pod that the watch has not shown yet is looked for
//! with one list of that node's pods, since a new pod's agent asks within a second; such looks are few. Pods that have
//! ended (`Succeeded`, `Failed`) or are not on a node do not count.

mod index;
mod looks;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams, runtime::watcher::Event};
use parking_lot::{Mutex, RwLock};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use self::{
    index::{Index, PlacedPod},
    looks::Looks,
};
use super::{
    cluster::in_words,
    refusal::Refusal,
    tokens::{BoundPod, Caller},
};
use crate::{
    config::authority::AccountName,
    objects::{Kind, explain_watch, watch_all},
    observe::{AuthorityMetrics, LookResult},
};

/// Where pods are. Clones are the same.
#[derive(Clone)]
pub struct Placement(Arc<Shared>);

struct Shared {
    client: Client,
    index: RwLock<Index>,
    looks: Mutex<Looks>,
    metrics: AuthorityMetrics,
}

impl Placement {
    /// Knows nothing before [`Self::follow`] runs, and then answers by looks.
    pub fn new(client: Client, metrics: AuthorityMetrics) -> Self {
        let (index, looks) = (RwLock::default(), Mutex::new(Looks::new(Instant::now())));
        Self(Arc::new(Shared { client, index, looks, metrics }))
    }

    /// Watches pods for ever; `listed` is called when all have been listed, and each time again.
    pub async fn follow(self, listed: impl Fn()) {
        let mut events = watch_all(Api::<Pod>::all(self.0.client.clone()), "");
        let mut fresh = Index::default();
        let mut last = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.take(event, &mut fresh, &listed, &mut last),
                Err(error) => {
                    let problem = explain_watch(Kind::Pod, &error);
                    self.0.metrics.pod_watch_problem();
                    if last.as_ref() != Some(&problem) {
                        warn!("{problem}");
                    }
                    last = Some(problem);
                }
            }
        }
    }

    fn take(&self, event: Event<Pod>, fresh: &mut Index, listed: &impl Fn(), last: &mut Option<String>) {
        match event {
            Event::Init => *fresh = Index::default(),
            Event::InitApply(pod) => fresh.put(PlacedPod::of(&pod)),
            Event::InitDone => {
                *self.0.index.write() = std::mem::take(fresh);
                info!(pods = self.0.index.read().len(), "all pods are known");
                *last = None;
                listed();
            }
            Event::Apply(pod) => self.0.index.write().put(PlacedPod::of(&pod)),
            Event::Delete(pod) => self.0.index.write().remove(&PlacedPod::of(&pod)),
        }
        self.0.metrics.set_pods(self.0.index.read().len());
    }

    /// The node of the pod that a caller's token is bound to: the API server's word, or else where the pod is.
    pub(super) fn node_of(&self, caller: &Caller) -> Option<Arc<str>> {
        let BoundPod { name, uid } = caller.pod()?;
        let said = caller.node().cloned();
        said.or_else(|| self.0.index.read().node_of(&caller.account().namespace, name, uid))
    }

    /// Whether a pod of `account` is on `node`.
    pub(super) async fn runs_on(&self, node: &str, account: &AccountName) -> Result<bool, Refusal> {
        if self.0.index.read().runs_on(node, account) {
            return Ok(true);
        }
        if !self.0.looks.lock().allow(node, Instant::now()) {
            self.0.metrics.look(LookResult::Limited);
            return Err(Refusal::Busy("looks for pods that are not known yet"));
        }
        let found = self.look(node).await?.iter().any(|pod| pod.is_of(node, account));
        self.0.metrics.look(if found { LookResult::Found } else { LookResult::Absent });
        Ok(found)
    }

    async fn look(&self, node: &str) -> Result<Vec<PlacedPod>, Refusal> {
        let pods: Api<Pod> = Api::all(self.0.client.clone());
        let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let problem = match timeout(ANSWER_WITHIN, pods.list(&params)).await {
            Ok(Ok(list)) => return Ok(list.items.iter().map(PlacedPod::of).collect()),
            Ok(Err(error)) => in_words(&error, "grant list and watch on pods to this service account by a ClusterRole"),
            Err(_) => format!("no list of the pods of node {node} within {ANSWER_WITHIN:?}"),
        };
        self.0.metrics.look(LookResult::Failed);
        Err(Refusal::ApiUnavailable(problem))
    }
}

/// An API server lists a node's pods in milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
