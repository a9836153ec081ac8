//! Where Kubernetes objects come from: one stream of changes, whichever source produces them.
//!
//! In: a [`Source`] of the configuration. Out: an [`ObjectStream`], whose first batch is everything that there is.
//! Nothing downstream can tell which source it was. What the objects mean for the mesh is decided in `mesh::compile`.

mod files;
pub mod intern;
mod kinds;
mod kubernetes;
mod read;
mod running;
mod set;
pub(crate) mod state;
mod status;
mod stream;

use std::path::PathBuf;

use crate::config::{Problem, Source};

pub use files::FileSourceError;
pub use kinds::{
    AddressType, ConfigMap, EndpointSlice, Map, Namespace, Node, ObjectName, OwnerReference, Place, Pod, PodPhase,
    Protocol, Service, ServiceAccount, ServiceKind, ServicePort, SliceEndpoint, SlicePort, TargetPort,
    TrafficDistribution,
};
pub use kubernetes::{EventError, EventWriter, Notice, SourceError, Written};
pub(crate) use kubernetes::{client, explain_watch, watch_all};
pub(crate) use read::CONFIGURATION_LABEL;
pub use running::{Ending, Running};
pub use set::{Kind, Object, ObjectKey, ObjectSet};
pub use state::{StateError, remove as remove_state};
pub use status::{KindReport, SourceReport, SourceStatus};
pub use stream::{Change, Changes, ObjectFeed, ObjectStream, stream};

/// The objects of a document, for tests that write theirs as YAML.
#[cfg(test)]
pub(crate) fn objects_of(file: &str, text: &str, node: &crate::config::yaml::Node) -> Vec<Object> {
    let outcomes = read::read(file, text, node).into_iter();
    let object = |outcome| match outcome {
        read::Outcome::Read(object, _) => object,
        other => panic!("not an object: {other:?}"),
    };
    outcomes.map(object).collect()
}

/// All objects in files and directories as they are now, and what of them cannot be read.
///
/// # Errors
/// A path does not exist or cannot be read.
pub fn read_once(paths: &[PathBuf]) -> Result<(ObjectSet, Vec<Problem>), FileSourceError> {
    files::read_once(paths)
}

/// All objects of a running cluster as they are now, and what of them cannot be read.
///
/// # Errors
/// It cannot be asked, or refuses.
pub async fn read_cluster(client: kube::Client) -> Result<(ObjectSet, Vec<Problem>), SourceError> {
    kubernetes::read_once(client).await
}

/// A client of the cluster that a person means: that of a kubeconfig, which kubectl would take, or of this pod.
///
/// # Errors
/// What names the cluster cannot be used.
pub async fn cluster_client(
    kubeconfig: Option<&std::path::Path>,
    context: Option<String>,
) -> Result<kube::Client, SourceError> {
    kubernetes::client_for(kubeconfig, context).await
}

/// All objects of a text, and what of them cannot be read or is passed over for want of a label.
pub(crate) fn read_text(file: &str, text: &str) -> (ObjectSet, Vec<Problem>) {
    files::read_text(file, text)
}

/// The ConfigMaps in files and directories that hold mesh documents and lack the label `heddle.io/config: "true"`, so that
/// no agent reads them.
///
/// # Errors
/// A path does not exist or cannot be read.
pub fn unlabelled(paths: &[PathBuf]) -> Result<Vec<Problem>, FileSourceError> {
    files::unlabelled(paths)
}

/// Opens the source that the configuration names; the stream already holds its first complete set. For the Kubernetes API,
/// that takes until the API server has answered, unless the state on disk serves. What it does is told in `status`.
///
/// # Errors
/// The source cannot be read, now or ever.
pub async fn open(source: &Source, state: Option<PathBuf>, status: SourceStatus) -> Result<Running, SourceError> {
    match source {
        Source::Files { path } => {
            let objects = files::open(path.clone(), "source.files.path").await?;
            status.set_live();
            Ok(Running::endless(objects))
        }
        Source::Kubernetes(settings) => kubernetes::open(settings, state, status).await,
    }
}
