//! The store and its renewal, with tokio's clock paused: hours pass in milliseconds, and every pause is exact.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use tokio::time::{Instant, sleep};

use super::authority::id;
use crate::{
    ca::{LocalCa, LocalCaSettings},
    identify::{CertificateState, Certificates, Clock, IssueError, Issuer, SignedChain, TlsSettings, TrustDomains},
    mesh::SpiffeId,
};

const WEB: &str = "spiffe://mesh.example/ns/shop/sa/web";
const LIFETIME: Duration = Duration::from_secs(86_400);

#[tokio::test(start_paused = true)]
async fn renewed_at_half_life_give_or_take_a_tenth() {
    let bed = Bed::new(Duration::ZERO);
    bed.store.hold(&id(WEB));
    let first = bed.store.wait_for(&id(WEB)).await.unwrap();
    assert_eq!(bed.store.status()[0].state, CertificateState::Valid);
    assert_eq!(bed.store.status()[0].serial.as_deref(), Some(first.serial()));

    sleep(LIFETIME.mul_f64(0.449)).await;
    assert_eq!(bed.store.get(&id(WEB)).unwrap().serial(), first.serial());
    sleep(LIFETIME.mul_f64(0.102)).await;
    let second = bed.store.get(&id(WEB)).unwrap();
    assert_ne!(second.serial(), first.serial());
    assert!(second.not_after() > first.not_after() + LIFETIME.mul_f64(0.44));
    assert_eq!(bed.issuer.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn renewals_of_many_identities_are_spread() {
    let bed = Bed::new(Duration::ZERO);
    let ids: Vec<_> = (0..40).map(|n| id(&format!("spiffe://mesh.example/ns/shop/sa/s{n}"))).collect();
    for id in &ids {
        bed.store.hold(id);
    }
    for id in &ids {
        bed.store.wait_for(id).await.unwrap();
    }
    let now = bed.clock.now();
    let mut due: Vec<_> = bed.store.status().iter().map(|s| s.next_request.duration_since(now).unwrap()).collect();
    due.sort();
    assert!(due[0] >= LIFETIME.mul_f64(0.45) && due[39] <= LIFETIME.mul_f64(0.55));
    assert!(due[39] - due[0] > LIFETIME / 50, "all within {:?}", due[39] - due[0]);
}

#[tokio::test(start_paused = true)]
async fn the_old_one_serves_until_it_expires_while_renewals_fail() {
    let bed = Bed::new(Duration::ZERO);
    bed.store.hold(&id(WEB));
    let first = bed.store.wait_for(&id(WEB)).await.unwrap();
    bed.issuer.down.store(true, Ordering::Relaxed);

    sleep(LIFETIME - Duration::from_secs(2)).await;
    assert_eq!(bed.store.get(&id(WEB)).unwrap().serial(), first.serial());
    let status = bed.store.status().remove(0);
    assert_eq!(status.state, CertificateState::RenewalFailing);
    assert!(status.last_error.unwrap().contains("out of order"));
    assert!(status.failures > 100, "{}", status.failures);

    sleep(Duration::from_secs(3)).await;
    assert!(bed.store.get(&id(WEB)).is_none());
    assert_eq!(bed.store.status()[0].state, CertificateState::Expired);

    bed.issuer.down.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(61)).await;
    assert_ne!(bed.store.get(&id(WEB)).unwrap().serial(), first.serial());
    assert_eq!(bed.store.status()[0].state, CertificateState::Valid);
    assert_eq!(bed.store.status()[0].failures, 0);
}

#[tokio::test(start_paused = true)]
async fn failures_are_repeated_with_growing_and_bounded_pauses() {
    let bed = Bed::new(Duration::ZERO);
    bed.issuer.down.store(true, Ordering::Relaxed);
    bed.store.hold(&id(WEB));
    sleep(Duration::from_secs(600)).await;
    assert_eq!(bed.store.status()[0].state, CertificateState::Failing);
    let started = bed.issuer.log.lock().started.clone();
    let pauses: Vec<_> = started.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() > 10, "{pauses:?}");
    // tokio's timer rounds up to a millisecond.
    let slack = Duration::from_millis(2);
    for (n, pause) in pauses.iter().enumerate() {
        let full = Duration::from_millis(500 << n.min(10)).min(Duration::from_secs(60));
        assert!(*pause >= full / 2 && *pause <= full + slack, "pause {n}: {pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_in_flight_per_identity_even_when_released_and_held_again() {
    let bed = Bed::new(Duration::from_secs(5));
    bed.store.hold(&id(WEB));
    sleep(Duration::from_secs(1)).await;
    bed.store.release(&id(WEB));
    bed.store.hold(&id(WEB));
    bed.store.hold(&id(WEB));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(bed.issuer.log.lock().most_of_one, 1);
    assert_eq!(bed.issuer.requests(), 1);
    assert!(bed.store.get(&id(WEB)).is_some());
}

#[tokio::test(start_paused = true)]
async fn at_most_sixteen_requests_at_once_and_none_is_forgotten() {
    let bed = Bed::new(Duration::from_secs(1));
    let ids: Vec<_> = (0..100).map(|n| id(&format!("spiffe://mesh.example/ns/shop/sa/s{n}"))).collect();
    for id in &ids {
        bed.store.hold(id);
    }
    let started = Instant::now();
    for id in &ids {
        bed.store.wait_for(id).await.unwrap();
    }
    assert_eq!(bed.issuer.log.lock().most_at_once, 16);
    assert_eq!(bed.issuer.requests(), 100);
    assert_eq!(started.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_never_answers_is_given_up_and_asked_again() {
    let bed = Bed::new(Duration::from_secs(1_000_000));
    bed.store.hold(&id(WEB));
    sleep(Duration::from_secs(29)).await;
    assert_eq!(bed.store.status()[0].state, CertificateState::Pending);
    sleep(Duration::from_secs(3)).await;
    let status = bed.store.status().remove(0);
    assert_eq!(status.state, CertificateState::Failing);
    assert!(status.last_error.unwrap().contains("did not answer within 30s"));
    assert_eq!(bed.issuer.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_identity_is_held_until_its_last_pod_leaves() {
    let bed = Bed::new(Duration::ZERO);
    bed.store.hold(&id(WEB));
    bed.store.hold(&id(WEB));
    let identity = bed.store.wait_for(&id(WEB)).await.unwrap();
    bed.store.release(&id(WEB));
    assert!(bed.store.get(&id(WEB)).is_some());
    bed.store.release(&id(WEB));
    assert!(bed.store.get(&id(WEB)).is_none());
    assert!(bed.store.status().is_empty());
    assert_eq!(Arc::strong_count(&identity), 1, "the store must not keep the key");
    assert!(bed.store.wait_for(&id(WEB)).await.is_none());
    // One release too many is harmless.
    bed.store.release(&id(WEB));
    sleep(LIFETIME).await;
    assert_eq!(bed.issuer.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_a_released_identity_is_dropped() {
    let bed = Bed::new(Duration::from_secs(5));
    bed.store.hold(&id(WEB));
    sleep(Duration::from_secs(1)).await;
    bed.store.release(&id(WEB));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(bed.issuer.requests(), 1);
    assert!(bed.store.get(&id(WEB)).is_none());
    assert!(bed.store.status().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_has_certificates_requested_at_once() {
    let bed = Bed::new(Duration::ZERO);
    bed.store.hold(&id(WEB));
    bed.store.wait_for(&id(WEB)).await.unwrap();
    let now = bed.clock.now();
    let due_at = |now| bed.store.0.schedule(now).remove(0).1;
    assert!(due_at(now) > now + LIFETIME.mul_f64(0.44));
    let an_hour_before = now - Duration::from_secs(3600);
    assert_eq!(due_at(an_hour_before), an_hour_before);

    bed.issuer.down.store(true, Ordering::Relaxed);
    sleep(LIFETIME).await;
    assert_eq!(bed.store.status()[0].state, CertificateState::Expired);
    let long_before = now - LIFETIME;
    let pause = due_at(long_before).duration_since(long_before).unwrap();
    assert!(pause >= Duration::from_secs(30) && pause <= Duration::from_secs(60), "{pause:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_repeated_less_and_less_often_and_mended_without_a_restart() {
    let bed = Bed::new(Duration::ZERO);
    bed.issuer.refusing.store(true, Ordering::Relaxed);
    bed.store.hold(&id(WEB));
    sleep(Duration::from_secs(3600)).await;
    let started = bed.issuer.log.lock().started.clone();
    let pauses: Vec<_> = started.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let slack = Duration::from_millis(2);
    for (n, pause) in pauses.iter().enumerate() {
        let full = Duration::from_millis(500 << (2 * n).min(20)).min(Duration::from_secs(300));
        assert!(*pause >= full / 2 && *pause <= full + slack, "pause {n}: {pause:?}");
    }
    assert!(pauses.len() > 12 && pauses.len() < 32, "{pauses:?}");
    bed.issuer.refusing.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(301)).await;
    assert_eq!(bed.store.status()[0].state, CertificateState::Valid);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_was_away_answers_the_next_try() {
    let bed = Bed::new(Duration::ZERO);
    bed.issuer.down.store(true, Ordering::Relaxed);
    bed.store.hold(&id(WEB));
    // Three tries have failed: the fourth is after 1.75 s at the earliest, and after 3.5 s at the latest.
    sleep(Duration::from_millis(1700)).await;
    assert_eq!(bed.issuer.requests(), 3, "the control");
    bed.issuer.down.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(bed.store.status()[0].state, CertificateState::Valid);
}

#[tokio::test(start_paused = true)]
async fn a_root_that_one_identity_learns_is_trusted_by_all_within_a_minute() {
    let bed = Bed::new(Duration::ZERO);
    let ids = bed.hold_many(20).await;
    bed.issuer.roots.lock().push(other_root());
    // A pod comes; its certificate is the first with the new root.
    bed.store.hold(&id(WEB));
    let first = bed.store.wait_for(&id(WEB)).await.unwrap();
    assert!(ids.iter().all(|id| !bed.store.get(id).unwrap().has_roots_of(&first)), "the control");
    sleep(Duration::from_secs(30)).await;
    let so_far = bed.issuer.requests() - 21;
    assert!((3..=17).contains(&so_far), "not all at once: {so_far}");
    sleep(Duration::from_secs(31)).await;
    assert!(ids.iter().all(|id| bed.store.get(id).unwrap().has_roots_of(&first)));
    assert_eq!(bed.issuer.requests(), 41);
    assert_eq!(bed.issuer.log.lock().most_of_one, 1);
}

#[tokio::test(start_paused = true)]
async fn a_root_that_is_taken_away_is_trusted_no_more_a_minute_after_the_first_answer_without_it() {
    let bed = Bed::new(Duration::ZERO);
    bed.issuer.roots.lock().push(other_root());
    let ids = bed.hold_many(3).await;
    bed.issuer.roots.lock().clear();
    bed.store.hold(&id(WEB));
    let first = bed.store.wait_for(&id(WEB)).await.unwrap();
    sleep(Duration::from_secs(61)).await;
    assert!(ids.iter().all(|id| bed.store.get(id).unwrap().has_roots_of(&first)));
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_contradicts_itself_is_not_asked_without_end() {
    let bed = Bed::new(Duration::ZERO);
    bed.issuer.contradicts.store(true, Ordering::Relaxed);
    bed.hold_many(10).await;
    let at_first = bed.issuer.requests();
    sleep(Duration::from_secs(6 * 3600)).await;
    let more = bed.issuer.requests() - at_first;
    assert!(more <= 10 * 7, "{more} requests of ten identities in six hours");
}

#[tokio::test(start_paused = true)]
async fn an_identity_of_another_trust_domain_fails_with_the_reason() {
    let bed = Bed::new(Duration::ZERO);
    bed.store.hold(&id("spiffe://evil.example/ns/shop/sa/web"));
    sleep(Duration::from_millis(1)).await;
    let status = bed.store.status().remove(0);
    assert_eq!(status.state, CertificateState::Failing);
    assert!(status.last_error.unwrap().contains("check trustDomain"));
}

struct Bed {
    store: Certificates,
    issuer: Arc<Watched>,
    clock: Clock,
    renewal: tokio::task::JoinHandle<()>,
}

/// A root that signs nothing here.
fn other_root() -> CertificateDer<'static> {
    LocalCa::in_memory(LocalCaSettings::new("mesh.example".parse().unwrap())).unwrap().root_certificate().clone()
}

impl Bed {
    /// Some identities, with certificates.
    async fn hold_many(&self, count: usize) -> Vec<SpiffeId> {
        let ids: Vec<_> = (0..count).map(|n| id(&format!("spiffe://mesh.example/ns/shop/sa/s{n}"))).collect();
        for id in &ids {
            self.store.hold(id);
        }
        for id in &ids {
            self.store.wait_for(id).await.unwrap();
        }
        ids
    }

    fn new(delay: Duration) -> Self {
        let clock = Clock::steered(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let domain: crate::mesh::TrustDomain = "mesh.example".parse().unwrap();
        let ca = LocalCaSettings { clock: clock.clone(), ..LocalCaSettings::new(domain.clone()) };
        let issuer = Arc::new(Watched {
            ca: LocalCa::in_memory(ca).unwrap(),
            delay,
            down: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            roots: Mutex::default(),
            contradicts: AtomicBool::new(false),
            other: other_root(),
            log: Mutex::default(),
        });
        let settings = TlsSettings::new(TrustDomains::new(domain, []), clock.clone());
        let (store, renewal) = Certificates::new(issuer.clone(), settings);
        Self { store, issuer, clock, renewal: tokio::spawn(renewal.run()) }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// The embedded authority, slowed down, broken and watched.
struct Watched {
    ca: LocalCa,
    delay: Duration,
    down: AtomicBool,
    refusing: AtomicBool,
    /// Handed out beside its own.
    roots: Mutex<Vec<CertificateDer<'static>>>,
    /// Every other answer has another set of roots, as from replicas of which one was forgotten.
    contradicts: AtomicBool,
    other: CertificateDer<'static>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    started: Vec<Instant>,
    now: HashMap<SpiffeId, usize>,
    most_of_one: usize,
    most_at_once: usize,
}

impl Watched {
    fn requests(&self) -> usize {
        self.log.lock().started.len()
    }
}

impl Issuer for Watched {
    fn sign<'a>(
        &'a self,
        id: &'a SpiffeId,
        request: &'a CertificateSigningRequestDer<'static>,
    ) -> BoxFuture<'a, Result<SignedChain, IssueError>> {
        Box::pin(async move {
            {
                let mut log = self.log.lock();
                log.started.push(Instant::now());
                *log.now.entry(id.clone()).or_default() += 1;
                log.most_of_one = log.most_of_one.max(log.now[id]);
                log.most_at_once = log.most_at_once.max(log.now.values().sum());
            }
            sleep(self.delay).await;
            *self.log.lock().now.get_mut(id).unwrap() -= 1;
            if self.down.load(Ordering::Relaxed) {
                return Err(IssueError::Unreachable { id: id.clone(), source: "out of order".into() });
            }
            if self.refusing.load(Ordering::Relaxed) {
                return Err(IssueError::Refused { id: id.clone(), problem: "no such pod".into() });
            }
            let mut signed = self.ca.sign(id, request).await?;
            signed.roots.extend(self.roots.lock().iter().cloned());
            if self.contradicts.load(Ordering::Relaxed) && self.requests().is_multiple_of(2) {
                signed.roots.push(self.other.clone());
            }
            Ok(signed)
        })
    }
}
