//! Where a test that needs no faults runs: on a server of its own, or on a real cluster.
//!
//! With `HEDDLE_TEST_CLUSTER=1` and `KUBECONFIG` it is that cluster, in a namespace made for the test and removed after
//! it. Both are written to through the same client and the same requests, so that a test that passes on ours says
//! something about the other. Objects of other namespaces and of cluster-wide kinds are not touched.

use std::future::Future;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::api_server::ApiServer;
use super::fresh;
use super::resource::{Registry, Resource};

/// A cluster with a namespace for one test.
pub struct Cluster {
    own: Option<ApiServer>,
    registry: Registry,
    kubeconfig: String,
    namespace: String,
    client: Client,
    /// Taken only when dropped.
    runtime: Option<Runtime>,
}

impl Cluster {
    /// Finds or starts one, and makes the namespace `heddle-<name>-<random>`.
    pub fn for_test(name: &str) -> Result<Self> {
        let (own, kubeconfig) = match real_kubeconfig()? {
            Some(kubeconfig) => (None, kubeconfig),
            None => {
                let server = ApiServer::start()?;
                let address = server.listen()?;
                let kubeconfig = server.kubeconfig(address)?;
                (Some(server), kubeconfig)
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = run(&runtime, connect(&kubeconfig))?;
        let namespace = format!("heddle-{name}-{}", &fresh::secret()[..8]);
        let registry = Registry::built_in();
        let cluster = Self { own, registry, kubeconfig, namespace, client, runtime: Some(runtime) };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace}});
        let namespaces = cluster.api(&*cluster.resource("Namespace")?);
        cluster
            .run(async { Ok(namespaces.create(&PostParams::default(), &serde_json::from_value(object)?).await?) })?;
        Ok(cluster)
    }

    /// Our server, for what only that can do; `None` on a real cluster.
    #[must_use]
    pub fn own(&self) -> Option<&ApiServer> {
        self.own.as_ref()
    }

    /// The kubeconfig, as YAML.
    #[must_use]
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// The test's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Creates or replaces an object of the test's namespace, and its status if it has one.
    pub fn put(&self, object: &Value) -> Result<Value> {
        let mut object = object.clone();
        let resource = self.resource(object["kind"].as_str().unwrap_or_default())?;
        let found = object["metadata"]["namespace"].as_str().unwrap_or(&self.namespace);
        ensure!(resource.namespaced && found == self.namespace, "only objects of {} can be put", self.namespace);
        object["metadata"]["namespace"] = json!(self.namespace);
        let name = object["metadata"]["name"].as_str().context("metadata.name is not set")?.to_owned();
        let api = self.api(&resource);
        self.run(async {
            let mut stored = write(&api, &name, object.clone()).await?;
            if resource.has_status && object.get("status").is_some() {
                object["metadata"]["resourceVersion"] = json!(stored.metadata.resource_version);
                stored = api.replace_status(&name, &PostParams::default(), &serde_json::from_value(object)?).await?;
            }
            Ok(serde_json::to_value(stored)?)
        })
    }

    /// Deletes an object of the test's namespace; one that is not there is an error.
    pub fn delete(&self, kind: &str, name: &str) -> Result<()> {
        let api = self.api(&*self.resource(kind)?);
        // Without a grace period: no kubelet may be there to end it.
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.run(async { api.delete(name, &params).await.map(drop).with_context(|| format!("deleting {kind} {name}")) })
    }

    /// An object of the test's namespace.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let api = self.api(&*self.resource(kind)?);
        let found = self.run(async { Ok(api.get_opt(name).await?) })?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// All objects of a kind in the test's namespace.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let api = self.api(&*self.resource(kind)?);
        let found = self.run(async { Ok(api.list(&ListParams::default()).await?) })?;
        found.items.into_iter().map(|object| Ok(serde_json::to_value(object)?)).collect()
    }

    /// Knows one more kind; on a real cluster it must be installed.
    pub fn register(&self, resource: Resource) {
        if let Some(own) = &self.own {
            own.register(resource.clone());
        }
        self.registry.register(resource);
    }

    fn resource(&self, kind: &str) -> Result<std::sync::Arc<Resource>> {
        self.registry.called(kind).with_context(|| format!("{kind} is not registered: call register()"))
    }

    fn api(&self, resource: &Resource) -> Api<DynamicObject> {
        let api_resource = ApiResource {
            group: resource.group.clone(),
            version: resource.version.clone(),
            api_version: resource.api_version(),
            kind: resource.kind.clone(),
            plural: resource.plural.clone(),
        };
        if resource.namespaced {
            return Api::namespaced_with(self.client.clone(), &self.namespace, &api_resource);
        }
        Api::all_with(self.client.clone(), &api_resource)
    }

    fn run<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        run(self.runtime.as_ref().context("the cluster was let go of")?, work)
    }

    fn remove_namespace(&self) -> Result<()> {
        let namespaces = self.api(&*self.resource("Namespace")?);
        self.run(async { Ok(namespaces.delete(&self.namespace, &DeleteParams::default()).await.map(drop)?) })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let removed = self.remove_namespace();
        if let Some(runtime) = self.runtime.take() {
            // Dropping it would wait, which asynchronous tests may not.
            runtime.shutdown_background();
        }
        let Err(error) = removed else { return };
        let message = format!("removing the namespace {}: {error:#}", self.namespace);
        // A second panic would abort the process and hide the first.
        if std::thread::panicking() {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{message}\n"));
        } else {
            std::panic::panic_any(message);
        }
    }
}

/// Runs on a thread of its own, because an asynchronous test may not block its own.
fn run<T: Send>(runtime: &Runtime, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| runtime.block_on(work));
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

async fn write(api: &Api<DynamicObject>, name: &str, mut object: Value) -> Result<DynamicObject> {
    match api.get_opt(name).await? {
        None => Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?),
        Some(found) => {
            object["metadata"]["resourceVersion"] = json!(found.metadata.resource_version);
            Ok(api.replace(name, &PostParams::default(), &serde_json::from_value(object)?).await?)
        }
    }
}

async fn connect(kubeconfig: &str) -> Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The kubeconfig of the real cluster, if the environment asks for one.
fn real_kubeconfig() -> Result<Option<String>> {
    match std::env::var("HEDDLE_TEST_CLUSTER").as_deref() {
        Err(_) | Ok("" | "0") => return Ok(None),
        Ok("1") => {}
        Ok(other) => bail!("HEDDLE_TEST_CLUSTER is `{other}`: set it to 1 for a real cluster, or not at all"),
    }
    let path = std::env::var("KUBECONFIG").context("HEDDLE_TEST_CLUSTER is set and KUBECONFIG is not")?;
    // Reading it resolves the relative paths in it.
    let kubeconfig = Kubeconfig::read_from(Path::new(&path)).with_context(|| format!("reading {path}"))?;
    Ok(Some(serde_saphyr::to_string(&kubeconfig)?))
}
