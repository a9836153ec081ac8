//! `heddle agent`: from the configuration to the last connection.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, interval, timeout},
};
use tracing::{error, info, warn};

use super::{
    data_threads::DataThreads,
    drain::Drain,
    endpoints,
    events::announce,
    kernel_events, kernel_log, metrics, pod_metrics,
    pods::Pods,
    pressure,
    process::{give_memory_back, hide_memory, raise_descriptor_limit},
    questions::Questions,
    signals::Signals,
    status::StatusSources,
    succession::{self, Estate},
};
use crate::{
    admin::Readiness,
    authorize::token::keys::{KeyRefresh, KeyServers, OUTSIDE_ONLY},
    authorize::{self, AccessSettings, Admissions, limits::RateLimiter},
    balance::{Balancer, breaker::Breakers, session::SessionKey},
    ca::{LocalCa, LocalCaSettings, RemoteCa},
    capture::{Enrolment, Kernel, KubeletFound, NativePaths, Sandboxes},
    config::{CaConfig, Config, LogConfig, LogFormat},
    handover::{Inheritance, Sockets, Successor},
    identify::{Certificates, Clock, CrlFile, Issuer, Renewal, Revocations, TlsSettings, TrustDomains},
    mesh::{self, MeshSettings, SnapshotHandle},
    names::{Resolution, SystemResolver},
    native::{self, Native},
    node::Node,
    objects::{self, Running, SourceStatus},
    observe::{self, AccessLogOutput, AccessLogSettings, EventFeed, LogControl, Observer, SpanOutput},
    outside::Roots,
    route::{protocol::Learned, retry::budget::Budgets},
    shares::Overload,
};

/// Conditions of readiness, as `/healthz/ready` names them. Each enrolled pod adds one of its own.
const PROGRAMS: &str = "kernel programs attached";
const SNAPSHOT: &str = "snapshot published";

/// How often the reason why there is no snapshot yet is brought up to date.
const LOOK: Duration = Duration::from_secs(1);

/// How long the source may take to write its last state.
const STATE_WRITE: Duration = Duration::from_secs(5);

/// How long the access log may take to write its last lines.
const LOG_FLUSH: Duration = Duration::from_secs(2);

/// How long the collector may take to take the last spans: what is left of the drain timeout, within these bounds. One that is
/// gone does not hold up the next agent.
const LEAST_SPAN_FLUSH: Duration = Duration::from_secs(1);
const LONGEST_SPAN_FLUSH: Duration = Duration::from_secs(5);

/// What an agent that knows nothing of the mesh any more says at its end.
const SOURCE_ENDED: &str = "the source of objects ended; connections cannot be decided without it";

/// How often what is kept of Services and endpoints that are gone is forgotten.
const FORGET: Duration = Duration::from_secs(30);

