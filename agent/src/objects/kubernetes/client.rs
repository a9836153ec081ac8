//! The client of the API server: where it is, how we prove who we are, and how long it may be silent.
//!
//! Tokens and certificate authorities that Kubernetes mounts into a pod are read again by `kube`, at least once a minute:
//! they rotate. A kubeconfig is read once.

use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{SourceError, wire::Listening};
use crate::{config::KubernetesSource, objects::SourceStatus};

/// Three lost SYNs: an API server behind a load balancer that lost a member answers at the next try.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// API servers send a bookmark into a quiet watch about once a minute. One and a half of those without a word, and the
/// connection is taken for dead; a watch that was only quiet is resumed where it was, for the price of one request.
const READ_TIMEOUT: Duration = Duration::from_secs(90);

/// Requests are a few hundred bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client whose every answer is noted in the status.
pub(super) async fn connect(settings: &KubernetesSource, status: &SourceStatus) -> Result<Client, SourceError> {
    let config = match &settings.kubeconfig {
        Some(path) => from_kubeconfig(path, settings.context.clone()).await?,
        None => Config::incluster_env().map_err(SourceError::InCluster)?,
    };
    build(config, status)
}

pub(super) fn build(mut config: Config, status: &SourceStatus) -> Result<Client, SourceError> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // Else the time that a pooled connection lay idle would count as the API server's silence.
    config.reset_reader_on_write = true;
    // Retrying is decided in one place, `watch`.
    config.default_retry = false;
    let server = config.cluster_url.to_string();
    let builder = ClientBuilder::try_from(config).map_err(|source| SourceError::Client { server, source })?;
    Ok(builder.with_layer(&Listening::new(status.clone())).build())
}

async fn from_kubeconfig(path: &Path, context: Option<String>) -> Result<Config, SourceError> {
    let unusable = |source| SourceError::Kubeconfig { path: path.to_owned(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(unusable)?;
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unusable)
}
