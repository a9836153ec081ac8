//! Raw form to resolved form: reads the tree of `ca.yaml` once, section by section, fills in defaults and collects every
//! problem.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::Path,
    time::Duration,
};

use super::{
    AccountName, AuthorityConfig, AuthorityLimits, AuthorityLog, ObjectPlace, ServerConfig, TokensConfig,
    admission::admission, agents::agents, defaults, root::root_config,
};
use crate::config::{
    KubernetesSource, Position, Problem, Problems, level,
    resolve::{
        ABSOLUTE_PATH, ADDRESS, DURATION, absolute_path, duration, is_label, is_subdomain, listen_address, log_format,
        required, single_document, trust_domain,
    },
    yaml::{MapReader, Node, Report},
};

impl AuthorityConfig {
    /// Reads and resolves a file.
    ///
    /// # Errors
    /// Every problem of the file, or that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message =
                format!("cannot read the configuration of the authority: {error}; give its path with --config");
            Problem::of_file(&name, message)
        })?;
        Self::parse(&name, &text)
    }

    /// Resolves the text of a file. Pure; `file_name` is only for messages.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, Problems> {
        let root = single_document(file_name, text)?;
        let report = Report::new(file_name, text);
        let config = resolve(&root, &report);
        match (config, Problems::new(report.into_problems())) {
            (Some(config), None) => Ok(config),
            (_, Some(problems)) => Err(problems),
            (None, None) => Err(Problem::of_file(file_name, "is not a usable configuration").into()),
        }
    }
}

/// `None` where a problem left no value to go on with; it has been reported then.
fn resolve<'a>(root: &'a Node, report: &'a Report<'a>) -> Option<AuthorityConfig> {
    let root = report.root(root)?;
    let trust_domain = trust_domain(&root);
    let listen = root.parsed("listen", ADDRESS, |text| text.parse().ok()).unwrap_or(defaults::LISTEN);
    let leaf_lifetime = within(&root, "leafLifetime", LEAF_LIFETIME, &defaults::LEAF_LIFETIME_RANGE);
    let leaf_lifetime = leaf_lifetime.unwrap_or(defaults::LEAF_LIFETIME);
    let roots = root_config(&root, leaf_lifetime);
    let publish = publish(&root);
    let tokens = tokens(&root);
    let kubernetes = kubernetes(&root);
    let server = server(&root);
    let admission = admission(&root);
    let taint_nodes = root.boolean("taintNodes").unwrap_or(defaults::TAINT_NODES);
    let agents = agents(&root);
    let of_admission = admission.as_ref().and_then(|(admission, position)| Some((*position, admission.listen?)));
    let addresses = addresses(&root, report, listen, of_admission);
    let log = log(&root);
    let limits = limits(&root);
    root.finish();
    let (metrics, health) = addresses?;
    Some(AuthorityConfig {
        trust_domain: trust_domain?,
        listen,
        root: roots?,
        publish: publish?,
        leaf_lifetime,
        tokens: tokens?,
        kubernetes: kubernetes?,
        server: server?,
        admission: admission?.0,
        taint_nodes,
        agents: agents?,
        metrics,
        health,
        log: log?,
        limits: limits?,
    })
}

fn publish(root: &MapReader<'_>) -> Option<Option<ObjectPlace>> {
    if !root.has("publish") {
        root.tolerate(&["publish"]);
        return Some(None);
    }
    let publish = root.map("publish")?;
    let config_map = publish.map("configMap");
    if !publish.has("configMap") {
        publish.missing("configMap", "{namespace: NAME, name: NAME}");
    }
    publish.finish();
    let config_map = config_map?;
    let place = place(&config_map);
    config_map.finish();
    Some(Some(place?))
}

/// Reads `namespace` and `name`; the caller says what else may be there.
pub(super) fn place(map: &MapReader<'_>) -> Option<ObjectPlace> {
    let namespace =
        required(map, "namespace", "the name of a namespace", |text| is_label(text).then(|| text.to_owned()));
    let name = required(map, "name", "the name of an object", |text| is_subdomain(text).then(|| text.to_owned()));
    Some(ObjectPlace { namespace: namespace?, name: name? })
}

fn tokens(root: &MapReader<'_>) -> Option<TokensConfig> {
    let tokens = root.map_or_empty("tokens")?;
    let audience = tokens.parsed("audience", "a name that is not empty", |text| (!text.is_empty()).then_some(text));
    let allowed = "NAMESPACE/NAME of a service account";
    let mut trusted = tokens.scalars("trustedServiceAccounts", allowed, |node| account(node.text()?));
    // An empty list trusts nobody: then agents get certificates of their own account only.
    if !tokens.names("trustedServiceAccounts") {
        let (namespace, name) = defaults::TRUSTED;
        trusted.push(AccountName { namespace: namespace.into(), name: name.into() });
    }
    tokens.finish();
    Some(TokensConfig {
        audience: audience.unwrap_or(defaults::AUDIENCE).to_owned(),
        trusted_service_accounts: trusted,
    })
}

