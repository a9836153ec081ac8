//! Tests of explanations.

#![expect(clippy::unwrap_used, reason = "tests")]

mod law;
mod mesh;
mod words;

use std::time::Duration;

use super::*;
use crate::{config::MtlsMode, identify::TrustDomains};

/// What decides beside a snapshot, as it is at the start of an agent.
pub(super) struct Rest {
    pub(super) access: AccessSettings,
    pub(super) balancer: Balancer,
    pub(super) breakers: Breakers,
    pub(super) limiter: RateLimiter,
    pub(super) learned: Learned,
    keys: KnownKeys,
    sessions: SessionKey,
}

impl Rest {
    pub(super) fn new(mtls: MtlsMode) -> Self {
        Self {
            access: AccessSettings { mtls, domains: TrustDomains::new("cluster.local".parse().unwrap(), []) },
            balancer: Balancer::default(),
            breakers: Breakers::default(),
            limiter: RateLimiter::default(),
            learned: Learned::default(),
            keys: KnownKeys::default(),
            sessions: SessionKey::new(b"a secret").unwrap(),
        }
    }

    pub(super) fn explain(&self, snapshot: &Snapshot, written: &Written) -> Result<Report, Unanswerable> {
        let question = written.understood()?;
        self.ask(snapshot, |world| explain(world, &question))
    }

    pub(super) fn ask<T>(&self, snapshot: &Snapshot, ask: impl FnOnce(&World<'_>) -> T) -> T {
        let capture = |workload: &Workload| workload.local.as_deref().map(|local| local.rules.clone());
        ask(&World {
            snapshot,
            access: &self.access,
            balancer: &self.balancer,
            breakers: &self.breakers,
            limiter: &self.limiter,
            learned: &self.learned,
            keys: &self.keys,
            sessions: &self.sessions,
            connect_timeout: Duration::from_secs(5),
            fast_path: Some(FastPath::All),
            view: View::Objects,
            capture: &capture,
        })
    }
}
