//! Raw form to resolved form: reads the tree of `agent.yaml` once, section by section, fills in defaults and collects
//! every problem.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    AdminConfig, CaptureConfig, Config, DnsConfig, EventLog, FastPath, HandoverConfig, JwksConfig, KubeletCgroup,
    Limits, LogConfig, LogFormat, Machine, MtlsMode, Position, Problem, Problems, TlsConfig, ca, conflicts, defaults,
    http, level,
    machine::NODE_NAME,
    otlp, secrets, source,
    yaml::{Document, MapReader, Node, Report, Value, split},
};
use crate::{mesh::TrustDomain, shares::ShareBounds};

pub(super) const DURATION: &str = "a duration above zero and up to 24h, such as 500ms, 5s or 1m";
pub(super) const ABSOLUTE_PATH: &str = "an absolute path";
const LONG_CONNECTIONS: &str = "0s for none, or a duration from 1s to 24h, such as 60s";
const TRUST_DOMAIN: &str = "trust domain: 1 to 255 of the characters a-z, 0-9, '.', '-' and '_'";
pub(super) const ADDRESS: &str = "an address and port such as 127.0.0.1:15000 or [::1]:15000";

impl Config {
    /// Reads and resolves a file on this machine.
    ///
    /// # Errors
    /// Every problem of the file, or that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read the agent configuration: {error}; give its path with --config");
            Problem::of_file(&name, message)
        })?;
        Self::parse(&name, &text, &Machine::detect())
    }

    /// Resolves the text of a file. Pure; `file_name` is only for messages.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(file_name: &str, text: &str, machine: &Machine) -> Result<Self, Problems> {
        let root = single_document(file_name, text).map_err(|problems| secrets::hidden(problems, None))?;
        let report = Report::new(file_name, text);
        let config = resolve(&root, &report, machine);
        match (config, Problems::new(report.into_problems())) {
            (Some(config), None) => Ok(config),
            (_, Some(problems)) => Err(secrets::hidden(problems, Some(&root))),
            (None, None) => Err(Problem::of_file(file_name, "is not a usable configuration").into()),
        }
    }
}

/// The tree of a file that must hold one document.
pub(super) fn single_document(file: &str, text: &str) -> Result<Node, Problems> {
    match split(text).as_slice() {
        // An empty file is an empty map: the report then names the keys that must be there.
        [] => Ok(Node { position: Position { line: 1, column: 1 }, value: Value::Null }),
        [document] => Ok(document.parse(file, text)?),
        [_, Document { first_line, .. }, ..] => {
            let second = Position { line: first_line + 1, column: 1 };
            Err(Problem::at(file, text, second, "a second document begins here, allowed: one document").into())
        }
    }
}

/// `None` where a problem left no value to go on with; it has been reported then.
fn resolve<'a>(root: &'a Node, report: &'a Report<'a>, machine: &Machine) -> Option<Config> {
    let root = report.root(root)?;
    let node = node(&root, machine);
    let cluster = root.parsed("cluster", "a name that is not empty", |text| (!text.is_empty()).then_some(text));
    let trust_domain = trust_domain(&root);
    let trust_domain_aliases = trust_domain_aliases(&root, trust_domain.as_ref());
    let root_namespace = root.parsed("rootNamespace", "the name of a namespace", |text| is_label(text).then_some(text));
    let source = source::source(&root);
    let state = source::state(&root, source.as_ref());
    let ca = ca::ca(&root, cluster.unwrap_or(defaults::CLUSTER));
    let mtls = mtls(&root);
    let tls = tls(&root);
    let capture = capture(&root, machine);
    let dns = dns(&root);
    let jwks = jwks(&root);
    let endpoints = endpoints(&root, report);
    let handover = handover(&root);
    let log = log(&root);
    let limits = limits(&root, machine);
    let http = http::http(&root);
    let tracing = otlp::tracing(&root);
    root.finish();
    let (admin, metrics, health) = endpoints?;
    Some(Config {
        node: node?,
        cluster: cluster.unwrap_or(defaults::CLUSTER).into(),
        trust_domain: trust_domain?,
        trust_domain_aliases,
        root_namespace: root_namespace.unwrap_or(defaults::ROOT_NAMESPACE).into(),
        source: source?,
        state: state?,
        ca: ca?,
        mtls: mtls?,
        tls: tls?,
        capture: capture?,
        dns: dns?,
        jwks: jwks?,
        admin,
        metrics,
        health,
        handover: handover?,
        log: log?,
        limits: limits?,
        http: http?,
        tracing: tracing?,
    })
}

