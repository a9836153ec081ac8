//! The certificates of this node's identities: held in memory, and only while a pod needs them.
//!
//! In: [`Certificates::hold`] and [`Certificates::release`], once per pod. Out: [`Certificates::get`] at connection
//! set-up, and the listing for metrics, readiness and the admin page. Issuing is [`super::Renewal`]'s work; nothing
//! here waits, and nothing is written to disk.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

use super::{
    chain::Signer,
    clock::Clock,
    identity::Identity,
    issuer::{IssueError, Issuer},
    renewal::{ROOTS_AGAIN, Renewal},
    roots::Root,
    tls::TlsSettings,
};
use crate::mesh::SpiffeId;

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct Certificates(pub(super) Arc<Shared>);

/// State of one identity's certificate: label `state` of `heddle_certificates`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateState {
    /// The first request is on its way.
    Pending,
    /// Good.
    Valid,
    /// Good, but the last renewal failed.
    RenewalFailing,
    /// None was ever issued; the last request failed.
    Failing,
    /// The last one has expired and no renewal succeeded.
    Expired,
}

/// One line of the listing. It carries no key.
#[derive(Clone, Debug)]
pub struct CertificateStatus {
    /// Whose.
    pub id: SpiffeId,
    /// How it stands.
    pub state: CertificateState,
    /// End of the certificate in use.
    pub not_after: Option<SystemTime>,
    /// Serial number of the certificate in use.
    pub serial: Option<String>,
    /// When the next request is due.
    pub next_request: SystemTime,
    /// Requests that failed since the last success.
    pub failures: u32,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

impl Certificates {
    /// An empty store, and the task that fills it and renews, to be run on the control runtime.
    pub fn new(issuer: Arc<dyn Issuer>, settings: TlsSettings) -> (Self, Renewal) {
        let shared = Arc::new(Shared {
            entries: RwLock::default(),
            clock: settings.clock().clone(),
            wake: Notify::new(),
            changed: watch::Sender::new(()),
        });
        (Self(shared.clone()), Renewal::new(shared, issuer, settings))
    }

    /// A pod needs `id`: it is requested at once if no pod did before.
    pub fn hold(&self, id: &SpiffeId) {
        let now = self.0.clock.now();
        let mut entries = self.0.entries.write();
        let entry = entries.entry(id.clone()).or_insert_with(|| Entry::due_at(now));
        entry.holders += 1;
        if entry.holders == 1 {
            self.0.wake.notify_one();
        }
    }

    /// A pod no longer needs `id`. With the last one its key is dropped, when the connections made with it have ended.
    pub fn release(&self, id: &SpiffeId) {
        let mut entries = self.0.entries.write();
        let Some(entry) = entries.get_mut(id) else {
            return;
        };
        entry.holders -= 1;
        if entry.holders == 0 {
            entries.remove(id);
            self.0.changed.send_replace(());
        }
    }

    /// The identity, if it is held and valid now.
    pub fn get(&self, id: &SpiffeId) -> Option<Arc<Identity>> {
        let current = self.0.entries.read().get(id).and_then(|entry| entry.current.clone())?;
        current.is_valid(self.0.clock.now()).then_some(current)
    }

    /// As [`Self::get`], but waits for the first certificate. `None` when `id` is not held (any more).
    pub async fn wait_for(&self, id: &SpiffeId) -> Option<Arc<Identity>> {
        let mut changes = self.changes();
        loop {
            if let Some(identity) = self.get(id) {
                return Some(identity);
            }
            if !self.0.entries.read().contains_key(id) {
                return None;
            }
            changes.changed().await.ok()?;
        }
    }

    /// Every identity that has a certificate, valid or not.
    pub(super) fn held(&self) -> Vec<Arc<Identity>> {
        self.0.entries.read().values().filter_map(|entry| entry.current.clone()).collect()
    }

    /// Has a certificate replaced before its time.
    pub(super) fn request_now(&self, id: &SpiffeId) {
        let now = self.0.clock.now();
        if let Some(entry) = self.0.entries.write().get_mut(id) {
            entry.due = now;
            self.0.wake.notify_one();
        }
    }

    /// Every root that this node's identities trust, each once.
    pub fn roots(&self) -> Vec<Root> {
        let mut roots: Vec<Root> = self.held().iter().flat_map(|held| held.roots().iter().cloned()).collect();
        roots.sort_by_key(|root| root.name);
        roots.dedup_by_key(|root| root.name);
        roots
    }

    /// Who signs certificates of this node and of its peers, as far as that is known here.
    pub(super) fn signers(&self) -> Vec<Signer> {
        let roots = self.roots().into_iter().map(|root| root.issuer);
        let own = self.held().into_iter().flat_map(|held| held.chain().signers());
        let all: HashSet<Signer> = roots.chain(own).collect();
        all.into_iter().collect()
    }