/// Runs the agent until it is told to end and its connections have ended, or the drain timeout has passed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    hide_memory()?;
    let mut signals = Signals::new()?;
    let (stop, stopped) = watch::channel(false);
    let (drain, draining) = watch::channel(false);
    let readiness = Readiness::new([PROGRAMS, SNAPSHOT]);
    let (observer, log) = start_observing(&config, &stopped)?;
    let feed = EventFeed::default();
    raise_descriptor_limit();
    give_memory_back();

    let revocations = revocations(&config)?;
    let domains = TrustDomains::new(config.trust_domain.clone(), config.trust_domain_aliases.iter().cloned());
    let (certificates, renewal) = certificates(&config, domains.clone(), revocations.0.clone())?;
    let (source, published) = (SourceStatus::default(), Arc::new(OnceLock::new()));
    let predecessor = succession::find_predecessor(&config)?;
    let kubelet_found = KubeletFound::default();
    let status = StatusSources {
        node: Arc::clone(&config.node),
        readiness: readiness.clone(),
        source: source.clone(),
        mesh: Arc::clone(&published),
        certificates: certificates.clone(),
        revocations: revocations.0,
        kubelet: kubelet_found.clone(),
    };
    if let Some(file) = revocations.1 {
        tokio::spawn(file.follow(certificates.clone(), observer.clone()));
    }
    let settings = MeshSettings {
        node: Arc::clone(&config.node),
        trust_domain: config.trust_domain.clone(),
        root_namespace: Arc::clone(&config.root_namespace),
    };
    let questions = Questions::new(observer.clone(), settings.clone());
    let (close, closed) = watch::channel(false);
    let sources = endpoints::sources(&config, (&observer, &log, &feed), (status, questions.clone()));
    // Before the objects: whoever waits for an API server that does not answer can be asked why. The agent before has the
    // addresses until it hands them over.
    let endpoints = match predecessor {
        None => Some(endpoints::serve(&config, &sources, &mut Sockets::default(), &closed).await?),
        Some(_) => None,
    };
    let Some(Running { objects, events, ending }) = open_source(&config, &source, &readiness, &mut signals).await?
    else {
        info!("told to end before the objects of the mesh were known");
        stop.send_replace(true);
        close.send_replace(true);
        feed.close();
        if let Some(endpoints) = endpoints {
            endpoints.stopped().await;
        }
        return Ok(());
    };
    let mut kernel = Kernel::load(&config.capture.cgroup, &config.capture.pins)?;
    let mut predecessor = succession::take_over(&config, predecessor).await?;
    let mut inherited = predecessor.as_mut().map(Inheritance::take_sockets).unwrap_or_default();
    let mut claims = succession::claims(&config, &mut inherited)?;
    let endpoints = match endpoints {
        Some(endpoints) => endpoints,
        None => endpoints::serve(&config, &sources, &mut inherited, &closed).await?,
    };
    kernel.put_in_force()?;
    kernel_log::start(&mut kernel, &log);
    tell_events(&mut kernel, &config, &observer, &feed)?;
    readiness.met(PROGRAMS);

    let snapshot = SnapshotHandle::default();
    let (native_paths, native_events) = (kernel.native_paths(), kernel.native_events()?);
    move_on_with(&snapshot, native_paths.clone());
    let (answers, names) = watch::channel(mesh::Names::new());
    let mesh = mesh::run(objects, names, settings, snapshot.clone());
    let _ = published.set(mesh.clone());
    let resolver: Arc<SystemResolver> = Arc::new(SystemResolver::new(&config.dns.resolv_conf));
    tokio::spawn(Resolution::new(Arc::clone(&resolver) as _, observer.clone(), answers).run(mesh.clone()));
    let roots = Roots::of(config.jwks.roots.as_deref());
    let servers = KeyServers::new(Arc::clone(&resolver) as _, roots, OUTSIDE_ONLY);
    let (refresh, token_keys) = KeyRefresh::new(Arc::new(servers), observer.clone());
    tokio::spawn(refresh.run(mesh.clone()));
    if let Some(events) = events {
        tokio::spawn(announce(events, Arc::clone(&config.node), mesh.clone(), observer.clone()));
    }
    readiness.met(SNAPSHOT);
    metrics::register(
        &observer,
        (kernel.counters()?, kernel.table_sizes()?),
        certificates.clone(),
        mesh.clone(),
        source,
    );
    pod_metrics::register(&observer, kernel.pods_by_cookie());

    let admissions = Arc::new(Admissions::default());
    let access = AccessSettings { mtls: config.mtls, domains };
    tokio::spawn(authorize::follow(Arc::clone(&admissions), snapshot.clone(), access.clone(), mesh.clone()));
    let node = Arc::new(Node {
        cluster: Arc::clone(&config.cluster),
        snapshot: snapshot.clone(),
        certificates: certificates.clone(),
        sockets: Arc::new(kernel.sockets()?),
        observer: observer.clone(),
        token_keys,
        access,
        admissions: Arc::clone(&admissions),
        balancer: Balancer::default(),
        breakers: Breakers::default(),
        budgets: Budgets::default(),
        rate_limiter: RateLimiter::default(),
        session_key: session_key(&config)?,
        learned: Learned::default(),
        native: Native::new(config.capture.fast_path, native_paths, kernel.pods_by_cookie()),
        pools: Mutex::default(),
        overload: Overload::new(config.limits.connections),
        limits: config.limits,
        http: config.http,
        draining,
    });
    questions.answer_from(&node);
    native::register(&observer, &node, native_events.lost());
    tokio::spawn(native::Follower::new(Arc::clone(&node), native_events).run(mesh.clone()));
    tokio::spawn(forget_gone(Arc::downgrade(&node)));
    tokio::spawn(pressure::watch(config.limits.memory, Arc::clone(&node.overload)));
    let threads = Arc::new(DataThreads::start(&node).context("start the data threads")?);
    metrics::register_threads(&observer, &node, &threads);
    let kubelet = kernel.kubelet(&config.capture, kubelet_found)?;
    let sandboxes = Sandboxes::new(&config.capture.cgroup, &config.capture.proc);
    let enrolment = Enrolment::new(kernel, sandboxes, Arc::clone(&threads) as _, inherited.pods);
    let mut pods =
        Pods::new((enrolment, kubelet), certificates, snapshot, observer.clone(), readiness.clone(), predecessor);
    info!(node = %config.node, data_threads = config.limits.data_threads, "started");

    let mut renewal = tokio::spawn(renewal.run());
    let drain = Drain { config: &config, threads: &threads, observer: &observer, begin: &drain };
    let ended = {
        let told = end(&drain, &mut signals, &readiness);
        tokio::pin!(told);
        let mut mesh = mesh;
        loop {
            let successor = tokio::select! {
                successor = pods.run(&mut mesh, &mut claims) => successor.context(SOURCE_ENDED)?,
                outcome = &mut told => break Ended::Told(outcome),
                _ = &mut renewal => anyhow::bail!("the renewal of certificates ended"),
            };
            let mut estate = Estate { pods: &mut pods, claims: &claims, endpoints: &endpoints, node: &node };
            if estate.hand_over(&successor).await? {
                break Ended::HandedOver(successor);
            }
        }
    };
    close.send_replace(true);
    feed.close();
    let (result, until) = match ended {
        Ended::Told((outcome, until)) => {
            info!(outcome, "ending; enrolled pods stay captured, and are refused until an agent is back");
            if timeout(STATE_WRITE, ending.end()).await.is_err() {
                warn!(after = ?STATE_WRITE, "the last objects are not on disk yet; ending without it");
            }
            endpoints.stopped().await;
            (Ok(()), until)
        }
        Ended::HandedOver(successor) => {
            pods.stop_accepting();
            let gone = succession::give_way(&drain, &successor, &mut signals);
            let ((), result) = tokio::join!(endpoints.left(), gone);
            (result, Instant::now())
        }
    };
    stop.send_replace(true);
    threads.stop();
    observer.flush_access_log(LOG_FLUSH);
    let left = until.saturating_duration_since(Instant::now());
    observer.flush_spans(left.clamp(LEAST_SPAN_FLUSH, LONGEST_SPAN_FLUSH));
    result
}

