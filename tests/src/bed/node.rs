//! A node: a network namespace on the wire with a bridge for its pods, a cgroup, a bpf file system, and its agent.
//!
//! Routes to the pods of the other nodes go over the wire, for both families. The node has no default route: what no
//! node knows is unreachable. (The kernel keeps back the first ICMP error to a new peer: clients learn it with their
//! second SYN.)

use std::ffi::{CStr, CString};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

use super::agent::AgentBuilder;
use super::cgroup::Cgroup;
use super::launch::{Launch, binary};
use super::netns::NetNs;
use super::nftables;
use super::pod::PodBuilder;
use super::{State, WIRE};
use crate::kubernetes::SYSTEM_NAMESPACE;

/// Interface names have 15 bytes and the wire's port is named after the node.
const LONGEST_NAME: usize = 15;

const NODE_SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    // No duplicate address detection: IPv6 is usable at once.
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    // Made before the default was set.
    ("ipv6/conf/eth0/accept_dad", "0"),
];

/// A node of a bed; clones are the same node.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    bed: Arc<State>,
    name: String,
    index: u8,
    netns: NetNs,
    cgroup: Cgroup,
    directory: PathBuf,
    pods: AtomicU8,
}

impl Node {
    pub(super) fn build(bed: &Arc<State>, name: &str) -> Result<Self> {
        let name = format!("node-{name}");
        ensure!(name.len() <= LONGEST_NAME, "the name {name} is longer than {LONGEST_NAME} bytes");
        // Held to the end, so that every node sees all nodes before it.
        let mut nodes = bed.nodes.lock();
        let index = u8::try_from(nodes.len() + 1).context("a bed has at most 255 nodes")?;
        let inner = Inner {
            netns: NetNs::named(format!("{}-{name}", bed.id)),
            cgroup: Cgroup::make(bed.cgroup.path().join(&name))?,
            directory: bed.directory.join(&name),
            pods: AtomicU8::new(10),
            bed: Arc::clone(bed),
            name,
            index,
        };
        let node = Self { inner: Arc::new(inner) };
        node.make_directories()
            .and_then(|()| node.join_wire(&nodes))
            .and_then(|()| node.join_cluster())
            .with_context(|| format!("building {}", node.name()))?;
        nodes.push(node.clone());
        Ok(node)
    }