fn node(root: &MapReader<'_>, machine: &Machine) -> Option<Arc<str>> {
    const ALLOWED: &str = "this node's name, as in spec.nodeName of its pods";
    match &machine.node {
        Some(name) if !root.has("node") => {
            if !is_subdomain(name) {
                root.complain("node", format!("the environment has {NODE_NAME}={name:?}, allowed: {ALLOWED}"));
            }
            Some(name.as_str().into())
        }
        _ => required(root, "node", ALLOWED, |text| is_subdomain(text).then(|| text.into())),
    }
}

pub(super) fn trust_domain(root: &MapReader<'_>) -> Option<TrustDomain> {
    let domain = root.parsed("trustDomain", &format!("a {TRUST_DOMAIN}"), |text| text.parse().ok());
    domain.or_else(|| defaults::TRUST_DOMAIN.parse().ok())
}

fn trust_domain_aliases(root: &MapReader<'_>, own: Option<&TrustDomain>) -> Vec<TrustDomain> {
    let allowed = format!("a list of other trust domains, each a {TRUST_DOMAIN}");
    let aliases: Vec<TrustDomain> = root.scalars("trustDomainAliases", &allowed, |node| node.text()?.parse().ok());
    for (index, alias) in aliases.iter().enumerate() {
        if Some(alias) == own {
            root.complain("trustDomainAliases", format!("found {:?}, which is trustDomain; remove it", alias.as_str()));
        } else if aliases[..index].contains(alias) {
            root.complain("trustDomainAliases", format!("found {:?} twice; remove one", alias.as_str()));
        }
    }
    aliases
}

fn mtls(root: &MapReader<'_>) -> Option<MtlsMode> {
    let mtls = root.map_or_empty("mtls")?;
    let mode = mtls.parsed("mode", "STRICT or PERMISSIVE", |text| match text {
        "STRICT" => Some(MtlsMode::Strict),
        "PERMISSIVE" => Some(MtlsMode::Permissive),
        _ => None,
    });
    mtls.finish();
    Some(mode.unwrap_or(defaults::MTLS_MODE))
}

fn tls(root: &MapReader<'_>) -> Option<TlsConfig> {
    let tls = root.map_or_empty("tls")?;
    let crl = tls.parsed("crl", "an absolute path of a PEM file, or \"\" for none", path_or_none);
    tls.finish();
    Some(TlsConfig { crl: crl.unwrap_or_default() })
}

fn capture(root: &MapReader<'_>, machine: &Machine) -> Option<CaptureConfig> {
    let capture = root.map_or_empty("capture")?;
    let cgroup = capture.parsed("cgroup", ABSOLUTE_PATH, absolute_path);
    let pins = capture.parsed("pins", ABSOLUTE_PATH, absolute_path);
    let proc = capture.parsed("proc", ABSOLUTE_PATH, absolute_path);
    let fast_path = capture.parsed("fastPath", "all, outsideMesh or off", |text| match text {
        "all" => Some(FastPath::All),
        "outsideMesh" => Some(FastPath::OutsideMesh),
        "off" => Some(FastPath::Off),
        _ => None,
    });
    let cgroup = if capture.has("cgroup") { cgroup } else { machine.cgroup2_mount.clone() };
    if cgroup.is_none() && !capture.has("cgroup") {
        capture
            .missing("cgroup", "the cgroup v2 mount, since none was found in /proc/self/mounts; mount one or name it");
    }
    let kubelet = KubeletCgroup::read(&capture, cgroup.as_deref());
    capture.finish();
    Some(CaptureConfig {
        cgroup: cgroup?,
        pins: pins.unwrap_or_else(|| defaults::PINS.into()),
        proc: proc.unwrap_or_else(|| defaults::PROC.into()),
        kubelet,
        fast_path: fast_path.unwrap_or(defaults::FAST_PATH),
    })
}

