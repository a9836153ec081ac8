//! A cluster with agents and pods on two nodes, and authorities that serve it.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use heddle_tests::bed::{Process, binary};
use heddle_tests::http;
use heddle_tests::kubernetes::{ApiServer, SYSTEM_NAMESPACE, TokenUser};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::{Answer, Ask, Client};

/// Nothing here takes longer unless it is broken; the machine may be busy.
pub(super) const SOON: Duration = Duration::from_secs(60);
pub(super) const DOMAIN: &str = "cluster.local";

pub(super) struct Setting {
    pub(super) server: ApiServer,
    kubeconfig: String,
    directory: tempfile::TempDir,
}

/// One running `heddle ca`.
pub(super) struct Authority {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
    /// Where the webhook is served, if it is.
    pub(super) webhook: Option<SocketAddr>,
    metrics: SocketAddr,
    health: SocketAddr,
}

impl Setting {
    /// Pods of account `shop/web` on node-a and of `shop/db` on node-b; an agent on each.
    pub(super) fn new() -> Result<Self> {
        let server = ApiServer::start()?;
        server.install_rights()?;
        let kubeconfig = server.kubeconfig_as(server.listen()?, &server.token_of(SYSTEM_NAMESPACE, "heddle-ca"))?;
        let directory = tempfile::tempdir()?;
        let setting = Self { server, kubeconfig, directory };
        setting.server.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))?;
        std::fs::write(setting.directory.path().join("kubeconfig"), &setting.kubeconfig)?;
        setting.pod("shop", "web-0", "web", "node-a")?;
        setting.pod("shop", "db-0", "db", "node-b")?;
        setting.agent("node-a")?;
        setting.agent("node-b")?;
        Ok(setting)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Puts a running pod; gives back its uid.
    pub(super) fn pod(&self, namespace: &str, name: &str, account: &str, node: &str) -> Result<String> {
        let pod = self.server.put(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "nodeName": node, "serviceAccountName": account, "containers": [{"name": "app", "image": "none"}],
            },
            "status": {"phase": "Running"},
        }))?;
        Ok(pod["metadata"]["uid"].as_str().context("a pod without a uid")?.to_owned())
    }

    /// Puts the agent's pod of a node and makes its token `secret-NODE` valid.
    fn agent(&self, node: &str) -> Result<()> {
        let name = format!("agent-{node}");
        let uid = self.pod("heddle-system", &name, "heddle-agent", node)?;
        let user = TokenUser::service_account("heddle-system", "heddle-agent").of_pod(&name, &uid).on_node(node);
        self.server.add_token(&format!("secret-{node}"), user.audience("heddle-ca"));
        Ok(())
    }

    /// ca.yaml with a Secret for the root, and `changes` over it.
    pub(super) fn config(&self, changes: &Value) -> Value {
        let mut config = json!({
            "trustDomain": DOMAIN,
            "listen": "127.0.0.1:0",
            "root": {"secret": {"namespace": "heddle-system", "name": "heddle-ca"}},
            "publish": {"configMap": {"namespace": "heddle-system", "name": "heddle-roots"}},
            "kubernetes": {"kubeconfig": self.path().join("kubeconfig")},
            "metrics": {"address": "127.0.0.1:0"},
            "health": {"address": "127.0.0.1:0"},
            "log": {"level": "warn,heddle=info", "format": "json"},
        });
        for (key, value) in changes.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        config
    }

    /// Starts an authority, and does not wait for its readiness.
    pub(super) fn start(&self, changes: &Value) -> Result<Authority> {
        let mut process = self.process(changes)?;
        let line = process.wait_stderr(SOON, |line| line.contains("\"message\":\"started\""))?;
        let line: Value = serde_json::from_str(&line)?;
        let address = |key: &str| -> Result<SocketAddr> {
            Ok(line[key].as_str().with_context(|| format!("no {key} in {line}"))?.parse()?)
        };
        let (address, metrics, health) = (address("address")?, address("metrics")?, address("health")?);
        let webhook = line["webhook"].as_str().and_then(|address| address.parse().ok());
        Ok(Authority { process, address, webhook, metrics, health })
    }

    /// Starts an authority, whatever becomes of it.
    pub(super) fn process(&self, changes: &Value) -> Result<Process> {
        let path = self.file()?;
        std::fs::write(&path, self.config(changes).to_string())?;
        Process::start("heddle ca", &binary("heddle")?, &["ca".as_ref(), "--config".as_ref(), path.as_os_str()])
    }

    /// A client of the API server, as kubectl is one, that may do everything.
    pub(super) async fn kubernetes(&self) -> Result<kube::Client> {
        let everything = self.server.kubeconfig(self.server.listen()?)?;
        let kubeconfig = kube::config::Kubeconfig::from_yaml(&everything)?;
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(kube::Client::try_from(config)?)
    }

    fn file(&self) -> Result<PathBuf> {
        let count = std::fs::read_dir(self.path())?.count();
        Ok(self.path().join(format!("ca-{count}.yaml")))
    }

    /// Starts an authority and waits until it is ready.
    pub(super) fn authority(&self, changes: &Value) -> Result<Authority> {
        let authority = self.start(changes)?;
        authority.until_ready()?;
        Ok(authority)
    }

    /// What agents mount.
    pub(super) fn roots(&self) -> Result<String> {
        let map = self.server.get("ConfigMap", "heddle-system", "heddle-roots").context("no roots are published")?;
        Ok(map["data"]["root-cert.pem"].as_str().context("no root-cert.pem")?.to_owned())
    }

    /// A connection to an authority that is trusted by what it published.
    pub(super) async fn client(&self, authority: &Authority) -> Result<Client> {
        Client::connect(authority.address, &self.roots()?).await
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, authority: &Authority, ask: &Ask) -> Result<Answer> {
        self.client(authority).await?.ask(ask).await
    }
}

impl Authority {
    pub(super) fn until_ready(&self) -> Result<()> {
        wait("the authority is ready", || {
            let answer = self.health("/healthz/ready")?;
            ensure!(answer.status == 200, "{}", answer.text());
            Ok(())
        })
        .with_context(|| self.process.describe("is not ready"))
    }

    pub(super) fn health(&self, path: &str) -> Result<http::Response> {
        http::get(TcpStream::connect(self.health)?, "localhost", path)
    }

    /// The value of one series, as it is written.
    pub(super) fn metric(&self, series: &str) -> Result<f64> {
        let text = http::get(TcpStream::connect(self.metrics)?, "localhost", "/metrics")?.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no {series} in {text}"))?.parse()?)
    }

    /// The audit lines so far.
    pub(super) fn audit(&self) -> Vec<Value> {
        let lines = self.process.stderr();
        let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == "heddle::audit").collect()
    }

    /// Ends it by SIGTERM.
    pub(super) fn end(mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let finished = self.process.wait(SOON)?;
        ensure!(finished.status.success(), "{}", finished.describe());
        Ok(())
    }
}

/// The identity of a service account.
pub(super) fn id(namespace: &str, account: &str) -> String {
    format!("spiffe://{DOMAIN}/ns/{namespace}/sa/{account}")
}

/// Tries again until it succeeds.
pub(super) fn wait<T>(what: &str, attempt: impl Fn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + SOON;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => bail!("{what}: not within {SOON:?}: {error:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
