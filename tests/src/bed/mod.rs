//! A test bed: nodes on one wire, pods on the nodes, their Kubernetes objects, and nothing left afterwards.
//!
//! The objects are files in a directory, or are in an API server that every node reaches on its own loopback
//! ([`Bed::with_api_server`]).
//!
//! Every bed has namespaces, cgroups and directories of its own, so tests run in parallel and may use the same
//! addresses. The node with index n has pods in 10.244.n.0/24 and fd44:0:0:n::/64, and the wire's 172.30.0.n and
//! fd30::n. Whatever a bed makes it takes back when dropped, also on panic; the next test process takes back what a
//! killed one left.

mod agent;
mod capture;
mod cgroup;
mod container;
mod id;
mod launch;
mod lines;
mod metrics;
mod netns;
mod nftables;
mod node;
mod objects;
mod packets;
mod pod;
mod process;
mod require;
mod sandbox;
mod service;
mod sweep;
mod undo;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;

pub use agent::{Agent, AgentBuilder};
pub use capture::WireCapture;
pub use cgroup::Cgroup;
pub use launch::{Launch, binary};
pub use metrics::{Metrics, Sample};
pub use netns::NetNs;
pub use node::Node;
pub use objects::Objects;
pub use packets::{Capture, Flow, Packet};
pub use pod::{Pod, PodBuilder};
pub use process::{Finished, Process};
pub use require::{Machine, machine};
pub use sandbox::CgroupDriver;
pub use service::Service;

use crate::kubernetes::ApiServer;
use undo::Undo;

/// The interface in the wire's namespace that sees every packet between nodes once.
const WIRE: &str = "wire0";

/// A set of nodes on one wire; see the module.
pub struct Bed {
    state: Arc<State>,
}

/// What nodes and pods share with their bed.
struct State {
    id: String,
    name: String,
    directory: PathBuf,
    cgroup: Cgroup,
    /// Where the machine has its cgroups.
    cgroup_mount: PathBuf,
    /// Where programs of the bed itself run, outside all nodes.
    tools: Cgroup,
    wire: NetNs,
    objects: Objects,
    /// Where the objects are, unless they are files.
    api: Option<Arc<ApiServer>>,
    nodes: Mutex<Vec<Node>>,
    undo: Undo,
}

impl Bed {
    /// Builds the wire and the directories; `name` is for messages.
    pub fn new(name: &str) -> Result<Self> {
        Self::build(name, None)
    }

    /// The same with an API server instead of files: agents list and watch there, and pods look as kubelet makes them.
    pub fn with_api_server(name: &str) -> Result<Self> {
        let api = ApiServer::start()?;
        api.install_rights()?;
        Self::build(name, Some(Arc::new(api)))
    }

    fn build(name: &str, api: Option<Arc<ApiServer>>) -> Result<Self> {
        let machine = machine()?;
        sweep_once(&machine)?;
        let id = id::fresh();
        let directory = std::env::temp_dir().join(&id);
        let cgroup = Cgroup::at(machine.cgroup2.join(&id));
        let undo = Undo::default();
        let state = State {
            objects: Objects::below(&directory, api.clone()),
            api,
            tools: Cgroup::at(cgroup.path().join("tools")),
            wire: NetNs::named(format!("{id}-wire")),
            nodes: Mutex::default(),
            name: name.to_owned(),
            id,
            directory,
            cgroup,
            cgroup_mount: machine.cgroup2,
            undo,
        };
        // From here on dropping the bed takes back what was made so far.
        let bed = Self { state: Arc::new(state) };
        bed.state.build().with_context(|| format!("building the bed {name}"))?;
        Ok(bed)
    }

