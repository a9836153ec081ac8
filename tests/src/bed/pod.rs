//! A pod: a network namespace on its node's bridge, a cgroup, and its Kubernetes object.
//!
//! The pod is enrolled, or not, only through what its object says; the bed does nothing for the mesh.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cgroup::Cgroup;
use super::launch::{Launch, binary};
use super::netns::NetNs;
use super::node::Node;
use super::process::Process;
use super::sandbox::{CgroupDriver, Sandbox};

/// Longer than any client's own limits; hanging is a failure of the test and not of the run.
const ASK_WITHIN: Duration = Duration::from_secs(120);
/// A server binds a port and says so.
const LISTEN_WITHIN: Duration = Duration::from_secs(10);

/// What a pod shall be; see [`Node::pod`].
#[must_use]
pub struct PodBuilder {
    node: Node,
    name: String,
    namespace: String,
    service_account: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    cgroup_driver: CgroupDriver,
    spec: BTreeMap<String, Value>,
    listed: bool,
}

impl PodBuilder {
    pub(super) fn new(node: &Node, name: &str) -> Self {
        Self {
            node: node.clone(),
            name: name.to_owned(),
            namespace: "default".to_owned(),
            service_account: name.to_owned(),
            labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            annotations: BTreeMap::new(),
            cgroup_driver: CgroupDriver::default(),
            spec: BTreeMap::new(),
            listed: true,
        }
    }

    /// Its Kubernetes namespace instead of `default`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    /// Its service account instead of one called like the pod.
    pub fn service_account(mut self, name: &str) -> Self {
        self.service_account = name.to_owned();
        self
    }

    /// One more label; `app` is the pod's name unless set here.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// One more annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// How its cgroups are named, in a bed with an API server; beds of files have their own names.
    pub fn cgroup_driver(mut self, driver: CgroupDriver) -> Self {
        self.cgroup_driver = driver;
        self
    }

    /// A key of its `spec`, such as `containers`, which is one without ports unless set here.
    pub fn spec(mut self, key: &str, value: Value) -> Self {
        self.spec.insert(key.to_owned(), value);
        self
    }

    /// Labelled `heddle.io/mesh: disabled`: a known pod that is not enrolled.
    pub fn outside_mesh(self) -> Self {
        self.label("heddle.io/mesh", "disabled")
    }

    /// Without an object: a machine that the mesh has never heard of.
    pub fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }

    /// Builds the pod and writes its object, and its namespace's, labelled for the mesh, if that is not there yet.
    pub fn start(self) -> Result<Pod> {
        let title = format!("pod {}/{}", self.namespace, self.name);
        Pod::build(self).with_context(|| format!("starting {title}"))
    }
}

/// A running pod; clones are the same pod.
#[derive(Clone)]
pub struct Pod {
    inner: Arc<Inner>,
}

struct Inner {
    node: Node,
    name: String,
    namespace: String,
    service_account: String,
    uid: String,
    netns: NetNs,
    sandbox: Sandbox,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    /// The node's end of the pod's cable.
    port: String,
    labels: Mutex<BTreeMap<String, String>>,
    annotations: Mutex<BTreeMap<String, String>>,
    spec: Mutex<BTreeMap<String, Value>>,
    phase: Mutex<String>,
}

impl Pod {
    fn build(builder: PodBuilder) -> Result<Self> {
        let PodBuilder { node, name, namespace, service_account, labels, mut annotations, cgroup_driver, spec, listed } =
            builder;
        let (host, v4, v6) = node.next_address()?;
        let netns = NetNs::named(format!("{}-{namespace}-{name}", node.bed().id));
        let (uid, above) = (node.bed().objects.fresh_uid(), node.cgroup().path());
        let sandbox = if node.bed().api.is_some() {
            Sandbox::like_kubelet(above, cgroup_driver, &uid)?
        } else {
            annotations.insert("heddle.io/netns".to_owned(), netns.path().display().to_string());
            Sandbox::plain(above.join("pods").join(format!("{namespace}-{name}")))?
        };
        let inner = Inner {
            sandbox,
            uid,
            port: format!("veth{host}"),
            labels: Mutex::new(labels),
            annotations: Mutex::new(annotations),
            spec: Mutex::new(spec),
            phase: Mutex::new("Running".to_owned()),
            node,
            name,
            namespace,
            service_account,
            netns,
            v4,
            v6,
        };
        let pod = Self { inner: Arc::new(inner) };
        pod.plug_in()?;
        pod.inner.sandbox.start_pause(pod.name(), pod.netns(), &pod.node().bed().undo)?;
        if listed {
            pod.publish()?;
        }
        Ok(pod)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its Kubernetes namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// Its `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.inner.uid
    }