/// Why an agent ends.
enum Ended {
    /// By a signal: the outcome of the drain, and until when it could have gone on.
    Told((&'static str, Instant)),
    /// Another has taken over.
    HandedOver(Successor),
}

/// Before a snapshot is in force, the kernel goes by no verdict of an earlier one any more.
fn move_on_with(snapshot: &SnapshotHandle, native: NativePaths) {
    snapshot.before_publishing(move |generation| {
        if let Err(error) = native.move_on(generation) {
            // To go on would let connections pass that are forbidden by now; while no agent runs, none is opened.
            error!(%error, "take the kernel's verdicts out of force; ending, since nothing else does");
            std::process::abort();
        }
    });
}

fn session_key(config: &Config) -> anyhow::Result<SessionKey> {
    let key = SessionKey::of_mesh(&config.trust_domain, &config.root_namespace);
    key.map_err(|_| anyhow::anyhow!("the cryptographic library refused a session key"))
}

/// Looks every half minute for what is gone.
async fn forget_gone(node: Weak<Node>) {
    loop {
        tokio::time::sleep(FORGET).await;
        let Some(node) = node.upgrade() else { return };
        node.forget_gone();
    }
}

fn start_observing(config: &Config, stopped: &watch::Receiver<bool>) -> anyhow::Result<(Observer, LogControl)> {
    let format = log_format(config.log.format);
    let log = observe::init_log(&config.log.level, format)?;
    let LogConfig { access: on, long_connections, access_rate: rate, remembered, .. } = config.log;
    let settings = AccessLogSettings { on, long_connections, rate, remembered };
    let access_log = AccessLogOutput::stdout(format, settings);
    let spans = config.tracing.otlp.clone().map(|otlp| SpanOutput {
        otlp,
        share: config.tracing.sampling_percentage,
        node: Arc::clone(&config.node),
    });
    let observer = Observer::tracing(Arc::clone(&config.cluster), Some(access_log), spans)?;
    observer.before_scrape(|metrics| metrics.set_log_dropped(observe::log_lines_dropped()));
    tokio::spawn(observer.clone().run(stopped.clone()));
    Ok((observer, log))
}

/// Has the kernel's events of connections passed on to those who listen.
fn tell_events(kernel: &mut Kernel, config: &Config, observer: &Observer, feed: &EventFeed) -> anyhow::Result<()> {
    let events = kernel.connection_events()?;
    kernel_events::register(observer, events.lost(), kernel.switches(), feed.clone());
    let (feed, pods) = (feed.clone(), kernel.pods_by_cookie());
    tokio::spawn(kernel_events::run(events, kernel_events::Telling { feed, pods, log: config.log.events }));
    Ok(())
}

/// Waits for the first objects, as long as it takes; readiness says what for. `None` if the agent is told to end first.
async fn open_source(
    config: &Config,
    status: &SourceStatus,
    readiness: &Readiness,
    signals: &mut Signals,
) -> anyhow::Result<Option<Running>> {
    let opening = objects::open(&config.source, config.state.clone(), status.clone());
    tokio::pin!(opening);
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            running = &mut opening => return Ok(Some(running?)),
            () = signals.next() => return Ok(None),
            _ = look.tick() => if let Some(missing) = status.waiting_for() {
                readiness.missing(SNAPSHOT, missing);
            },
        }
    }
}