fn dns(root: &MapReader<'_>) -> Option<DnsConfig> {
    let dns = root.map_or_empty("dns")?;
    let resolv_conf = dns.parsed("resolvConf", ABSOLUTE_PATH, absolute_path);
    dns.finish();
    Some(DnsConfig { resolv_conf: resolv_conf.unwrap_or_else(|| defaults::RESOLV_CONF.into()) })
}

fn jwks(root: &MapReader<'_>) -> Option<JwksConfig> {
    let jwks = root.map_or_empty("jwks")?;
    let roots = jwks.parsed("roots", "an absolute path, or \"\" for the machine's certificates", path_or_none);
    jwks.finish();
    Some(JwksConfig { roots: roots.unwrap_or_default() })
}

fn endpoints(root: &MapReader<'_>, report: &Report<'_>) -> Option<(AdminConfig, SocketAddr, SocketAddr)> {
    let (admin, metrics, health) =
        (root.map_or_empty("admin"), root.map_or_empty("metrics"), root.map_or_empty("health"));
    let (admin, metrics, health) = (admin?, metrics?, health?);
    let admin_config = admin_config(&admin);
    let metrics_address = listen_address(&metrics, defaults::METRICS_ADDRESS);
    let health_address = listen_address(&health, defaults::HEALTH_ADDRESS);
    conflicts::report(
        report,
        &[
            ("admin.address", admin.position_of("address"), admin_config.address),
            ("metrics.address", metrics.position_of("address"), Some(metrics_address)),
            ("health.address", health.position_of("address"), Some(health_address)),
        ],
    );
    for map in [admin, metrics, health] {
        map.finish();
    }
    Some((admin_config, metrics_address, health_address))
}

fn admin_config(admin: &MapReader<'_>) -> AdminConfig {
    let address = admin.parsed("address", &format!("{ADDRESS}, or \"\" for none"), |text| {
        if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
    });
    let socket = admin.parsed("socket", "an absolute path, or \"\" for none", path_or_none);
    AdminConfig {
        address: address.unwrap_or(Some(defaults::ADMIN_ADDRESS)),
        socket: socket.unwrap_or_else(|| Some(defaults::ADMIN_SOCKET.into())),
    }
}

fn handover(root: &MapReader<'_>) -> Option<HandoverConfig> {
    let handover = root.map_or_empty("handover")?;
    let socket = handover.parsed("socket", "an absolute path, or \"\" for none", path_or_none);
    handover.finish();
    Some(HandoverConfig { socket: socket.unwrap_or_else(|| Some(defaults::HANDOVER_SOCKET.into())) })
}

pub(super) fn listen_address(map: &MapReader<'_>, default: SocketAddr) -> SocketAddr {
    map.parsed("address", ADDRESS, |text| text.parse().ok()).unwrap_or(default)
}

fn log(root: &MapReader<'_>) -> Option<LogConfig> {
    let log = root.map_or_empty("log")?;
    let level = log.parsed("level", level::ALLOWED, level::checked);
    let format = log_format(&log);
    let access = log.boolean("access");
    let long_connections = log.parsed("longConnections", LONG_CONNECTIONS, interval_or_none);
    let rate = log.integer("accessRate", "a whole number from 0, for any number of lines, to 1000000", |n| {
        defaults::ACCESS_RATE_RANGE.contains(n)
    });
    let events = log.boolean("events").map(|on| if on { EventLog::On } else { EventLog::Off });
    let allowed = "a whole number from 0 to 65536";
    let remembered = log.integer("remembered", allowed, |n| defaults::REMEMBERED_RANGE.contains(n));
    log.finish();
    Some(LogConfig {
        level: level.unwrap_or(defaults::LOG_LEVEL).to_owned(),
        format: format.unwrap_or(defaults::LOG_FORMAT),
        access: access.unwrap_or(defaults::ACCESS_LOG),
        long_connections: long_connections.unwrap_or(Some(defaults::LONG_CONNECTIONS)),
        access_rate: rate.map_or(Some(defaults::ACCESS_RATE), NonZeroU32::new),
        events: events.unwrap_or(defaults::EVENT_LOG),
        remembered: remembered.unwrap_or(defaults::REMEMBERED),
    })
}