fn account(text: &str) -> Option<AccountName> {
    let (namespace, name) = text.split_once('/')?;
    (is_label(namespace) && is_subdomain(name)).then(|| AccountName { namespace: namespace.into(), name: name.into() })
}

fn kubernetes(root: &MapReader<'_>) -> Option<KubernetesSource> {
    let kubernetes = root.map_or_empty("kubernetes")?;
    let kubeconfig = kubernetes.parsed("kubeconfig", ABSOLUTE_PATH, absolute_path);
    let context = kubernetes.parsed("context", "the name of a context of the kubeconfig", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    });
    if kubernetes.has("context") && !kubernetes.has("kubeconfig") {
        kubernetes.complain("context", "has no effect without kubeconfig; name the file that has the context");
    }
    kubernetes.finish();
    Some(KubernetesSource { kubeconfig, context, documents: None })
}

fn server(root: &MapReader<'_>) -> Option<ServerConfig> {
    let server = root.map_or_empty("server")?;
    let allowed = "a DNS name in lower case without a wildcard, or an address";
    let mut dns_names = server.scalars("dnsNames", allowed, |node| server_name(node.text()?));
    match server.names("dnsNames") {
        true if server.has_empty("dnsNames") => {
            server.complain("dnsNames", "is empty, and agents check the name; list the names under which they dial");
        }
        true => {}
        false => dns_names.extend(defaults::DNS_NAMES.map(str::to_owned)),
    }
    server.finish();
    Some(ServerConfig { dns_names })
}

fn server_name(text: &str) -> Option<String> {
    (is_subdomain(text) || text.parse::<IpAddr>().is_ok()).then(|| text.to_owned())
}

fn addresses(
    root: &MapReader<'_>,
    report: &Report<'_>,
    listen: SocketAddr,
    admission: Option<(Position, SocketAddr)>,
) -> Option<(SocketAddr, SocketAddr)> {
    let (metrics, health) = (root.map_or_empty("metrics")?, root.map_or_empty("health")?);
    let metrics_address = listen_address(&metrics, defaults::METRICS_ADDRESS);
    let health_address = listen_address(&health, defaults::HEALTH_ADDRESS);
    crate::config::conflicts::report_overlaps(
        report,
        &[
            ("listen", root.position_of("listen"), Some(listen)),
            (
                "admission.listen",
                admission.map_or(root.position(), |(position, _)| position),
                admission.map(|(_, at)| at),
            ),
            ("metrics.address", metrics.position_of("address"), Some(metrics_address)),
            ("health.address", health.position_of("address"), Some(health_address)),
        ],
    );
    metrics.finish();
    health.finish();
    Some((metrics_address, health_address))
}

fn log(root: &MapReader<'_>) -> Option<AuthorityLog> {
    let log = root.map_or_empty("log")?;
    let level = log.parsed("level", level::ALLOWED, level::checked);
    let format = log_format(&log);
    log.finish();
    Some(AuthorityLog {
        level: level.unwrap_or(defaults::LOG_LEVEL).to_owned(),
        format: format.unwrap_or(defaults::LOG_FORMAT),
    })
}

fn limits(root: &MapReader<'_>) -> Option<AuthorityLimits> {
    let limits = root.map_or_empty("limits")?;
    let count = |key, default| {
        let allowed = "a whole number from 1 to 1000000";
        limits.integer(key, allowed, |n| defaults::COUNT_RANGE.contains(n)).unwrap_or(default)
    };
    let timeout = |key, default| limits.parsed(key, DURATION, duration).unwrap_or(default);
    let limits_read = AuthorityLimits {
        connections: count("connections", defaults::CONNECTIONS),
        requests: count("requests", defaults::REQUESTS),
        token_reviews: count("tokenReviews", defaults::TOKEN_REVIEWS),
        handshake_timeout: timeout("handshakeTimeout", defaults::HANDSHAKE_TIMEOUT),
        request_timeout: timeout("requestTimeout", defaults::REQUEST_TIMEOUT),
        idle_timeout: timeout("idleTimeout", defaults::IDLE_TIMEOUT),
        drain_timeout: timeout("drainTimeout", defaults::DRAIN_TIMEOUT),
    };
    limits.finish();
    Some(limits_read)
}

const LEAF_LIFETIME: &str = "a duration from 10s to 24h";

/// A duration within a range.
pub(super) fn within(
    map: &MapReader<'_>,
    key: &'static str,
    allowed: &str,
    range: &RangeInclusive<Duration>,
) -> Option<Duration> {
    map.parsed(key, allowed, |text| humantime::parse_duration(text).ok().filter(|found| range.contains(found)))
}