pub(super) fn log_format(format: LogFormat) -> observe::LogFormat {
    match format {
        LogFormat::Text => observe::LogFormat::Text,
        LogFormat::Json => observe::LogFormat::Json,
    }
}

/// Who is revoked, and what follows the file that says so.
fn revocations(config: &Config) -> anyhow::Result<(Revocations, Option<CrlFile>)> {
    let Some(path) = &config.tls.crl else { return Ok((Revocations::none(), None)) };
    let (revocations, file) = CrlFile::open(path)?;
    Ok((revocations, Some(file)))
}

fn certificates(
    config: &Config,
    domains: TrustDomains,
    revocations: Revocations,
) -> anyhow::Result<(Certificates, Renewal)> {
    let tls = TlsSettings::new(domains, Clock::system()).with_revocations(revocations);
    let local = || LocalCaSettings::new(config.trust_domain.clone());
    let issuer: Arc<dyn Issuer> = match &config.ca {
        CaConfig::LocalMemory => Arc::new(LocalCa::in_memory(local())?),
        CaConfig::LocalDirectory(path) => Arc::new(LocalCa::open(path, local())?),
        CaConfig::Remote(remote) => Arc::new(RemoteCa::new(remote, &tls)),
    };
    Ok(Certificates::new(issuer, tls))
}

/// Waits for a signal, then drains: connections in progress go on, and new ones are still served, since there is
/// nobody else to serve them. A second signal ends it at once. Why it ended, and until when the drain could have gone on.
async fn end(drain: &Drain<'_>, signals: &mut Signals, readiness: &Readiness) -> (&'static str, Instant) {
    signals.next().await;
    readiness.drain("the agent is ending");
    let deadline = drain.deadline();
    let (outcome, _) = drain.run(deadline, signals, true, |_| {}).await;
    (outcome, deadline)
}
