//! `heddle ca`: from the configuration to the last request.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use kube::Client;
use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::signals::Signals;
use crate::{
    admin::{Readiness, serve_plain},
    ca::server::{
        ADMISSION_CONNECTIONS, Admission, Answering, CaBundle, Placement, RootSource, Roots, Service, ServicePolicy,
        ServingCertificate, Tainting, Tokens, serve,
    },
    config::authority::{AuthorityConfig, AuthorityLimits},
    identify::{Clock, TlsSettings, TrustDomains},
    mesh::MeshSettings,
    objects,
    observe::{self, AuthorityMetrics},
};

/// Conditions of readiness, as `/healthz/ready` names them.
const ROOT: &str = "root known";
const PODS: &str = "pods listed";
const SERVING: &str = "serving certificate signed";

/// Runs the authority until it is told to end and its requests have ended, or the drain timeout has passed.
pub async fn run(config: AuthorityConfig) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let format = super::agent::log_format(config.log.format);
    observe::init_audited_log(&config.log.level, format)?;
    super::process::raise_descriptor_limit();
    let (stop, stopped) = watch::channel(false);
    let (metrics, readiness) = (AuthorityMetrics::new()?, Readiness::new([ROOT, PODS, SERVING]));
    let (text, clients) = (metrics.clone(), metrics.clone());
    let endpoints = serve_plain(
        (config.metrics, config.health),
        Arc::new(move || text.render()),
        move || clients.endpoint_connection(),
        readiness.clone(),
        stopped.clone(),
    )
    .await?;
    // Before anything is asked for: a port that is taken ends it at once.
    let listener = bind(config.listen, "listen").await?;
    let address = listener.local_addr()?;
    let of_webhook = match config.admission.listen {
        Some(address) => Some(bind(address, "admission.listen").await?),
        None => None,
    };
    let webhook_address = of_webhook.as_ref().map(TcpListener::local_addr).transpose()?;

    let client = objects::client(&config.kubernetes).await?;
    let (clock, roots) = (Clock::system(), Roots::default());
    let placement = Placement::new(client.clone(), metrics.clone());
    let tokens = &config.tokens;
    let known = Tokens::new(client.clone(), tokens.audience.clone(), config.limits.token_reviews, metrics.clone());
    let policy = ServicePolicy {
        trust_domain: config.trust_domain.clone(),
        trusted: tokens.trusted_service_accounts.iter().cloned().collect::<HashSet<_>>(),
        leaf_lifetime: config.leaf_lifetime,
        requests: config.limits.requests,
        request_timeout: config.limits.request_timeout,
    };
    let service = Service::new(policy, roots.clone(), (known, placement.clone()), clock.clone(), metrics.clone());
    let settings = TlsSettings::new(TrustDomains::new(config.trust_domain.clone(), []), clock.clone());
    let certificate = ServingCertificate::default();
    let tls = settings.anonymous_server_config(certificate.resolver())?;

    let source = RootSource {
        place: config.root.clone(),
        publish: config.publish.clone(),
        domain: config.trust_domain.clone(),
        client: client.clone(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    };
    let (on_root, on_pods, on_serving) = (readiness.clone(), readiness.clone(), readiness.clone());
    let following = roots.clone().follow(source, move |outcome| match outcome {
        Ok(()) => on_root.met(ROOT),
        Err(problem) => on_root.missing(ROOT, problem),
    });
    let names = (config.server.dns_names.clone(), config.leaf_lifetime);
    let keeping = certificate.keep(roots.clone(), names, settings, metrics.clone(), move || on_serving.met(SERVING));
    // They end with the process: none has anything to write down.
    let mut background =
        vec![tokio::spawn(following), tokio::spawn(placement.follow(move || on_pods.met(PODS))), tokio::spawn(keeping)];
    background.extend(beside(&config, &client, &roots, &clock, &metrics));
    let listening = Listening { limits: config.limits, metrics: metrics.clone(), stopped };
    let mut serving = Vec::new();
    if let Some(listener) = of_webhook {
        let mut tls = tls.clone();
        // Go's client offers it where HTTP/2 is turned off, and some of those offer nothing.
        tls.alpn_protocols.push(b"http/1.1".to_vec());
        let limits = AuthorityLimits { connections: ADMISSION_CONNECTIONS, ..config.limits };
        let webhook = Admission::new(mesh_settings(&config), metrics.clone());
        serving.push(Listening { limits, ..listening.clone() }.serve(listener, tls, webhook));
    }
    serving.push(listening.serve(listener, tls, service));
    let (at_metrics, at_health) = (endpoints.metrics, endpoints.health);
    let webhook = webhook_address.map(|address| address.to_string()).unwrap_or_default();
    info!(%address, webhook, metrics = %at_metrics, health = %at_health, trust_domain = %config.trust_domain, "started");

    signals.next().await;
    info!(at_most = ?config.limits.drain_timeout, "draining");
    readiness.drain("the authority is ending");
    tokio::select! {
        outcome = end(&stop, serving) => info!(outcome, "ending"),
        () = signals.next() => warn!("told to end at once"),
    }
    background.iter().for_each(JoinHandle::abort);
    stop.send_replace(true);
    endpoints.stopped().await;
    Ok(())
}

/// The tasks of what `heddle ca` does beside signing, where it is asked to.
fn beside(
    config: &AuthorityConfig,
    client: &Client,
    roots: &Roots,
    clock: &Clock,
    metrics: &AuthorityMetrics,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    if let (Some(_), Some(webhook)) = (config.admission.listen, config.admission.webhook.clone()) {
        let (client, clock, metrics) = (client.clone(), clock.clone(), metrics.clone());
        tasks.push(tokio::spawn(CaBundle { client, webhook, clock, metrics }.keep(roots.clone())));
    }
    if config.taint_nodes {
        let tainting = Tainting::new(client.clone(), config.agents.clone(), metrics.clone());
        tasks.push(tokio::spawn(tainting.follow()));
    }
    tasks
}

/// As `heddle check` has them: no node's.
fn mesh_settings(config: &AuthorityConfig) -> MeshSettings {
    MeshSettings {
        node: "".into(),
        trust_domain: config.trust_domain.clone(),
        root_namespace: config.admission.root_namespace.as_str().into(),
    }
}

/// What listeners have in common.
#[derive(Clone)]
struct Listening {
    limits: AuthorityLimits,
    metrics: AuthorityMetrics,
    stopped: watch::Receiver<bool>,
}

impl Listening {
    fn serve<A: Answering>(self, listener: TcpListener, tls: ServerConfig, answering: A) -> JoinHandle<()> {
        let tls = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(serve(listener, tls, Arc::new(answering), self.limits, self.metrics, self.stopped))
    }
}

/// Tells everybody to stop; `serve` itself keeps to the drain timeout.
async fn end(stop: &watch::Sender<bool>, serving: Vec<JoinHandle<()>>) -> &'static str {
    stop.send_replace(true);
    let mut outcome = "all requests have ended, or the drain timeout has passed";
    for serving in serving {
        if serving.await.is_err() {
            outcome = "the connections broke off";
        }
    }
    outcome
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    use anyhow::Context;
    let listening = TcpListener::bind(address).await;
    listening
        .with_context(|| format!("listen on {address}: is another authority running here? else choose another {key}"))
}