    /// Its SPIFFE id under the default trust domain.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("spiffe://cluster.local/ns/{}/sa/{}", self.inner.namespace, self.inner.service_account)
    }

    /// The node that it runs on.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.inner.node
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &NetNs {
        &self.inner.netns
    }

    /// Its cgroup, above all of its processes.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.inner.sandbox.pod
    }

    /// The cgroup that its programs run in: a container's, or the pod's own in a bed of files.
    #[must_use]
    pub fn container(&self) -> &Cgroup {
        &self.inner.sandbox.container
    }

    /// Its pause process, in a bed with an API server.
    #[must_use]
    pub fn pause_pid(&self) -> Option<u32> {
        self.inner.sandbox.pause_pid()
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.inner.v4
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.inner.v6
    }

    /// A port at its IPv4 address.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.inner.v4, port).into()
    }

    /// A port at its IPv6 address.
    #[must_use]
    pub fn at6(&self, port: u16) -> SocketAddr {
        (self.inner.v6, port).into()
    }

    /// Any program, to be started inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Launch {
        Launch::new(format!("`{program}` in {}", self.name()), program, self.netns(), self.container())
    }

    /// `heddle-peer` with the words of `line`, to be started inside.
    pub fn peer(&self, line: &str) -> Result<Launch> {
        let title = format!("`heddle-peer {line}` in {}", self.name());
        Ok(Launch::new(title, binary("heddle-peer")?, self.netns(), self.container()).words(line))
    }

    /// Starts `heddle-peer serve` with the words of `line` and waits until it listens.
    pub fn serve(&self, line: &str) -> Result<Process> {
        let mut server = self.peer(&format!("serve {line}"))?.start()?;
        server.wait_line(LISTEN_WITHIN, |line| line.contains("\"listening\""))?;
        Ok(server)
    }

    /// Runs a client of `heddle-peer` to its end and gives back the report that it printed.
    pub fn ask<T: DeserializeOwned>(&self, line: &str) -> Result<T> {
        let launch = self.peer(line)?;
        let output = launch.output(ASK_WITHIN)?;
        let last = output.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("the report of `heddle-peer {line}` is `{last}`"))
    }

    /// The same for a client that ends with its standard input, which is kept open.
    pub fn ask_held<T: DeserializeOwned>(&self, line: &str) -> Result<T> {
        let mut client = self.peer(line)?.start()?;
        let finished = client.wait(ASK_WITHIN)?;
        ensure!(finished.status.success(), "{}", finished.describe());
        let last = finished.stdout.last().map_or("", String::as_str);
        serde_json::from_str(last).with_context(|| format!("the report of `heddle-peer {line}` is `{last}`"))
    }

    /// Labels it into (`Some(true)`) or out of (`Some(false)`) the mesh, or leaves it to its namespace, at once.
    pub fn set_mesh(&self, enrolled: Option<bool>) -> Result<()> {
        let mut labels = self.inner.labels.lock();
        labels.remove("heddle.io/mesh");
        if let Some(enrolled) = enrolled {
            labels.insert("heddle.io/mesh".to_owned(), if enrolled { "enabled" } else { "disabled" }.to_owned());
        }
        drop(labels);
        self.publish()
    }

    /// Sets a label, or removes it, at once.
    pub fn relabel(&self, key: &str, value: Option<&str>) -> Result<()> {
        let mut labels = self.inner.labels.lock();
        labels.remove(key);
        if let Some(value) = value {
            labels.insert(key.to_owned(), value.to_owned());
        }
        drop(labels);
        self.publish()
    }

    /// Sets an annotation, or removes it, at once.
    pub fn annotate(&self, key: &str, value: Option<&str>) -> Result<()> {
        let mut annotations = self.inner.annotations.lock();
        annotations.remove(key);
        if let Some(value) = value {
            annotations.insert(key.to_owned(), value.to_owned());
        }
        drop(annotations);
        self.publish()
    }

    /// Sets a key of its `spec`, at once.
    pub fn set_spec(&self, key: &str, value: Value) -> Result<()> {
        self.inner.spec.lock().insert(key.to_owned(), value);
        self.publish()
    }

    /// Sets `status.phase`, at once.
    pub fn set_phase(&self, phase: &str) -> Result<()> {
        phase.clone_into(&mut self.inner.phase.lock());
        self.publish()
    }

    /// Writes its object, and its namespace's if that is not there yet.
    pub fn publish(&self) -> Result<()> {
        let pod = &self.inner;
        pod.node.bed().objects.ensure_namespace(&pod.namespace)?;
        pod.node.bed().objects.ensure_service_account(&pod.namespace, &pod.service_account)?;
        let mut spec = json!({
            "nodeName": pod.node.name(), "serviceAccountName": pod.service_account,
            "containers": [{"name": "app", "image": "heddle-peer"}],
        });
        for (key, value) in &*pod.spec.lock() {
            spec[key] = value.clone();
        }
        pod.node.bed().objects.put(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod.name, "namespace": pod.namespace, "uid": pod.uid,
                "labels": *pod.labels.lock(), "annotations": *pod.annotations.lock(),
            },
            "spec": spec,
            "status": {
                "phase": *pod.phase.lock(), "podIP": pod.v4, "podIPs": [{"ip": pod.v4}, {"ip": pod.v6}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }))
    }

    /// Removes its object; the pod runs on.
    pub fn unpublish(&self) -> Result<()> {
        self.inner.node.bed().objects.remove("Pod", &self.inner.namespace, &self.inner.name)
    }

    /// Ends it: the object, all processes, the namespace and the cgroup.
    pub fn delete(&self) -> Result<()> {
        self.unpublish()?;
        self.cgroup().kill()?;
        self.netns().remove()?;
        self.inner.sandbox.end()
    }

    /// Lets its node drop everything sent to it without a word, as if the machine were gone; or no longer.
    pub fn black_hole(&self, dropped: bool) -> Result<()> {
        let verb = if dropped { "add" } else { "del" };
        let (v4, v6) = (self.inner.v4, self.inner.v6);
        self.inner.node.netns().ip(&format!("route {verb} blackhole {v4}/32\nroute {verb} blackhole {v6}/128\n"))
    }

    /// Pulls its cable out at the node's end, or plugs it in again.
    pub fn plug(&self, in_it: bool) -> Result<()> {
        let state = if in_it { "up" } else { "down" };
        self.inner.node.netns().ip(&format!("link set {} {state}\n", self.inner.port))
    }

    fn plug_in(&self) -> Result<()> {
        let Inner { node, netns, v4, v6, port, .. } = &*self.inner;
        let cable =
            format!("link add eth0 netns {} type veth peer name {port} netns {}\n", netns.name(), node.netns().name());
        node.bed().add_namespace(netns, &cable)?;
        node.netns().ip(&format!("link set {port} master cni0\nlink set {port} up\n"))?;
        netns.sysctl(&[("ipv6/conf/all/accept_dad", "0"), ("ipv6/conf/eth0/accept_dad", "0")])?;
        let (gateway4, gateway6) = node.gateway();
        netns.ip(&format!(
            "link set lo up\nlink set eth0 up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n\
             route add default via {gateway4}\nroute add default via {gateway6}\n"
        ))
    }
}
