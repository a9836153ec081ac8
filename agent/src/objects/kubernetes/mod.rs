//! Objects from the Kubernetes API: every kind is listed and then watched, for ever.
//!
//! In: where the API server is. Out: the same stream as from files, read by the same readers. Until every kind has been
//! listed, the state on disk is in force, where there is one; what is listed then replaces it in one step. While the API
//! server is away, the last known objects stay in force. Nothing is written to the API but Events on ConfigMaps.

mod client;
mod collect;
mod documents;
mod events;
mod explain;
mod once;
mod resource;
mod run;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use std::path::PathBuf;

use futures_util::stream::{SelectAll, select_all};
use kube::Client;

pub use events::{EventError, EventWriter, Notice, Written};
pub(super) use once::{client_for, read_once};
pub(crate) use watch::watch_all;

use self::{
    collect::Collector,
    documents::Documents,
    run::{Keeping, Run},
    watch::watch,
};
use super::{FileSourceError, Kind, ObjectSet, Running, SourceStatus, state::StateDirectory};
use crate::config::{KubernetesSource, Problem};

/// Why the Kubernetes API cannot serve as a source. An API server that does not answer is no such reason: it is waited for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// What Kubernetes gives to each pod is not there.
    #[error(
        "cannot use the service account of this pod: {0}; run the agent in a pod with automountServiceAccountToken, or set source.kubernetes.kubeconfig"
    )]
    InCluster(#[source] kube::config::InClusterError),
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig {}: {source}; correct it or source.kubernetes", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: kube::config::KubeconfigError,
    },
    /// Neither a kubeconfig nor the service account of a pod.
    #[error("no cluster to ask: {0}; name one with --kubeconfig FILE")]
    Nowhere(#[source] kube::config::InferConfigError),
    /// A list could not be had.
    #[error("{0}")]
    Refused(String),
    /// The client could not be set up.
    #[error("cannot set up a client of the API server {server}: {source}")]
    Client {
        /// Its address.
        server: String,
        /// What is wrong.
        source: kube::Error,
    },
    /// A directory of objects or documents cannot be read.
    #[error(transparent)]
    Directory(#[from] FileSourceError),
}

/// A client for another purpose than a source: its watches are kept apart likewise.
///
/// # Errors
/// What names the API server cannot be used.
pub(crate) async fn client(settings: &KubernetesSource) -> Result<Client, SourceError> {
    let status = SourceStatus::default();
    status.will_watch();
    client::connect(settings, &status).await
}

/// What a failed list or watch means, and what to do about it.
pub(crate) fn explain_watch(kind: Kind, error: &kube::runtime::watcher::Error) -> String {
    explain::explain(kind, error).1
}

/// Lists and watches all kinds in a task that ends with the stream. Returns when the objects of the state on disk, or else
/// all of the API server's, are in the stream.
///
/// # Errors
/// Nothing can be asked, or the directory of documents cannot be read.
pub(super) async fn open(
    settings: &KubernetesSource,
    state: Option<PathBuf>,
    status: SourceStatus,
) -> Result<Running, SourceError> {
    let client = client::connect(settings, &status).await?;
    let documents = match &settings.documents {
        Some(path) => Some(Documents::open(path.clone()).await?),
        None => None,
    };
    let events = EventWriter::new(client.clone());
    let running = open_with(client, documents, state, status).await;
    Ok(Running { events: Some(events), ..running })
}

async fn open_with(
    client: Client,
    documents: Option<Documents>,
    state: Option<PathBuf>,
    status: SourceStatus,
) -> Running {
    status.will_watch();
    let (keeping, in_force, problem) = read_state(state, &status).await;
    let events: SelectAll<_> = select_all(Kind::ALL.map(|kind| watch(client.clone(), kind)));
    let has_state = in_force.is_some();
    let collector = Collector::starting_with(in_force.unwrap_or_default());
    Run { collector, documents, events, keeping, state_problem: problem, status }.start(has_state).await
}

/// The state on disk, if it is kept at all and can be used.
async fn read_state(
    path: Option<PathBuf>,
    status: &SourceStatus,
) -> (Option<Keeping>, Option<ObjectSet>, Option<Problem>) {
    let Some(path) = path else { return (None, None, None) };
    let directory = StateDirectory::new(path.clone());
    let keeping = Keeping::new(directory.clone());
    let file = path.display().to_string();
    match tokio::task::spawn_blocking(move || directory.read()).await {
        Ok(Ok(Some(kept))) => {
            let saved = humantime::format_rfc3339_seconds(kept.saved);
            tracing::info!(%saved, "the objects of the state on disk are in force until the API server has been asked");
            status.serve_state(kept.saved);
            (Some(keeping), Some(kept.objects), None)
        }
        Ok(Ok(None)) => (Some(keeping), None, None),
        Ok(Err(error)) => {
            tracing::warn!("{error}");
            (Some(keeping), None, Some(Problem::of_file(&file, error.to_string())))
        }
        Err(_) => (Some(keeping), None, Some(Problem::of_file(&file, "reading the state was interrupted"))),
    }
}
