//! The Kubernetes objects that the mesh reads, cut down to the fields that it uses.
//!
//! Kubernetes' own defaults are applied here (absent `protocol` is TCP, absent `ready` is true), so that readers see
//! plain values. Fields that are left out are tolerated in the input and dropped.
//!
//! They are serialized for the state on disk only: `state::format` says what to do when they change.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// Labels or annotations.
pub type Map = BTreeMap<String, String>;

/// Namespace and name of an object of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Object name.
    pub name: Arc<str>,
}

/// `v1` Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Name.
    pub name: Arc<str>,
    /// `metadata.labels`.
    pub labels: Map,
}

/// `v1` Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.uid`, absent in hand-written files.
    pub uid: Option<Arc<str>>,
    /// `metadata.labels`, shared by the pods of one owner.
    pub labels: Arc<Map>,
    /// `metadata.annotations`.
    pub annotations: Arc<Map>,
    /// The entry of `metadata.ownerReferences` with `controller: true`, else the first.
    pub owner: Option<Arc<OwnerReference>>,
    /// `metadata.creationTimestamp`.
    pub created: Option<SystemTime>,
    /// `metadata.deletionTimestamp` is set: the pod is being stopped, and still serves.
    pub deleting: bool,
    /// `spec.nodeName`; `None` until it is scheduled.
    pub node: Option<Arc<str>>,
    /// `spec.serviceAccountName`.
    pub service_account: Option<Arc<str>>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// `status.phase`.
    pub phase: PodPhase,
    /// Ports that the kubelet connects to, for probes and lifecycle hooks, sorted.
    pub probed_ports: Arc<[u16]>,
    /// `status.podIPs`, else `status.podIP`.
    pub addresses: Arc<[IpAddr]>,
    /// Condition `Ready` is `True`.
    pub ready: bool,
}

/// What controls a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OwnerReference {
    /// `ReplicaSet`, `StatefulSet`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodPhase {
    /// Not all containers have started.
    Pending,
    /// At least one container runs. Hand-written files have no status, and mean this.
    #[default]
    Running,
    /// All containers ended well: the addresses may belong to another pod by now.
    Succeeded,
    /// All containers ended, one badly: the addresses may belong to another pod by now.
    Failed,
    /// The node cannot be asked.
    Unknown,
}

/// `v1` Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// `spec.clusterIPs`, else `spec.clusterIP`; empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`.
    pub selector: Map,
    /// `spec.publishNotReadyAddresses`.
    pub publish_not_ready: bool,
    /// `spec.sessionAffinity: ClientIP`, with `spec.sessionAffinityConfig.clientIP.timeoutSeconds`.
    pub client_affinity: Option<Duration>,
    /// `spec.internalTrafficPolicy: Local`: connections stay on the node that they start from.
    pub local_only: bool,
    /// `spec.trafficDistribution`.
    pub distribution: TrafficDistribution,
}

/// `spec.trafficDistribution` of a Service: which endpoints are preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficDistribution {
    /// None is.
    #[default]
    Any,
    /// `PreferSameZone`, and `PreferClose`, its older name.
    SameZone,
    /// `PreferSameNode`: those of the node, else those of its zone.
    SameNode,
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceKind {
    /// Reached by its cluster IP.
    #[default]
    ClusterIp,
    /// A cluster IP, and a port of every node.
    NodePort,
    /// A cluster IP, and an address outside the cluster.
    LoadBalancer,
    /// A DNS alias without addresses or endpoints.
    ExternalName,
}

/// One entry of a Service's `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Empty where the Service has one unnamed port.
    pub name: Arc<str>,
    /// Port on the cluster IP.
    pub port: u16,
    /// `targetPort`; EndpointSlices already carry what it resolves to.
    pub target: Option<TargetPort>,
    /// Transport.
    pub protocol: Protocol,
    /// `appProtocol`.
    pub app_protocol: Option<Arc<str>>,
}

/// A Service's `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetPort {
    /// A container port's number.
    Number(u16),
    /// A container port's name.
    Name(String),
}

/// Transport of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// The only one that the mesh carries.
    #[default]
    Tcp,
    /// Not carried.
    Udp,
    /// Not carried.
    Sctp,
}

/// `discovery.k8s.io/v1` EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: ObjectName,
    /// Label `kubernetes.io/service-name`.
    pub service: Option<Arc<str>>,
    /// `addressType`.
    pub family: AddressType,
    /// `ports`.
    pub ports: Vec<SlicePort>,
    /// `endpoints`.
    pub endpoints: Vec<SliceEndpoint>,
}

/// `addressType` of an EndpointSlice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressType {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Host names: deprecated upstream, and no addresses for us.
    Fqdn,
}

/// One entry of an EndpointSlice's `ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlicePort {
    /// Equal to the Service port's name.
    pub name: Arc<str>,
    /// `None` stands for all ports, which no Service port can use.
    pub port: Option<u16>,
    /// Transport.
    pub protocol: Protocol,
}

/// One entry of an EndpointSlice's `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceEndpoint {
    /// One address; an entry that lists several counts as several.
    pub address: IpAddr,
    /// `conditions.ready`; absent means true.
    pub ready: bool,
    /// `conditions.serving`; absent means the same as `ready`.
    pub serving: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
    /// Where it is and whom it is for, shared by all endpoints of which that is true.
    pub place: Arc<Place>,
}

/// Where an endpoint is, and whom its hints say that it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `zone`.
    pub zone: Option<Arc<str>>,
    /// `hints.forZones`.
    pub hinted_zones: Vec<Arc<str>>,
    /// `hints.forNodes`.
    pub hinted_nodes: Vec<Arc<str>>,
}

/// `v1` Node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Name.
    pub name: Arc<str>,
    /// `metadata.labels`: zone and region are among them.
    pub labels: Map,
    /// `status.addresses` of the types `InternalIP` and `ExternalIP`.
    pub addresses: Vec<IpAddr>,
}

/// `v1` ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// Namespace and name.
    pub name: ObjectName,
}

/// `v1` ConfigMap with the label `heddle.io/config: "true"`, or a file of the same documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMap {
    /// Namespace and name; no namespace, and the path as the name, for a file.
    pub name: ObjectName,
    /// `metadata.uid`, to name it in an Event.
    pub uid: Option<Arc<str>>,
    /// `metadata.creationTimestamp`: of two that define one object, the older wins.
    pub created: Option<SystemTime>,
    /// `data`: YAML texts by key. A file has one text, under its name.
    pub data: BTreeMap<String, Arc<str>>,
}

impl ConfigMap {
    /// Whether it is a file, whose documents may be of any namespace: who may write the file governs the node.
    pub fn is_file(&self) -> bool {
        self.name.namespace.is_empty()
    }
}

impl ObjectName {
    /// From its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
