//! The agent of a node: its configuration, its process, and what it says about itself.
//!
//! The agent runs in the node's network namespace and the node's cgroup `agent`, as a DaemonSet's container would. Its
//! endpoints are asked from inside the node's namespace.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::cgroup::Cgroup;
use super::container::Container;
use super::launch::{Launch, binary};
use super::metrics::Metrics;
use super::node::Node;
use super::process::{Finished, Process};
use crate::http::Response;
use crate::kubernetes::SYSTEM_NAMESPACE;

const ADMIN: u16 = 15000;
const METRICS: u16 = 15020;
const HEALTH: u16 = 15021;
const RESOLV_CONF: &str = "resolv.conf";
const SERVICE_ACCOUNT: &str = "serviceaccount";
/// An endpoint that takes longer is broken.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How an agent shall be configured; see [`Node::agent`].
#[must_use]
pub struct AgentBuilder {
    node: Node,
    config: Value,
    ready_within: Duration,
    in_cluster: Option<SocketAddr>,
    env: Vec<(String, OsString)>,
    log: Option<PathBuf>,
    descriptors: Option<u32>,
    container: Option<Container>,
}

/// Appends what the program after it says to a file.
const TO_FILE: &str = "file=$1 && shift && exec \"$@\" >>\"$file\" 2>&1";

/// Gives the program after it what Kubernetes gives to a container, in a mount namespace of its own: nothing of the machine's
/// /run is needed there.
const IN_CLUSTER: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io && \
    ln -s \"$SERVICE_ACCOUNT\" /run/secrets/kubernetes.io/serviceaccount && exec \"$@\"";

impl AgentBuilder {
    pub(super) fn new(node: &Node) -> Self {
        let bed = node.bed();
        let source = match &bed.api {
            Some(_) => json!({"kubernetes": {"kubeconfig": node.kubeconfig()}}),
            None => json!({"files": {"path": bed.objects.directory()}}),
        };
        // Only the API needs a state on disk: files are one.
        let state = bed.api.as_ref().map(|_| node.directory().join("state")).unwrap_or_default();
        let config = json!({
            "node": node.name(),
            "state": {"path": state},
            "source": source,
            "ca": {"local": {"path": bed.ca_directory()}},
            "capture": {"cgroup": node.cgroup().path(), "pins": node.bpffs().join("heddle")},
            "admin": {"socket": node.directory().join("admin.sock")},
            "handover": {"socket": node.directory().join("handover.sock")},
            "dns": {"resolvConf": node.directory().join(RESOLV_CONF)},
            "log": {"level": std::env::var("HEDDLE_TEST_LOG").unwrap_or("info".to_owned()), "format": "json"},
        });
        let (node, ready_within) = (node.clone(), Duration::from_secs(20));
        Self {
            node,
            config,
            ready_within,
            in_cluster: None,
            env: Vec::new(),
            log: None,
            descriptors: None,
            container: None,
        }
    }

    /// Refuses plaintext from outside the mesh into enrolled pods.
    pub fn strict(self) -> Self {
        self.set("mtls.mode", "STRICT")
    }

