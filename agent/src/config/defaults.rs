//! Every default of `agent.yaml` that does not depend on the machine, with its reason.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    ops::RangeInclusive,
    time::Duration,
};

use super::{EventLog, FastPath, LogFormat, MtlsMode};

/// Istio's default cluster id, so that its dashboards and peers show a name that they know.
pub(super) const CLUSTER: &str = "Kubernetes";

/// Kubernetes' and Istio's default, so that identities agree with what other tools expect.
pub(super) const TRUST_DOMAIN: &str = "cluster.local";

/// Where the agent's pod has its projected token for the authority.
pub(super) const TOKEN: &str = "/var/run/secrets/heddle/token";

/// Renewed at half of it, it leaves half a day to mend an authority that is down.
pub(super) const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Where Heddle itself is installed: who may write there governs the mesh already.
pub(super) const ROOT_NAMESPACE: &str = "heddle-system";

/// What is not enrolled yet must still reach what is, or the first enrolled pod is an outage.
pub(super) const MTLS_MODE: MtlsMode = MtlsMode::Permissive;

/// What the agent would carry unread, between identities that the kernel proves, gains nothing from being carried by it.
pub(super) const FAST_PATH: FastPath = FastPath::All;

/// Where distributions mount bpffs, and a directory of our own there.
pub(super) const PINS: &str = "/sys/fs/bpf/heddle";

/// Where Linux has it, also in a pod with `hostPID: true`.
pub(super) const PROC: &str = "/proc";

/// A directory of our own below the one that the file system hierarchy standard gives to programs' state.
pub(super) const STATE: &str = "/var/lib/heddle/state";

/// Where the machine, or the kubelet for the agent's pod, lists the name servers.
pub(super) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Loopback only: it shows configuration and traffic of all pods of the node.
pub(super) const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);

/// File permissions decide who may use it, which a TCP address cannot offer.
pub(super) const ADMIN_SOCKET: &str = "/run/heddle/admin.sock";

/// Beside the admin socket: both are in a directory of the node, which the next agent's pod has too.
pub(super) const HANDOVER_SOCKET: &str = "/run/heddle/handover.sock";

/// All addresses: a Prometheus in a pod scrapes it. The port is the one that Istio's agents use.
pub(super) const METRICS_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15020);

/// All addresses: the kubelet probes the node's address. The port is the one that Istio's agents use.
pub(super) const HEALTH_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15021);

/// Changes of state and failures, no line per decision.
pub(super) const LOG_LEVEL: &str = "info";

/// Whoever reads it without configuring anything is a person.
pub(super) const LOG_FORMAT: LogFormat = LogFormat::Text;

/// One line per connection: the first question after an incident is who talked to whom.
pub(super) const ACCESS_LOG: bool = true;

/// No lines of what the kernel sees: it tells of connections only while somebody listens.
pub(super) const EVENT_LOG: EventLog = EventLog::Off;

/// A line a minute of a connection that stays open is enough to see it, and little beside its traffic.
pub(super) const LONG_CONNECTIONS: Duration = Duration::from_secs(60);

/// Each line costs a walk through the open connections.
pub(super) const SHORTEST_LONG_CONNECTIONS: Duration = Duration::from_secs(1);

/// About 1 MB a second, 80 GB a day: more than that from each node is a flood to whoever collects it.
pub(super) const ACCESS_RATE: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// A million lines a second are more than can be written.
pub(super) const ACCESS_RATE_RANGE: RangeInclusive<u32> = 0..=1_000_000;

/// Some seconds of a busy node, and hours of a quiet one, in about 4 MB.
pub(super) const REMEMBERED: usize = 4096;

/// A node that keeps more spends its memory on questions that the log's own store answers.
pub(super) const REMEMBERED_RANGE: RangeInclusive<usize> = 0..=65_536;

/// Three lost SYNs (1 s, 2 s and part of the third wait) before another endpoint is tried.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The application is on this node: nothing is lost on the way, so silence means a full backlog.
pub(super) const LOCAL_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A handshake is two round trips and under a millisecond of computing; the rest is room for an overloaded peer.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Kubernetes' default grace period of a pod.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What ztunnel's clients use, and half of what its servers allow.
pub(super) const STREAMS_PER_TUNNEL: u32 = 100;

/// One stream still works; beyond a thousand the shared window of a tunnel is cut too small to carry them.
pub(super) const STREAMS_PER_TUNNEL_RANGE: RangeInclusive<u32> = 1..=1000;

/// More than any node has descriptors for.
pub(super) const CONNECTIONS_RANGE: RangeInclusive<u32> = 1..=10_000_000;

/// An agent that has just started has nearly as much.
pub(super) const LEAST_MEMORY: u64 = 32 << 20;

/// More threads than any node has CPUs is a mistake in the file.
pub(super) const DATA_THREADS_RANGE: RangeInclusive<usize> = 1..=1024;

/// Bound in every enrolled pod's network namespace: outbound, inbound plaintext, inbound HBONE. An endpoint of the
/// node on one of them would take the port away from host-network pods' peers and confuse every reader.
pub(super) const CAPTURE_PORTS: [u16; 3] = [15001, 15006, 15008];

/// A day: longer waits are a mistake in the file, and far from where adding to a clock overflows.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