    /// Its name as in `spec.nodeName`: `node-` and what the bed was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &NetNs {
        &self.inner.netns
    }

    /// The cgroup above its agent and its pods: what the agent is told to attach to.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.inner.cgroup
    }

    /// Its own directory: configuration, sockets, and the bpf file system in `bpf`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Its bpf file system.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.inner.directory.join("bpf")
    }

    /// The kubeconfig of its agent, in a bed with an API server: with the rights that the manifests give to agents.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.inner.directory.join("kubeconfig")
    }

    /// The same of a `heddle ca` that runs on it.
    #[must_use]
    pub fn authority_kubeconfig(&self) -> PathBuf {
        self.inner.directory.join("kubeconfig-ca")
    }

    /// The same of somebody who may do everything.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.inner.directory.join("kubeconfig-admin")
    }

    /// Its address on the wire.
    #[must_use]
    pub fn wire_v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, 0, self.inner.index)
    }

    /// Its IPv6 address on the wire.
    #[must_use]
    pub fn wire_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd30, 0, 0, 0, 0, 0, 0, self.inner.index.into())
    }

    /// Describes a pod to start here.
    pub fn pod(&self, name: &str) -> PodBuilder {
        PodBuilder::new(self, name)
    }

    /// Describes the agent of this node.
    pub fn agent(&self) -> AgentBuilder {
        AgentBuilder::new(self)
    }

    /// A program on the node itself, outside all pods, in the cgroup `host`.
    pub fn command(&self, program: &str) -> Result<Launch> {
        let cgroup = Cgroup::make(self.inner.cgroup.path().join("host"))?;
        Ok(Launch::new(format!("`{program}` on {}", self.name()), program, self.netns(), &cgroup))
    }

    /// The same in a cgroup of this name for it and its children, to be killed and asked about as a whole.
    pub fn command_apart(&self, cgroup: &str, program: &str) -> Result<(Launch, Cgroup)> {
        let cgroup = Cgroup::make(self.inner.cgroup.path().join(cgroup))?;
        Ok((Launch::new(format!("`{program}` on {}", self.name()), program, self.netns(), &cgroup), cgroup))
    }

    /// `heddle-peer` with the words of `line` on the node itself.
    pub fn peer(&self, line: &str) -> Result<Launch> {
        let cgroup = Cgroup::make(self.inner.cgroup.path().join("host"))?;
        let title = format!("`heddle-peer {line}` on {}", self.name());
        Ok(Launch::new(title, binary("heddle-peer")?, self.netns(), &cgroup).words(line))
    }

    /// Cuts it off the wire, or joins it again; no one is told.
    pub fn connected(&self, connected: bool) -> Result<()> {
        let state = if connected { "up" } else { "down" };
        self.inner.bed.wire.ip(&format!("link set {} {state}\n", self.name()))
    }

    /// Loses so many of 1,000 packets that arrive from the wire, each by chance; 1,000 are all of them, 0 none. They have been on
    /// the wire, so a record of it shows them. Begins to count anew.
    pub fn lose_arriving(&self, per_mille: u32) -> Result<()> {
        self.netns().run(|| match per_mille {
            0 => nftables::drop_nothing(),
            share => nftables::drop_arriving("eth0", share),
        })
    }

    /// Passes what comes to a port of its IPv4 addresses on to a pod, as a `hostPort` does.
    pub fn host_port(&self, port: u16, pod: Ipv4Addr, pod_port: u16) -> Result<()> {
        self.netns().run(|| nftables::pass_on(port, pod, pod_port))
    }

    /// How many packets were lost since the last call of [`Node::lose_arriving`], which must have lost some share.
    pub fn lost(&self) -> Result<u64> {
        self.netns().run(nftables::dropped)
    }

    /// Makes a small disk of its own in its directory, and gives back where.
    pub fn small_disk(&self, name: &str, kib: u32) -> Result<PathBuf> {
        let point = self.inner.directory.join(name);
        fs::create_dir(&point).with_context(|| format!("making {}", point.display()))?;
        let size = CString::new(format!("size={kib}k"))?;
        mount("tmpfs", &point, "tmpfs", MountFlags::empty(), Some(size.as_c_str()))
            .with_context(|| format!("mounting a disk of {kib} KiB at {}", point.display()))?;
        let mounted = point.clone();
        self.inner.bed.undo.push(format!("disk {}", point.display()), move || {
            unmount(&mounted, UnmountFlags::DETACH).with_context(|| format!("unmounting {}", mounted.display()))
        });
        Ok(point)
    }

    pub(super) fn bed(&self) -> &Arc<State> {
        &self.inner.bed
    }

    /// The next free pod address: the last byte, and both whole addresses.
    pub(super) fn next_address(&self) -> Result<(u8, Ipv4Addr, Ipv6Addr)> {
        let host = self.inner.pods.fetch_add(1, Ordering::Relaxed);
        ensure!((10..250).contains(&host), "{} has no more pod addresses", self.name());
        Ok((host, self.pod_v4(host), self.pod_v6(host)))
    }

    /// The node's own address on its pods' bridge.
    pub(super) fn gateway(&self) -> (Ipv4Addr, Ipv6Addr) {
        (self.pod_v4(1), self.pod_v6(1))
    }

    fn pod_v4(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.inner.index, host)
    }

    fn pod_v6(&self, host: u8) -> Ipv6Addr {
        Ipv6Addr::new(0xfd44, 0, 0, self.inner.index.into(), 0, 0, 0, host.into())
    }

    fn make_directories(&self) -> Result<()> {
        let bpf = self.bpffs();
        fs::create_dir_all(&bpf).with_context(|| format!("making {}", bpf.display()))?;
        // Taking the mount away drops all pins, and with them the links that still redirect.
        let point = bpf.clone();
        let what = format!("bpf file system {}", bpf.display());
        mount("bpf", &bpf, "bpf", MountFlags::empty(), None::<&CStr>).with_context(|| format!("mounting {what}"))?;
        self.inner.bed.undo.push(what, move || {
            unmount(&point, UnmountFlags::DETACH).with_context(|| format!("unmounting {}", point.display()))
        });
        Ok(())
    }

    fn join_wire(&self, others: &[Self]) -> Result<()> {
        let (name, bed) = (self.name(), &self.inner.bed);
        let cable = format!(
            "link add eth0 netns {} type veth peer name {name} netns {}\n",
            self.netns().name(),
            bed.wire.name()
        );
        bed.add_namespace(self.netns(), &cable)?;
        bed.wire.ip(&format!("link set {name} master {WIRE}\nlink set {name} up\n"))?;
        self.netns().sysctl(NODE_SETTINGS)?;
        let (v4, v6) = self.gateway();
        // Its own, as CNI plugins give it: the kernel would take the lowest of its ports', hence another one when a pod comes, and
        // what the others send to the one that they know would be lost.
        let [a, b, c, d] = v4.octets();
        let mac = format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
        let mut lines = format!(
            "link set lo up\nlink add cni0 address {mac} type bridge\nlink set cni0 up\nlink set eth0 up\n\
             addr add {v4}/24 dev cni0\naddr add {v6}/64 dev cni0 nodad\n\
             addr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\n",
            self.wire_v4(),
            self.wire_v6(),
        );
        for other in others {
            lines.push_str(&self.route_to(other));
            other.netns().ip(&other.route_to(self))?;
        }
        self.netns().ip(&lines)
    }

    /// Makes the API server reachable from here, and the node known to it.
    fn join_cluster(&self) -> Result<()> {
        let Some(api) = &self.inner.bed.api else { return Ok(()) };
        let address = api.listen_in(self.netns())?;
        for (path, token) in [
            (self.kubeconfig(), api.token_of(SYSTEM_NAMESPACE, "heddle-agent")),
            (self.authority_kubeconfig(), api.token_of(SYSTEM_NAMESPACE, "heddle-ca")),
            (self.admin_kubeconfig(), api.token().to_owned()),
        ] {
            let kubeconfig = api.kubeconfig_as(address, &token)?;
            fs::write(&path, kubeconfig).with_context(|| format!("writing {}", path.display()))?;
        }
        let kernel = rustix::system::uname();
        let (v4, v6) = (format!("{}/24", self.pod_v4(0)), format!("{}/64", self.pod_v6(0)));
        self.inner.bed.objects.put(&json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name(), "labels": {"kubernetes.io/hostname": self.name(), "kubernetes.io/os": "linux"}},
            "spec": {"podCIDR": v4, "podCIDRs": [v4, v6]},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": self.wire_v4()},
                    {"type": "InternalIP", "address": self.wire_v6()},
                    {"type": "Hostname", "address": self.name()},
                ],
                "conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {
                    "architecture": "amd64", "operatingSystem": "linux", "osImage": "a test",
                    "kernelVersion": kernel.release().to_string_lossy(), "kubeletVersion": "v1.34.0",
                    "containerRuntimeVersion": "containerd://2.1.4",
                },
            },
        }))
    }

    fn route_to(&self, other: &Self) -> String {
        format!(
            "route add {}/24 via {}\nroute add {}/64 via {}\n",
            other.pod_v4(0),
            other.wire_v4(),
            other.pod_v6(0),
            other.wire_v6(),
        )
    }
}
