//! Explanations from objects alone: what an agent of the client's node would decide on them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{Origin, Question, Report, Unanswerable, View, World, explain};
use crate::{
    authorize::{AccessSettings, limits::RateLimiter, token::keys::KnownKeys},
    balance::{Balancer, breaker::Breakers, session::SessionKey},
    config::MtlsMode,
    identify::TrustDomains,
    mesh::{CaptureRules, DocumentState, MeshSettings, Snapshot, TrustDomain, Workload, compile},
    objects::{ObjectName, ObjectSet},
    route::protocol::Learned,
};

/// What agent.yaml would say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `trustDomain`.
    pub trust_domain: TrustDomain,
    /// `trustDomainAliases`.
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// `rootNamespace`.
    pub root_namespace: Arc<str>,
    /// `mtls.mode`.
    pub mtls: MtlsMode,
    /// `limits.connectTimeout`.
    pub connect_timeout: Duration,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// There is no answer to that.
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
    /// None that is known.
    #[error("the cryptographic library refused a session key")]
    SessionKey,
}

/// Explains on these objects.
///
/// # Errors
/// There is no such client, or nothing that it could dial.
pub fn explain_objects(objects: &ObjectSet, settings: &Settings, question: &Question) -> Result<Report, OfflineError> {
    let of_node = |node: Arc<str>| MeshSettings {
        node,
        trust_domain: settings.trust_domain.clone(),
        root_namespace: Arc::clone(&settings.root_namespace),
    };
    let compiled = compile(objects, &of_node(node_of(objects, &question.from)));
    let nodes: Mutex<HashMap<Arc<str>, Snapshot>> = Mutex::default();
    // What is excluded is in the snapshot of the pod's own node only.
    let capture = |workload: &Workload| -> Option<CaptureRules> {
        let mut nodes = nodes.lock();
        let snapshot = nodes
            .entry(Arc::clone(&workload.node))
            .or_insert_with(|| compile(objects, &of_node(Arc::clone(&workload.node))).snapshot);
        let local = snapshot.workload(*workload.addresses.first()?)?.local.as_deref()?;
        Some(local.rules.clone())
    };
    let domains = TrustDomains::new(settings.trust_domain.clone(), settings.trust_domain_aliases.iter().cloned());
    let access = AccessSettings { mtls: settings.mtls, domains };
    let sessions = SessionKey::of_mesh(&settings.trust_domain, &settings.root_namespace);
    let world = World {
        snapshot: &compiled.snapshot,
        access: &access,
        balancer: &Balancer::default(),
        breakers: &Breakers::default(),
        limiter: &RateLimiter::default(),
        learned: &Learned::default(),
        keys: &KnownKeys::default(),
        sessions: &sessions.map_err(|_| OfflineError::SessionKey)?,
        connect_timeout: settings.connect_timeout,
        fast_path: None,
        view: View::Objects,
        capture: &capture,
    };
    let mut report = explain(&world, question)?;
    let rejected = compiled.documents.iter().filter(|status| status.state != DocumentState::Accepted).count();
    if rejected + compiled.problems.len() > 0 {
        report.notes.push(format!(
            "{rejected} mesh documents would not be accepted and {} problems would be told: heddle check says which",
            compiled.problems.len()
        ));
    }
    Ok(report)
}

/// The node from which it is looked at: that of the client's pod.
fn node_of(objects: &ObjectSet, from: &Origin) -> Arc<str> {
    let pod = match from {
        Origin::Pod { namespace, name } => objects.pods.get(&ObjectName::new(namespace, name)),
        Origin::Address(address) => objects.pods.values().find(|pod| pod.addresses.contains(address)),
    };
    pod.and_then(|pod| pod.node.clone()).unwrap_or_default()
}
