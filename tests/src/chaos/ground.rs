//! The ground of the scenarios: three nodes on a wire, two with agents, their pods, and the standing load.
//!
//! On node a: `client`, which may, and `intruder`, which may not. On node b: `far` and `other`, which let in nobody but the client,
//! and `open`, which lets in everybody. Node c has no agent: on it is a machine that the mesh does not know, and whatever a scenario
//! puts there. What differs between scenarios is where objects and certificates come from, and what clock agents go by.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::clock::Clock;
use super::load::Load;
use super::memory::Sampler;
use super::{GUARDED, LOOSE, REQUESTS, STREAMS};
use crate::authority::Authority;
use crate::bed::{Agent, AgentBuilder, Bed, Node, Pod, Service};
use crate::interrupt;
use crate::world::{enrolled, settle};

/// What the scenarios of one ground need of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Objects in files, an authority of the agents' own.
    Files,
    /// Objects in an API server.
    Api,
    /// The same, with the first agent's state on a small disk, and its log on another.
    Disk,
    /// Certificates of a remote authority, for a short time.
    ShortLived,
    /// Certificates of a remote authority, for a day, and agents whose clock can be turned.
    Clock,
}

/// Where the small disks of the first agent are.
#[derive(Clone, Debug)]
pub(super) struct Disks {
    pub(super) state: PathBuf,
    pub(super) log: PathBuf,
}

/// How a ground is built.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Setting {
    /// Servers change the byte at this place of each stream, where a test wants to see it noticed.
    pub(super) flip: Option<u64>,
    /// Ctrl-C ends what runs on it, and not this process: for the program, and not for a test among others.
    pub(super) interruptible: bool,
}

/// Seconds for which certificates of [`Kind::ShortLived`] are valid.
pub(super) const LIFETIME: u64 = 12;
/// The small disks of [`Kind::Disk`], in KiB: the state of these few objects is a fraction of one, the log fills the other in seconds.
const DISK: u32 = 512;
/// What agents allow a peer for a step; short, so that scenarios see the end of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// For everything to be in force, on a machine that is busy with other tests.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// The pods.
pub(super) struct Pods {
    pub(super) client: Pod,
    pub(super) intruder: Pod,
    pub(super) far: Pod,
    pub(super) other: Pod,
    pub(super) open: Pod,
    pub(super) stranger: Pod,
}

/// See the module. Fields are dropped in this order: programs first, the bed last.
pub(super) struct Ground {
    pub(super) kind: Kind,
    pub(super) load: Load,
    pub(super) memory: [Sampler; 2],
    pub(super) a: Agent,
    pub(super) b: Agent,
    pub(super) web: Service,
    pub(super) pods: Pods,
    pub(super) nodes: [Node; 3],
    pub(super) authority: Option<Authority>,
    pub(super) clock: Option<Clock>,
    pub(super) disks: Option<Disks>,
    /// Machines that have vanished.
    pub(super) vanished: u32,
    pub(super) bed: Bed,
}

impl Ground {
    /// Builds everything.
    pub(super) fn build(kind: Kind, setting: Setting) -> Result<Self> {
        let name = format!("chaos-{kind:?}").to_lowercase();
        let bed = if matches!(kind, Kind::Api | Kind::Disk) { Bed::with_api_server(&name)? } else { Bed::new(&name)? };
        if setting.interruptible {
            interrupt::watch(bed.cgroup().clone())?;
        }
        let nodes = [bed.node("a")?, bed.node("b")?, bed.node("c")?];
        let [a, b, c] = &nodes;
        let guarded = |name: &str| b.pod(name).label("chaos", "guarded").start();
        let pods = Pods {
            client: a.pod("client").start()?,
            intruder: a.pod("intruder").start()?,
            far: guarded("far")?,
            other: guarded("other")?,
            open: b.pod("open").start()?,
            stranger: c.pod("stranger").unlisted().start()?,
        };
        let web = bed.service("web", &[STREAMS, GUARDED, REQUESTS, LOOSE].map(|port| (port, port)))?;
        web.backends(&[&pods.far, &pods.other])?;
        put_documents(&bed, "policies", &policy(&["client"]))?;
        let small = |name| (kind == Kind::Disk).then(|| a.small_disk(name, DISK)).transpose();
        let disks = small("state-disk")?.zip(small("log-disk")?).map(|(state, log)| Disks { state, log });
        let authority = matches!(kind, Kind::ShortLived | Kind::Clock).then(Authority::start).transpose()?;
        let clock = (kind == Kind::Clock).then(|| Clock::new(bed.directory(), &nodes)).transpose()?;
        let start = |node: &Node, disks: Option<&Disks>| -> Result<Agent> {
            let mut agent = configured(node);
            if let Some(Disks { state, log }) = disks {
                agent = agent.set("state.path", state.join("state").display().to_string()).log_to(log.join("log"));
            }
            if let Some(authority) = &authority {
                let lifetime = if kind == Kind::ShortLived { LIFETIME } else { 24 * 60 * 60 };
                agent = certificates_of(node, agent, authority, lifetime)?;
            }
            if let Some(clock) = &clock {
                agent = clock.on(agent, node);
            }
            agent.start_without_waiting()
        };
        let (mut a, mut b) = (start(a, disks.as_ref())?, start(b, None)?);
        a.wait_ready()?;
        b.wait_ready()?;
        enrolled(&a, 2)?;
        enrolled(&b, 3)?;
        settle(&bed, &[&a, &b])?;
        let load = Load::start(&pods, &web, setting.flip)?;
        let memory = [Sampler::start("a", a.process().pid()), Sampler::start("b", b.process().pid())];
        Ok(Self { kind, load, memory, a, b, web, pods, nodes, authority, clock, disks, vanished: 0, bed })
    }