    /// Its id, the first part of the names of all that it made outside its directory.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// Its directory; whatever is in it goes away with the bed.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.state.directory
    }

    /// Where the agents of all nodes keep their common certificate authority.
    #[must_use]
    pub fn ca_directory(&self) -> PathBuf {
        self.state.ca_directory()
    }

    /// The Kubernetes objects that all agents read.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.state.objects
    }

    /// The API server, of a bed that has one.
    pub fn api_server(&self) -> Result<&ApiServer> {
        self.state.api.as_deref().context("this bed has no API server: make it with Bed::with_api_server")
    }

    /// The namespace of the wire.
    #[must_use]
    pub fn wire(&self) -> &NetNs {
        &self.state.wire
    }

    /// The cgroup above all of the bed's processes.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.state.cgroup
    }

    /// Adds the node `node-<name>` to the wire.
    pub fn node(&self, name: &str) -> Result<Node> {
        Node::build(&self.state, name)
    }

    /// Writes a Service of namespace `default` with a cluster IP of each family; `ports` are (service port, pod port).
    pub fn service(&self, name: &str, ports: &[(u16, u16)]) -> Result<Service> {
        Service::write(&self.state.objects, "default", name, ports)
    }

    /// The same in another namespace.
    pub fn service_in(&self, namespace: &str, name: &str, ports: &[(u16, u16)]) -> Result<Service> {
        Service::write(&self.state.objects, namespace, name, ports)
    }

    /// Starts to record every packet between the nodes.
    pub fn wire_capture(&self) -> Result<WireCapture> {
        WireCapture::start(&self.state)
    }

    /// Takes everything back and says what could not be; dropping does the same and panics on failure.
    pub fn close(self) -> Result<()> {
        self.state.take_back()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let Err(error) = self.state.take_back() else { return };
        let message = format!("bed {} ({}): {error:#}", self.state.name, self.state.id);
        // A second panic would abort the process and hide the first.
        if std::thread::panicking() {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{message}\n"));
        } else {
            std::panic::panic_any(message);
        }
    }
}

impl State {
    fn build(&self) -> Result<()> {
        let directory = self.directory.clone();
        if let Some(api) = self.api.clone() {
            // Handles of the bed may live on; its sockets may not.
            self.undo.push("API server", move || {
                api.stop();
                Ok(())
            });
        }
        self.undo.push(format!("directory {}", directory.display()), move || remove_directory(&directory));
        fs::create_dir(&self.directory).with_context(|| format!("making {}", self.directory.display()))?;
        self.objects.make()?;
        fs::create_dir(self.ca_directory())?;
        let cgroup = self.cgroup.clone();
        self.undo.push(format!("cgroup {}", cgroup.path().display()), move || cgroup.remove());
        Cgroup::make(self.tools.path().to_owned())?;
        self.add_namespace(&self.wire, "")?;
        self.wire.ip(&format!("link add {WIRE} type bridge\nlink set {WIRE} up\nlink set lo up\n"))
    }

    /// Makes a namespace and runs further `ip` lines right after it.
    fn add_namespace(&self, netns: &NetNs, and_then: &str) -> Result<()> {
        let gone = netns.clone();
        self.undo.push(format!("namespace {}", netns.name()), move || gone.remove());
        netns::ip_batch(&format!("netns add {}\n{and_then}", netns.name()))
    }

    fn ca_directory(&self) -> PathBuf {
        self.directory.join("ca")
    }

    fn take_back(&self) -> Result<()> {
        // Nodes refer to the state: letting go of them here breaks the circle.
        self.nodes.lock().clear();
        let killed = self.cgroup.kill();
        let undone = self.undo.run();
        match (killed, undone) {
            (Ok(()), undone) => undone,
            (killed, Ok(())) => killed,
            (Err(kill), Err(undo)) => bail!("{kill:#}; {undo:#}"),
        }
    }
}

fn sweep_once(machine: &Machine) -> Result<()> {
    static SWEPT: OnceLock<Result<(), String>> = OnceLock::new();
    let swept = SWEPT.get_or_init(|| sweep::leftovers(&machine.cgroup2).map_err(|error| format!("{error:#}")));
    swept.clone().map_err(|error| anyhow::anyhow!("sweeping leftovers of dead test processes: {error}"))
}

fn remove_directory(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", directory.display()))
        }
        _ => Ok(()),
    }
}
