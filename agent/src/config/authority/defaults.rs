//! Every default of `ca.yaml`, with its reason.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use crate::config::LogFormat;

/// All addresses, on the port that Istio's authority uses.
pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15012);

/// Long enough to survive a night without an authority, short enough that a stolen key is soon worthless.
pub(super) const LEAF_LIFETIME: Duration = DAY;

/// Below ten seconds clocks and renewals are in each other's way. Above a day a pod that left keeps its identity for too
/// long, and agents renew at half of it whatever it is.
pub(super) const LEAF_LIFETIME_RANGE: RangeInclusive<Duration> = Duration::from_secs(10)..=DAY;

/// The audience of the tokens that the kubelet projects for agents.
pub(super) const AUDIENCE: &str = "heddle-ca";

/// The agents, as they are installed.
pub(super) const TRUSTED: (&str, &str) = ("heddle-system", "heddle-agent");

/// The Service, as it is installed; agents of other namespaces use the long form.
pub(super) const DNS_NAMES: [&str; 2] = ["heddle-ca.heddle-system.svc", "heddle-ca.heddle-system.svc.cluster.local"];

/// All addresses: a Prometheus in a pod scrapes it. The same port as an agent's.
pub(super) const METRICS_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15020);

/// All addresses: the kubelet probes the pod's. The same port as an agent's.
pub(super) const HEALTH_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 15021);

/// The name that the manifests give the ValidatingWebhookConfiguration.
pub(super) const WEBHOOK: &str = "heddle";

/// As `agent.yaml` has it.
pub(super) const ROOT_NAMESPACE: &str = crate::config::defaults::ROOT_NAMESPACE;

/// It needs the right to patch nodes, which nobody should have to give unasked.
pub(super) const TAINT_NODES: bool = false;

/// The agents' pods, as they are installed.
pub(super) const AGENTS_NAMESPACE: &str = "heddle-system";
pub(super) const AGENTS_SELECTOR: &str = "app.kubernetes.io/name=heddle";

/// What the agents' DaemonSet selects: agents run on Linux only.
pub(super) const NODES_SELECTOR: &str = "kubernetes.io/os=linux";

/// A container that is restarted, or a pod that is replaced, is ready again by then; pods that are scheduled meanwhile are
/// held up by the node's own plumbing about as long.
pub(super) const AGENTS_GRACE: Duration = Duration::from_secs(10);

/// Longer, and the taint comes after the pods that it is to keep away.
pub(super) const AGENTS_GRACE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);

/// Changes of state and failures; audit lines come at every level.
pub(super) const LOG_LEVEL: &str = "info";

/// Whoever reads it without configuring anything is a person.
pub(super) const LOG_FORMAT: LogFormat = LogFormat::Text;

/// 3652 days, ten years and two leap days: longer than any cluster stays as it is.
pub(super) const ROOT_LIFETIME: Duration = Duration::from_secs(3652 * 86_400);

/// Shorter ones are for tests; longer ones outlive their algorithms.
pub(super) const ROOT_LIFETIME_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(20 * 366 * 86_400);

/// Two years of ten: time for an operator to be on holiday.
pub(super) const ROTATE_BELOW_PERCENT: u8 = 20;

/// Two connections for each of 5,000 nodes, which is what Kubernetes is tested with.
pub(super) const CONNECTIONS: usize = 10_000;

/// One signature takes less than a tenth of a millisecond, so these wait for the API server.
pub(super) const REQUESTS: usize = 512;

/// An agent's token is asked about once a minute. An API server's own limit is a few hundred requests at once.
pub(super) const TOKEN_REVIEWS: usize = 32;

/// Three round trips and under a millisecond of computing; the rest is for an overloaded machine.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than a TokenReview may take, shorter than an agent waits.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Agents ask in bursts when pods come, and every few hours otherwise.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// A request that is not answered by then is not answered at all.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Beyond this a number in the file is a mistake.
pub(super) const COUNT_RANGE: RangeInclusive<usize> = 1..=1_000_000;

const DAY: Duration = Duration::from_secs(86_400);