/// `format` of `log`.
pub(super) fn log_format(log: &MapReader<'_>) -> Option<LogFormat> {
    log.parsed("format", "text or json", |text| match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    })
}

fn limits(root: &MapReader<'_>, machine: &Machine) -> Option<Limits> {
    let limits = root.map_or_empty("limits")?;
    let threads =
        limits.integer("dataThreads", "a whole number from 1 to 1024", |n| defaults::DATA_THREADS_RANGE.contains(n));
    let timeout = |key, default| limits.parsed(key, DURATION, duration).unwrap_or(default);
    let connect_timeout = timeout("connectTimeout", defaults::CONNECT_TIMEOUT);
    let local_connect_timeout = timeout("localConnectTimeout", defaults::LOCAL_CONNECT_TIMEOUT);
    let handshake_timeout = timeout("handshakeTimeout", defaults::HANDSHAKE_TIMEOUT);
    let drain_timeout = timeout("drainTimeout", defaults::DRAIN_TIMEOUT);
    let streams = limits.integer("streamsPerTunnel", "a whole number from 1 to 1000", |n| {
        defaults::STREAMS_PER_TUNNEL_RANGE.contains(n)
    });
    let connections =
        limits.integer("connections", "a whole number from 1 to 10000000", |n| defaults::CONNECTIONS_RANGE.contains(n));
    let memory = limits.integer("memory", "a number of bytes from 33554432, or 0 for no bound", |n| {
        *n == 0 || *n >= defaults::LEAST_MEMORY
    });
    let pod = limits.map_or_empty("pod").map(ShareBounds::read).unwrap_or_default();
    limits.finish();
    Some(Limits {
        data_threads: threads.unwrap_or_else(|| machine.data_threads()),
        connect_timeout,
        local_connect_timeout,
        handshake_timeout,
        drain_timeout,
        streams_per_tunnel: streams.unwrap_or(defaults::STREAMS_PER_TUNNEL),
        connections: connections.unwrap_or_else(|| machine.connections()),
        memory: memory.map_or_else(|| machine.resident_bound(), |bytes| (bytes > 0).then_some(bytes)),
        pod: machine.pod_share().or(pod),
    })
}

/// A text that must be there.
pub(super) fn required<'a, T>(
    map: &MapReader<'a>,
    key: &'static str,
    allowed: &str,
    parse: impl FnOnce(&'a str) -> Option<T>,
) -> Option<T> {
    let value = map.parsed(key, allowed, parse);
    if !map.has(key) {
        map.missing(key, allowed);
    }
    value
}

/// A DNS subdomain (RFC 1123), as Kubernetes demands of most names, those of nodes among them.
pub(super) fn is_subdomain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(allowed)
}

/// A DNS label (RFC 1123), as Kubernetes demands of namespaces.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(allowed)
}

pub(super) fn non_empty_path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

/// An absolute path, or an empty text for none.
pub(super) fn path_or_none(text: &str) -> Option<Option<PathBuf>> {
    if text.is_empty() { Some(None) } else { absolute_path(text).map(Some) }
}

pub(super) fn absolute_path(text: &str) -> Option<PathBuf> {
    text.starts_with('/').then(|| text.into())
}

fn interval_or_none(text: &str) -> Option<Option<Duration>> {
    let interval = humantime::parse_duration(text).ok()?;
    let range = defaults::SHORTEST_LONG_CONNECTIONS..=defaults::LONGEST_TIMEOUT;
    if interval.is_zero() { Some(None) } else { range.contains(&interval).then_some(Some(interval)) }
}

pub(super) fn duration(text: &str) -> Option<Duration> {
    let duration = humantime::parse_duration(text).ok()?;
    (!duration.is_zero() && duration <= defaults::LONGEST_TIMEOUT).then_some(duration)
}