    /// Ends everything and says what could not be taken back.
    pub(super) fn close(self) -> Result<()> {
        let Self { load, memory, a, b, authority, bed, .. } = self;
        drop((load, memory, a, b, authority));
        bed.close()
    }

    /// Memory is compared with what the agents hold now.
    pub(super) fn begin_to_compare_memory(&mut self) {
        self.memory = [Sampler::start("a", self.a.process().pid()), Sampler::start("b", self.b.process().pid())];
    }

    /// Both agents run, and have not panicked.
    pub(super) fn agents_live(&mut self) -> Result<()> {
        let log = self.disks.as_ref().map(|disks| std::fs::read_to_string(disks.log.join("log")).unwrap_or_default());
        for agent in [&mut self.a, &mut self.b] {
            ensure!(agent.process().running()?, "{}", agent.process().describe("has ended"));
            let said = agent.process().stderr();
            let panicked = said.iter().map(String::as_str).chain(log.iter().flat_map(|log| log.lines()));
            let panicked = panicked.filter(|line| line.contains("panicked at")).collect::<Vec<_>>();
            ensure!(panicked.is_empty(), "an agent panicked: {panicked:?}");
        }
        Ok(())
    }

    /// Waits until both agents have in force what the objects say now.
    pub(super) fn settle(&self) -> Result<()> {
        crate::world::settle_within(&self.bed, &[&self.a, &self.b], SETTLED_WITHIN)
    }
}

/// As agents are by default, but less patient.
fn configured(node: &Node) -> AgentBuilder {
    let patience = format!("{}s", PATIENCE.as_secs());
    ["limits.connectTimeout", "limits.handshakeTimeout", "http.requestHeaderTimeout", "http.requestBodyTimeout"]
        .iter()
        .fold(node.agent(), |agent, key| agent.set(key, patience.as_str()))
}

fn certificates_of(node: &Node, agent: AgentBuilder, authority: &Authority, seconds: u64) -> Result<AgentBuilder> {
    let (token, roots) = (node.directory().join("token"), node.directory().join("roots.pem"));
    let secret = format!("token-of-{}", node.name());
    authority.accept_token(&secret);
    std::fs::write(&token, secret).with_context(|| format!("writing {}", token.display()))?;
    std::fs::write(&roots, authority.server_root_pem()).with_context(|| format!("writing {}", roots.display()))?;
    let remote = json!({
        "address": format!("https://{}", authority.listen_in(node.netns())?),
        "serverName": "heddle-ca.heddle-system.svc",
        "roots": roots, "token": token, "lifetime": format!("{seconds}s"),
    });
    Ok(agent.set("ca", json!({"remote": remote})))
}

/// An AuthorizationPolicy that lets these service accounts, and nobody else, into the guarded pods.
pub(super) fn policy(accounts: &[&str]) -> String {
    let principals: Vec<String> = accounts.iter().map(|name| format!("cluster.local/ns/default/sa/{name}")).collect();
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {{name: guarded, namespace: default}}\n\
         spec: {{selector: {{matchLabels: {{chaos: guarded}}}}, rules: [{{from: [{{source: {{principals: [{}]}}}}]}}]}}\n",
        principals.join(", ")
    )
}

/// Writes mesh documents as a ConfigMap, which any source of objects may have.
pub(super) fn put_documents(bed: &Bed, name: &str, text: &str) -> Result<()> {
    bed.objects().put(&config_map(name, text))
}

fn config_map(name: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"heddle.io/config": "true"}},
        "data": {"documents.yaml": text},
    })
}
