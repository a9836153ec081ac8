//! All objects of a cluster as they are now, for commands that look once.
//!
//! The same lists and the same readers as an agent's. The first failure ends it: a person waits, and can try again.

use std::path::Path;

use futures_util::{StreamExt, stream::select_all};
use kube::{Client, Config};

use super::{SourceError, client, collect::Collector, explain::explain, watch::watch};
use crate::{
    config::{KubernetesSource, Problem},
    objects::{Kind, ObjectSet, SourceStatus},
};

/// A client of the cluster that a person means. Without a kubeconfig it is the one that kubectl would ask, or that of this pod.
pub(in crate::objects) async fn client_for(
    kubeconfig: Option<&Path>,
    context: Option<String>,
) -> Result<Client, SourceError> {
    let status = SourceStatus::default();
    status.will_watch();
    match (kubeconfig, context) {
        (None, None) => client::build(Config::infer().await.map_err(SourceError::Nowhere)?, &status),
        (kubeconfig, context) => {
            let kubeconfig = Some(kubeconfig.map_or_else(default_kubeconfig, Path::to_owned));
            client::connect(&KubernetesSource { kubeconfig, context, documents: None }, &status).await
        }
    }
}

/// Where kubectl looks, when only a context is given.
fn default_kubeconfig() -> std::path::PathBuf {
    let of_home = || std::env::home_dir().unwrap_or_default().join(".kube/config");
    std::env::var_os("KUBECONFIG").map_or_else(of_home, Into::into)
}

/// Lists every kind.
pub(in crate::objects) async fn read_once(client: Client) -> Result<(ObjectSet, Vec<Problem>), SourceError> {
    let mut collector = Collector::starting_with(ObjectSet::default());
    let mut events = select_all(Kind::ALL.map(|kind| watch(client.clone(), kind)));
    while !collector.is_live() {
        let Some((kind, event)) = events.next().await else { break };
        match event {
            Ok(event) => drop(collector.take(kind, event)),
            Err(error) => return Err(SourceError::Refused(explain(kind, &error).1)),
        }
    }
    Ok((collector.in_force().clone(), collector.problems().cloned().collect()))
}
