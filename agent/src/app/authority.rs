//! `heddle ca`: from the configuration to the last request.

use std::{collections::HashSet, sync::Arc};

use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::signals::Signals;
use crate::{
    admin::{Readiness, serve_plain},
    ca::server::{Placement, RootSource, Roots, Service, ServicePolicy, ServingCertificate, Tokens, serve},
    config::authority::AuthorityConfig,
    identify::{Clock, TlsSettings, TrustDomains},
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
    let listener = bind(&config).await?;
    let address = listener.local_addr()?;

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
    let tls = TlsAcceptor::from(Arc::new(settings.anonymous_server_config(certificate.resolver())?));

    let source = RootSource {
        place: config.root.clone(),
        publish: config.publish.clone(),
        domain: config.trust_domain.clone(),
        client,
        clock,
        metrics: metrics.clone(),
    };
    let (on_root, on_pods, on_serving) = (readiness.clone(), readiness.clone(), readiness.clone());
    let following = roots.clone().follow(source, move |outcome| match outcome {
        Ok(()) => on_root.met(ROOT),
        Err(problem) => on_root.missing(ROOT, problem),
    });
    let names = (config.server.dns_names.clone(), config.leaf_lifetime);
    let keeping = certificate.keep(roots, names, settings, metrics.clone(), move || on_serving.met(SERVING));
    // They end with the process: none has anything to write down.
    let background =
        [tokio::spawn(following), tokio::spawn(placement.follow(move || on_pods.met(PODS))), tokio::spawn(keeping)];
    let serving = tokio::spawn(serve(listener, tls, Arc::new(service), config.limits, metrics, stopped));
    let (at_metrics, at_health) = (endpoints.metrics, endpoints.health);
    info!(%address, metrics = %at_metrics, health = %at_health, trust_domain = %config.trust_domain, "started");

    signals.next().await;
    info!(at_most = ?config.limits.drain_timeout, "draining");
    readiness.drain("the authority is ending");
    tokio::select! {
        outcome = end(&stop, serving) => info!(outcome, "ending"),
        () = signals.next() => warn!("told to end at once"),
    }
    background.iter().for_each(tokio::task::JoinHandle::abort);
    stop.send_replace(true);
    endpoints.stopped().await;
    Ok(())
}

/// Tells everybody to stop; `serve` itself keeps to the drain timeout.
async fn end(stop: &watch::Sender<bool>, serving: tokio::task::JoinHandle<()>) -> &'static str {
    stop.send_replace(true);
    match serving.await {
        Ok(()) => "all requests have ended, or the drain timeout has passed",
        Err(_) => "the connections broke off",
    }
}

async fn bind(config: &AuthorityConfig) -> anyhow::Result<TcpListener> {
    use anyhow::Context;
    let listening = TcpListener::bind(config.listen).await;
    listening.with_context(|| {
        format!("listen on {}: is another authority running here? else choose another listen", config.listen)
    })
}
