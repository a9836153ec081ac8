//! The agent's configuration after every default and check: what the rest of the program reads.
//!
//! Values come only from `resolve`; they serialize to the shape and the keys of `agent.yaml`, for `/config`.
//! There are no secrets in it.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{HttpLimits, KubeletCgroup, TracingConfig};
use crate::{mesh::TrustDomain, shares::Share};

/// How this process runs. Read once at start.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// This node's name, as in `spec.nodeName` of its pods.
    #[serde(serialize_with = "as_text")]
    pub node: Arc<str>,
    /// Cluster id in metrics and baggage.
    #[serde(serialize_with = "as_text")]
    pub cluster: Arc<str>,
    /// The domain of all identities.
    #[serde(serialize_with = "as_text")]
    pub trust_domain: TrustDomain,
    /// Other domains whose identities are accepted as if they were of this one.
    #[serde(serialize_with = "as_texts")]
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// The namespace whose mesh documents concern the whole mesh.
    #[serde(serialize_with = "as_text")]
    pub root_namespace: Arc<str>,
    /// Where Kubernetes objects come from.
    pub source: Source,
    /// Directory of the state that serves while the Kubernetes API cannot be reached; `None` keeps none, and is `""` in
    /// the file.
    #[serde(serialize_with = "as_state")]
    pub state: Option<PathBuf>,
    /// Who signs this node's certificates.
    pub ca: CaConfig,
    /// Whether plaintext from outside the mesh is accepted.
    #[serde(serialize_with = "as_mode")]
    pub mtls: MtlsMode,
    /// What is asked of peers' certificates beside a trusted root.
    pub tls: TlsConfig,
    /// Where the kernel side lives.
    pub capture: CaptureConfig,
    /// Who is asked for names of ServiceEntries.
    pub dns: DnsConfig,
    /// How keys of tokens are fetched.
    pub jwks: JwksConfig,
    /// The admin endpoints.
    pub admin: AdminConfig,
    /// The address of `/metrics`.
    #[serde(serialize_with = "as_address")]
    pub metrics: SocketAddr,
    /// The address of `/healthz`.
    #[serde(serialize_with = "as_address")]
    pub health: SocketAddr,
    /// How one agent takes over from another.
    pub handover: HandoverConfig,
    /// Logs.
    pub log: LogConfig,
    /// Bounds and timeouts.
    pub limits: Limits,
    /// Bounds of what is parsed as HTTP.
    pub http: HttpLimits,
    /// Spans of requests.
    pub tracing: TracingConfig,
}

/// Where Kubernetes objects come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A directory of plain Kubernetes YAML.
    Files {
        /// The directory.
        path: PathBuf,
    },
    /// The Kubernetes API.
    Kubernetes(KubernetesSource),
}

/// How the Kubernetes API is reached, and what is read beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KubernetesSource {
    /// Server and credentials; `None` is what Kubernetes gives to a pod of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; `None` is its current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// A directory of mesh documents, such as a mounted ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<PathBuf>,
}

/// Who signs this node's certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaConfig {
    /// A root made at start and kept in memory: good for one agent only.
    LocalMemory,
    /// A root in a directory that several agents may share.
    LocalDirectory(PathBuf),
    /// A service that speaks Istio's protocol for signing requests.
    Remote(RemoteCaConfig),
}

/// How a remote authority is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteCaConfig {
    /// Where it is.
    #[serde(serialize_with = "as_text")]
    pub address: CaAddress,
    /// PEM file of the roots that vouch for its own certificate.
    pub roots: PathBuf,
    /// File of the token that tells who this agent is.
    pub token: PathBuf,
    /// The DNS name or IP address that its certificate must be for.
    pub server_name: String,
    /// How long certificates are asked to be valid.
    #[serde(serialize_with = "as_duration")]
    pub lifetime: Duration,
    /// The cluster, as it calls it.
    pub cluster_id: String,
    /// Whether the agent says for whom it asks beside what the signing request says.
    pub impersonate: bool,
}

/// A remote authority's address, `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaAddress {
    /// A DNS name, or an IP address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Whether plaintext from outside the mesh is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MtlsMode {
    /// Enrolled pods refuse plaintext from outside the mesh.
    Strict,
    /// Enrolled pods accept plaintext from outside the mesh.
    Permissive,
}

/// What is asked of peers' certificates beside a trusted root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsConfig {
    /// The file of certificate revocation lists; `None` revokes nobody, and is `""` in the file.
    #[serde(serialize_with = "as_path_or_empty")]
    pub crl: Option<PathBuf>,
}

/// Where the kernel side lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaptureConfig {
    /// The cgroup v2 directory at which programs are attached.
    pub cgroup: PathBuf,
    /// Directory of pinned maps and links, below a bpffs mount.
    pub pins: PathBuf,
    /// The machine's proc file system, where pods' processes and their network namespaces are found.
    pub proc: PathBuf,
    /// Whose probes reach enrolled pods.
    pub kubelet: KubeletCgroup,
    /// Which connections may be left to the kernel.
    pub fast_path: FastPath,
}