    /// Wakes when a certificate was issued, failed or was dropped. What is current is in [`Self::get`] and
    /// [`Self::status`].
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Every identity that is held, sorted by name.
    pub fn status(&self) -> Vec<CertificateStatus> {
        let now = self.0.clock.now();
        let mut all: Vec<_> = self.0.entries.read().iter().map(|(id, entry)| entry.status(id, now)).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }
}

impl CertificateState {
    /// All, for metrics that show zeros.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Valid, Self::RenewalFailing, Self::Failing, Self::Expired];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Valid => "valid",
            Self::RenewalFailing => "renewal_failing",
            Self::Failing => "failing",
            Self::Expired => "expired",
        }
    }

    /// Whether connections can be made with it.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Valid | Self::RenewalFailing)
    }
}

/// What the store and the renewal share.
pub(super) struct Shared {
    entries: RwLock<HashMap<SpiffeId, Entry>>,
    clock: Clock,
    /// Tells the renewal that something may be due. One permit is kept, so a hold before the first poll is not lost.
    pub(super) wake: Notify,
    changed: watch::Sender<()>,
}

struct Entry {
    holders: usize,
    current: Option<Arc<Identity>>,
    due: SystemTime,
    failures: u32,
    /// The pause after the last failure.
    pause: Duration,
    last_error: Option<String>,
    /// When it was last to be renewed early for its roots.
    hurried: Option<SystemTime>,
}

impl Shared {
    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Every identity with the time at which it is to be requested, as seen at `now`.
    pub(super) fn schedule(&self, now: SystemTime) -> Vec<(SpiffeId, SystemTime)> {
        self.entries.read().iter().map(|(id, entry)| (id.clone(), entry.due(now))).collect()
    }

    /// Adopts `identity` unless it was released meanwhile. Those that trust other roots are renewed soon, each after a pause
    /// of its own; says how many that became.
    pub(super) fn succeeded(&self, identity: Identity, due: SystemTime, pause: impl FnMut() -> Duration) -> usize {
        let mut hurried = 0;
        let mut entries = self.entries.write();
        if let Some(entry) = entries.get_mut(identity.id()) {
            let identity = Arc::new(identity);
            entry.current = Some(identity.clone());
            entry.due = due;
            entry.failures = 0;
            entry.last_error = None;
            hurried = hurry_those_with_other_roots(&mut entries, &identity, self.clock.now(), pause);
        }
        drop(entries);
        self.changed.send_replace(());
        hurried
    }

    /// Keeps what there is, and asks again after `pause`, given the number of failures in a row.
    pub(super) fn failed(&self, id: &SpiffeId, error: &IssueError, pause: impl FnOnce(u32) -> Duration) {
        let now = self.clock.now();
        if let Some(entry) = self.entries.write().get_mut(id) {
            entry.failures = entry.failures.saturating_add(1);
            entry.last_error = Some(error.to_string());
            entry.pause = pause(entry.failures);
            entry.due = now + entry.pause;
        }
        self.changed.send_replace(());
    }
}

fn hurry_those_with_other_roots(
    entries: &mut HashMap<SpiffeId, Entry>,
    latest: &Identity,
    now: SystemTime,
    mut pause: impl FnMut() -> Duration,
) -> usize {
    let differs = |entry: &&mut Entry| entry.current.as_ref().is_some_and(|current| !current.has_roots_of(latest));
    entries.values_mut().filter(differs).filter_map(|entry| entry.hurry(now, pause()).then_some(())).count()
}

impl Entry {
    fn due_at(due: SystemTime) -> Self {
        let (current, last_error, hurried) = (None, None, None);
        Self { holders: 0, current, due, failures: 0, pause: Duration::ZERO, last_error, hurried }
    }

    /// A clock that was set back leaves certificates that are not valid yet and times that are too far off.
    fn due(&self, now: SystemTime) -> SystemTime {
        let usable = self.current.as_ref().is_some_and(|current| current.is_valid(now));
        match self.failures {
            0 if usable => self.due,
            0 => now,
            _ => self.due.min(now + self.pause),
        }
    }

    /// Brings the next request forward to `pause` from now, but not again soon after an earlier time. Says whether it did.
    fn hurry(&mut self, now: SystemTime, pause: Duration) -> bool {
        let from = self.hurried.map_or(now, |last| now.max(last + ROOTS_AGAIN));
        if self.due <= from + pause {
            return false;
        }
        self.hurried = Some(from);
        self.due = from + pause;
        true
    }

    fn status(&self, id: &SpiffeId, now: SystemTime) -> CertificateStatus {
        let state = match (&self.current, self.failures) {
            (None, 0) => CertificateState::Pending,
            (None, _) => CertificateState::Failing,
            (Some(current), _) if !current.is_valid(now) => CertificateState::Expired,
            (Some(_), 0) => CertificateState::Valid,
            (Some(_), _) => CertificateState::RenewalFailing,
        };
        CertificateStatus {
            id: id.clone(),
            state,
            not_after: self.current.as_ref().map(|current| current.not_after()),
            serial: self.current.as_ref().map(|current| current.serial().to_owned()),
            next_request: self.due(now),
            failures: self.failures,
            last_error: self.last_error.clone(),
        }
    }
}
