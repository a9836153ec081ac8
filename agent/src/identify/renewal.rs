//! The task that has certificates issued and renewed.
//!
//! Each identity is requested when it is first held, then at half its remaining life. A request that fails is repeated
//! with growing pauses; meanwhile the old certificate serves as long as it is valid. Of one identity there is one
//! request at a time, of all of them at most [`MAX_REQUESTS`]. All pauses are spread, so that a thousand agents that
//! lost the same authority do not come back in the same second.
//!
//! An answer also says which roots to trust. When it says something else than the others' answers did, a root is being
//! added or taken away, and the others are renewed within [`ROOTS_WITHIN`] to hear the same: this keeps what an identity
//! trusts to what the authority said with it, and needs no second way in which roots come.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};

use super::{
    certificates::Shared,
    identity::{Identity, issue},
    issuer::{IssueError, Issuer},
    tls::TlsSettings,
};
use crate::mesh::SpiffeId;

/// Runs until it is dropped; then the certificates held go stale.
#[must_use = "no certificate is issued unless this runs"]
pub struct Renewal {
    shared: Arc<Shared>,
    issuer: Arc<dyn Issuer>,
    settings: TlsSettings,
    random: fastrand::Rng,
    requests: FuturesUnordered<BoxFuture<'static, Answer>>,
    in_flight: HashSet<SpiffeId>,
}

type Answer = (SpiffeId, Result<Identity, IssueError>);

impl Renewal {
    pub(super) fn new(shared: Arc<Shared>, issuer: Arc<dyn Issuer>, settings: TlsSettings) -> Self {
        let (random, requests, in_flight) = (fastrand::Rng::new(), FuturesUnordered::new(), HashSet::new());
        Self { shared, issuer, settings, random, requests, in_flight }
    }

    /// Issues and renews for good.
    pub async fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            let pause = self.request_what_is_due();
            tokio::select! {
                Some((id, answer)) = self.requests.next() => self.settle(&id, answer),
                () = shared.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts requests, and says how long nothing else can be due.
    fn request_what_is_due(&mut self) -> Duration {
        let now = self.shared.now();
        let mut schedule = self.shared.schedule(now);
        schedule.retain(|(id, _)| !self.in_flight.contains(id));
        schedule.sort_by_key(|(_, due)| *due);
        let mut pause = MAX_SLEEP;
        for (id, due) in schedule {
            // When all slots are taken an answer wakes the loop.
            if self.in_flight.len() == MAX_REQUESTS {
                break;
            }
            match due.duration_since(now) {
                Ok(rest) if !rest.is_zero() => {
                    pause = pause.min(rest);
                    break;
                }
                _ => self.request(id),
            }
        }
        pause
    }

    fn request(&mut self, id: SpiffeId) {
        self.in_flight.insert(id.clone());
        let (issuer, settings) = (self.issuer.clone(), self.settings.clone());
        self.requests.push(Box::pin(async move {
            let answer = match tokio::time::timeout(REQUEST_TIMEOUT, issue(&*issuer, &id, &settings)).await {
                Ok(answer) => answer,
                Err(_) => Err(IssueError::TimedOut { id: id.clone(), within: REQUEST_TIMEOUT }),
            };
            (id, answer)
        }));
    }

    fn settle(&mut self, id: &SpiffeId, answer: Result<Identity, IssueError>) {
        self.in_flight.remove(id);
        match answer {
            Ok(identity) => {
                let due = renewal_due(self.shared.now(), identity.not_after(), &mut self.random);
                tracing::info!(%id, serial = identity.serial(), "certificate issued");
                let random = &mut self.random;
                let others = self.shared.succeeded(identity, due, || ROOTS_WITHIN.mul_f64(random.f64()));
                if others > 0 {
                    tracing::info!(%id, others, "the authority has other roots than before; renewing the other certificates");
                }
            }
            Err(error) => {
                tracing::warn!(%id, %error, "certificate not issued; will ask again");
                let random = &mut self.random;
                self.shared.failed(id, &error, |failures| retry_pause(failures, error.is_refusal(), random));
            }
        }
    }
}

/// Half of what is left of the life, give or take a tenth.
fn renewal_due(now: SystemTime, not_after: SystemTime, random: &mut fastrand::Rng) -> SystemTime {
    let left = not_after.duration_since(now).unwrap_or_default();
    now + (left / 2).mul_f64(0.9 + 0.2 * random.f64()).max(FIRST_PAUSE)
}

/// 0.5 s, 1 s, 2 s ... 60 s, and after a refusal 0.5 s, 2 s, 8 s ... 300 s; each shortened by up to half.
fn retry_pause(failures: u32, refused: bool, random: &mut fastrand::Rng) -> Duration {
    let (factor, longest): (u32, _) = if refused { (4, LONGEST_REFUSED_PAUSE) } else { (2, MAX_PAUSE) };
    let growth = factor.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(growth).min(longest).mul_f64(0.5 + 0.5 * random.f64())
}

/// Enough to fill a node of a few hundred service accounts in seconds, and little for an authority to bear.
const MAX_REQUESTS: usize = 16;
/// A remote authority asks the API server about the caller; ten seconds would be slow, thirty is lost.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// After a long outage of the authority, recovery takes no longer than this.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Whoever said no has decided: what is left to wait for is a person.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(300);
/// Within this time every identity has heard of a root that one has heard of. A rotation leaves hours between its steps.
const ROOTS_WITHIN: Duration = Duration::from_secs(60);
/// Replicas of an authority that contradict each other must not have everything renewed again and again.
pub(super) const ROOTS_AGAIN: Duration = Duration::from_secs(3600);
/// Sleep does not see a clock that is set or a machine that was suspended, so look again this often.
const MAX_SLEEP: Duration = Duration::from_secs(60);