/// Which connections the agent may leave to the kernel once it has decided over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FastPath {
    /// Those between pods of this node, and those that leave the mesh.
    All,
    /// Those that leave the mesh: what pods of this node say to each other is encrypted.
    OutsideMesh,
    /// None.
    Off,
}

/// Who is asked for names of ServiceEntries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsConfig {
    /// The file that lists the name servers, in the format of `resolv.conf(5)`.
    pub resolv_conf: PathBuf,
}

/// How keys of tokens are fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JwksConfig {
    /// Certificates that the servers of keys must lead to; `None` is those of the machine, and is `""` in the file.
    #[serde(serialize_with = "as_path_or_empty")]
    pub roots: Option<PathBuf>,
}

/// The admin endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdminConfig {
    /// TCP address, loopback by default; `None` serves no TCP, and is `""` in the file.
    #[serde(serialize_with = "as_text_or_empty")]
    pub address: Option<SocketAddr>,
    /// Unix socket; `None` serves none, and is `""` in the file.
    #[serde(serialize_with = "as_path_or_empty")]
    pub socket: Option<PathBuf>,
}

/// How one agent takes over from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HandoverConfig {
    /// Unix socket on which the next agent asks; `None` hands nothing over, and is `""` in the file.
    #[serde(serialize_with = "as_path_or_empty")]
    pub socket: Option<PathBuf>,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or tracing directives (`info,heddle::capture=debug`); known to parse.
    pub level: String,
    /// Shape of every line.
    pub format: LogFormat,
    /// Whether each connection writes a line at its end.
    pub access: bool,
    /// How often those that are open write one; `None` writes none, and is `0s` in the file.
    #[serde(serialize_with = "as_duration_or_zero")]
    pub long_connections: Option<Duration>,
    /// Lines of the access log that a second may have; `None` for any number, and 0 in the file.
    #[serde(serialize_with = "as_number_or_zero")]
    pub access_rate: Option<NonZeroU32>,
    /// How many of the last such ends are kept in memory, for `heddle explain --trace`; 0 for none.
    pub remembered: usize,
    /// Whether the kernel's events of connections are in the log.
    #[serde(serialize_with = "as_boolean")]
    pub events: EventLog,
}

/// Whether the kernel's events of connections are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLog {
    /// They are.
    On,
    /// They are not: the kernel tells of connections only while somebody listens.
    Off,
}

/// Shape of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Bounds and timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Worker threads of the data runtime.
    pub data_threads: usize,
    /// Dialling another node or the outside.
    #[serde(serialize_with = "as_duration")]
    pub connect_timeout: Duration,
    /// Dialling the application on this node.
    #[serde(serialize_with = "as_duration")]
    pub local_connect_timeout: Duration,
    /// TLS and HTTP/2 start of a tunnel.
    #[serde(serialize_with = "as_duration")]
    pub handshake_timeout: Duration,
    /// How long open connections live on after SIGTERM.
    #[serde(serialize_with = "as_duration")]
    pub drain_timeout: Duration,
    /// Streams that share one tunnel before another is opened.
    pub streams_per_tunnel: u32,
    /// Connections of all pods together.
    pub connections: u32,
    /// Resident memory of the agent, in bytes; `None` for any.
    #[serde(serialize_with = "as_bytes_or_zero")]
    pub memory: Option<u64>,
    /// What one pod may have where no Capture document says otherwise.
    pub pod: Share,
}

impl Serialize for CaConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Local<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            path: Option<&'a PathBuf>,
        }
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::LocalMemory => map.serialize_entry("local", &Local { path: None })?,
            Self::LocalDirectory(path) => map.serialize_entry("local", &Local { path: Some(path) })?,
            Self::Remote(remote) => map.serialize_entry("remote", remote)?,
        }
        map.end()
    }
}

fn as_bytes_or_zero<S: Serializer>(bytes: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(bytes.unwrap_or(0))
}

fn as_state<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("path", &path.as_deref().unwrap_or_else(|| "".as_ref()))?;
    map.end()
}

fn as_mode<S: Serializer>(mode: &MtlsMode, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("mode", mode)?;
    map.end()
}

fn as_address<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("address", address)?;
    map.end()
}

pub(super) fn as_text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_texts<T: std::fmt::Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(ToString::to_string))
}

fn as_text_or_empty<T: std::fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_str(""),
    }
}

pub(super) fn as_path_or_empty<S: Serializer>(value: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    as_text_or_empty(&value.as_ref().map(|path| path.display()), serializer)
}

fn as_duration_or_zero<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    as_duration(&value.unwrap_or_default(), serializer)
}

fn as_number_or_zero<S: Serializer>(value: &Option<NonZeroU32>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u32(value.map_or(0, NonZeroU32::get))
}

fn as_boolean<S: Serializer>(value: &EventLog, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(*value == EventLog::On)
}

pub(super) fn as_duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*value))
}