    /// Sets a key of agent.yaml, given with dots: `limits.connectTimeout`.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.config;
        for part in key.split('.') {
            place = &mut place[part];
        }
        *place = value.into();
        self
    }

    /// Finds the API server as a container does: by environment variables and the mounted service account.
    pub fn in_cluster(mut self) -> Result<Self> {
        let api = self.node.bed().api.as_ref().context("the bed has no API server")?;
        let (account, token) =
            (self.node.directory().join(SERVICE_ACCOUNT), api.token_of(SYSTEM_NAMESPACE, "heddle-agent"));
        std::fs::create_dir(&account).with_context(|| format!("making {}", account.display()))?;
        for (file, content) in [("token", &*token), ("ca.crt", api.ca_pem()), ("namespace", SYSTEM_NAMESPACE)] {
            std::fs::write(account.join(file), content).with_context(|| format!("writing {file}"))?;
        }
        self.in_cluster = Some(api.listen_in(self.node.netns())?);
        Ok(self.set("source", json!({"kubernetes": {}})))
    }

    /// An environment variable.
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }

    /// Has it write its log to this file, and not to where its lines are read.
    pub fn log_to(mut self, file: PathBuf) -> Self {
        self.log = Some(file);
        self
    }

    /// Lets it have no more files and sockets open at a time.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Starts it as a container that is not privileged, with these capabilities as Kubernetes writes them; see `container.rs`.
    pub fn with_capabilities(mut self, capabilities: &[&'static str]) -> Self {
        self.container = Some(Container::new(capabilities));
        let proc = Container::proc(&self.node);
        self.set("capture.proc", proc.display().to_string())
    }

    /// How long the agent may take to become ready.
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// Writes agent.yaml, starts the agent, and waits until it is ready.
    pub fn start(self) -> Result<Agent> {
        let mut agent = self.start_without_waiting()?;
        agent.wait_ready()?;
        Ok(agent)
    }

    /// The same, for an agent that is not expected to become ready yet.
    pub fn start_without_waiting(self) -> Result<Agent> {
        let config = self.node.directory().join("agent.yaml");
        let yaml = serde_saphyr::to_string(&self.config).context("writing agent.yaml")?;
        std::fs::write(&config, yaml).with_context(|| format!("writing {}", config.display()))?;
        // Not the machine's: who answers for names is a matter of each test, by `heddle-peer dns` on the node.
        let resolv_conf = self.node.directory().join(RESOLV_CONF);
        std::fs::write(&resolv_conf, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
            .with_context(|| format!("writing {}", resolv_conf.display()))?;
        let Self { node, in_cluster, env, log, descriptors, container, .. } = self;
        let setting = Setting { node, config, in_cluster, env, log, descriptors, container };
        let process = setting.launch()?;
        Ok(Agent { setting, ready_within: self.ready_within, process })
    }
}

/// How an agent is started, and started again.
struct Setting {
    node: Node,
    config: PathBuf,
    in_cluster: Option<SocketAddr>,
    env: Vec<(String, OsString)>,
    log: Option<PathBuf>,
    descriptors: Option<u32>,
    container: Option<Container>,
}

impl Setting {
    fn launch(&self) -> Result<Process> {
        let Self { node, config, in_cluster, env, log, descriptors, container } = self;
        let cgroup = Cgroup::make(node.cgroup().path().join("agent"))?;
        let title = format!("the agent of {}", node.name());
        let heddle = binary("heddle")?;
        let launch = match (container, in_cluster, log, descriptors) {
            (Some(container), ..) => container.launch(title, node, &cgroup, &heddle),
            (None, None, None, None) => Launch::new(title, heddle, node.netns(), &cgroup),
            (None, None, None, Some(most)) => {
                Launch::new(title, "prlimit", node.netns(), &cgroup).arg(format!("--nofile={most}")).arg(heddle)
            }
            (None, None, Some(log), _) => {
                let shell = Launch::new(title, "sh", node.netns(), &cgroup);
                shell.arg("-c").arg(TO_FILE).arg("sh").arg(log).arg(heddle)
            }
            (None, Some(server), ..) => Launch::new(title, "unshare", node.netns(), &cgroup)
                .words("--mount --propagation private sh -c")
                .arg(IN_CLUSTER)
                .arg("sh")
                .arg(heddle)
                .env("SERVICE_ACCOUNT", node.directory().join(SERVICE_ACCOUNT))
                .env("KUBERNETES_SERVICE_HOST", server.ip().to_string())
                .env("KUBERNETES_SERVICE_PORT", server.port().to_string()),
        };
        let launch = env.iter().fold(launch, |launch, (key, value)| launch.env(key, value));
        launch.words("agent --config").arg(config).start()
    }
}

/// A started agent; killed when dropped.
pub struct Agent {
    setting: Setting,
    ready_within: Duration,
    process: Process,
}

impl Agent {
    /// Its process: output, signals, memory, CPU time.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The agent.yaml that it was started with; edit it and restart to change a setting.
    #[must_use]
    pub fn config_file(&self) -> &Path {
        &self.setting.config
    }

    /// Waits until `/healthz/ready` says 200; the failure shows what it said last.
    pub fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.ready_within;
        loop {
            let last = match self.ready() {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("{}: {}", answer.status, answer.text()),
                Err(error) => format!("{error:#}"),
            };
            if !self.process.running()? {
                bail!("{}", self.process.describe("ended before it was ready"));
            }
            if Instant::now() > deadline {
                let matter = format!("was not ready within {:?}; last answer: {last}", self.ready_within);
                bail!("{}", self.process.describe(&matter));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What `/healthz/ready` says now.
    pub fn ready(&self) -> Result<Response> {
        self.get(HEALTH, "/healthz/ready")
    }

    /// What `/healthz/live` says now.
    pub fn live(&self) -> Result<Response> {
        self.get(HEALTH, "/healthz/live")
    }

    /// Its metrics now.
    pub fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.get_ok(METRICS, "/metrics")?)
    }

    /// Waits until a condition on its metrics holds; `what` is for the failure message.
    pub fn wait_metrics(&self, what: &str, within: Duration, holds: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
        let deadline = Instant::now() + within;
        loop {
            let metrics = self.metrics()?;
            if holds(&metrics) {
                return Ok(metrics);
            }
            ensure!(
                Instant::now() < deadline,
                "{}",
                self.process.describe(&format!(
                    "did not show within {within:?} that {what}; its metrics:\n{}",
                    metrics.heddle()
                ))
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its `/config` now.
    pub fn config_json(&self) -> Result<Value> {
        self.get_json("/config")
    }

    /// Any JSON document of the admin address.
    pub fn get_json(&self, path: &str) -> Result<Value> {
        let text = self.get_ok(ADMIN, path)?;
        serde_json::from_str(&text)
            .with_context(|| format!("{path} of {} is no JSON: {text}", self.setting.node.name()))
    }

    /// The access log so far: every line of standard output that is a JSON object.
    #[must_use]
    pub fn access_log(&self) -> Vec<Value> {
        self.process
            .stdout()
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(Value::is_object)
            .collect()
    }

    /// Waits for an access log line; those from before the call count.
    pub fn wait_access_log(&mut self, within: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let line =
            self.process.wait_line(within, |line| serde_json::from_str(line).is_ok_and(|value| wanted(&value)))?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Whether a line of its log so far has this text.
    #[must_use]
    pub fn complained(&self, text: &str) -> bool {
        self.process.stderr().iter().any(|line| line.contains(text))
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks it to end with SIGTERM and waits.
    pub fn terminate(&mut self, within: Duration) -> Result<Finished> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(within)
    }

    /// Starts the next agent beside this one, as an upgrade does, without waiting. Gives back the process of this one.
    pub fn begin_upgrade(&mut self) -> Result<Process> {
        let next = self.setting.launch()?;
        Ok(std::mem::replace(&mut self.process, next))
    }

    /// The next agent has ended without having taken over: this one goes on.
    pub fn put_back(&mut self, process: Process) {
        self.process = process;
    }

    /// The same as [`Agent::begin_upgrade`], and waits until the next agent has taken over.
    pub fn upgrade(&mut self) -> Result<Process> {
        let old = self.begin_upgrade()?;
        self.process.wait_stderr(self.ready_within, |line| line.contains("took over from the agent before"))?;
        self.wait_ready()?;
        Ok(old)
    }

    /// Starts it again after its end, or kills it first, and waits until it is ready.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.running()? {
            self.process.kill()?;
        }
        self.process = self.setting.launch()?;
        self.wait_ready()
    }

    fn get(&self, port: u16, path: &str) -> Result<Response> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.setting.node.netns().get(address, path, ANSWER_WITHIN)
    }

    fn get_ok(&self, port: u16, path: &str) -> Result<String> {
        let answer = self.get(port, path).map_err(|error| error.context(self.process.describe("gave no answer")))?;
        ensure!(answer.status == 200, "{path} of {}: {} {}", self.setting.node.name(), answer.status, answer.text());
        Ok(answer.text())
    }
}
