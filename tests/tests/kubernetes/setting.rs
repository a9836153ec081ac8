//! One server with one address, and clients for it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use heddle_tests::kubernetes::ApiServer;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::raw::Raw;

/// Nothing here takes longer unless it is broken.
pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) struct Setting {
    pub(super) server: ApiServer,
    pub(super) address: SocketAddr,
}

impl Setting {
    pub(super) fn new() -> Result<Self> {
        let server = ApiServer::start()?;
        let address = server.listen()?;
        Ok(Self { server, address })
    }

    pub(super) async fn client(&self) -> Result<Client> {
        client(&self.server.kubeconfig(self.address)?).await
    }

    pub(super) async fn pods(&self) -> Result<Api<Pod>> {
        Ok(Api::namespaced(self.client().await?, "default"))
    }

    /// Puts a pod into `default`, on a node.
    pub(super) fn put_pod(&self, name: &str, node: &str) -> Result<Value> {
        self.server.put(&pod(name, node))
    }

    /// Connects without any library in between.
    pub(super) fn raw(&self) -> Result<Raw> {
        Raw::connect(self.address, self.server.ca_pem(), self.server.token())
    }

    /// Sends one request; the status and the body as JSON, null if it is none.
    pub(super) fn ask(&self, method: &str, path: &str, content_type: &str, body: &str) -> Result<(u16, Value)> {
        let mut raw = self.raw()?;
        raw.send(method, path, content_type, body)?;
        let (status, _, text) = raw.answer()?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }

    pub(super) fn get(&self, path: &str) -> Result<(u16, Value)> {
        self.ask("GET", path, "", "")
    }
}

pub(super) async fn client(kubeconfig: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

pub(super) fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "none"}]},
        "status": {"phase": "Running"},
    })
}

/// The names of a list's items.
pub(super) fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

/// A future that must end soon.
pub(super) async fn soon<T>(work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(SOON, work).await.context("it took too long")
}
