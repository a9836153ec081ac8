//! Keeps what is enrolled in line with the snapshot: certificates first, then capture; the other way round on release.
//!
//! New pods wait for their certificates side by side, and each is enrolled when its own is there.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, interval_at, sleep, sleep_until},
};
use tracing::{debug, error, info, warn};

use super::held::Held;
use crate::{
    admin::Readiness,
    capture::{EnrolledPod, Enrolment, EnrolmentError, Kubelet, Listeners, Released},
    handover::{Claims, Inheritance, Successor},
    identify::Certificates,
    mesh::{MeshState, SnapshotHandle, Workload, WorkloadUid},
    observe::{BypassReason, Metrics, Observer},
};

/// How long a new pod's traffic may wait, uncaptured as before, for its certificate. Then it is captured all the same
/// and refused until the certificate comes: unprotected for ever would be worse.
const CERTIFICATE_WAIT: Duration = Duration::from_secs(3);
/// How long the listeners of a released pod still accept: connections that the kernel had begun to hand over are in the
/// middle of their handshakes.
const HANDSHAKE_GRACE: Duration = Duration::from_millis(100);
/// First pause before a pod that could not be enrolled is tried again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between looks whether a pod's network namespace was made anew, which nothing tells: a runtime that lost a sandbox makes
/// another for the same pod.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Between looks for the kubelet's cgroup: one that was started anew probes pods some seconds later.
const LOOK_FOR_KUBELET: Duration = Duration::from_secs(1);

/// The task's state.
pub(super) struct Pods {
    enrolment: Enrolment,
    kubelet: Kubelet,
    certificates: Certificates,
    snapshot: SnapshotHandle,
    observer: Observer,
    readiness: Readiness,
    /// Pods without a certificate yet, and until when they wait for it.
    waiting: HashMap<WorkloadUid, Instant>,
    failing: HashMap<WorkloadUid, Failing>,
    leftovers_released: bool,
    held: Held,
    /// The agent before, until it is told that it can stop.
    predecessor: Option<Inheritance>,
}

/// A pod that could not be enrolled.
struct Failing {
    pause: Duration,
    retry_at: Instant,
}

impl Pods {
    pub(super) fn new(
        (enrolment, kubelet): (Enrolment, Kubelet),
        certificates: Certificates,
        snapshot: SnapshotHandle,
        observer: Observer,
        readiness: Readiness,
        predecessor: Option<Inheritance>,
    ) -> Self {
        Self {
            enrolment,
            kubelet,
            held: Held::new(certificates.clone()),
            certificates,
            snapshot,
            observer,
            readiness,
            waiting: HashMap::new(),
            failing: HashMap::new(),
            leftovers_released: false,
            predecessor,
        }
    }

    /// Gives the next agent what it asks for. Nothing is enrolled or released until [`Pods::take_back`].
    pub(super) fn hand_over(&self) -> io::Result<Listeners> {
        self.enrolment.hand_over()
    }

    /// New connections are the next agent's; those that wait in the queues are still served.
    pub(super) fn stop_accepting(&mut self) {
        self.enrolment.stop_accepting();
    }

    /// Nobody has taken it over after all.
    pub(super) fn take_back(&mut self) {
        self.enrolment.take_back();
    }

    /// Follows the mesh until another agent asks to take over; `None` if the mesh ends. Its first snapshot is published already:
    /// what an earlier agent enrolled and is not in it is released.
    pub(super) async fn run(
        &mut self,
        mesh: &mut watch::Receiver<MeshState>,
        claims: &mut Claims,
    ) -> Option<Successor> {
        let mut look = interval_at(Instant::now() + LOOK_AGAIN, LOOK_AGAIN);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_for_kubelet = interval(LOOK_FOR_KUBELET);
        look_for_kubelet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut issued = self.certificates.changes();
        loop {
            self.reconcile().await;
            self.tell_predecessor();
            self.release_leftovers(mesh);
            let retries = self.failing.values().map(|failing| failing.retry_at);
            let again = retries.chain(self.waiting.values().copied()).min();
            tokio::select! {
                changed = mesh.changed() => if changed.is_err() { return None },
                successor = claims.next() => return Some(successor),
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
                Ok(()) = issued.changed(), if !self.waiting.is_empty() => {}
                _ = look_for_kubelet.tick() => self.look_for_kubelet(),
                _ = look.tick() => if self.enrolment.find_moved() {
                    info!("a pod's network namespace was made anew; enrolling it again");
                },
            }
        }
    }

    fn look_for_kubelet(&mut self) {
        match self.kubelet.look() {
            Ok(is_found) => self.observer.metrics().set_kubelet_found(is_found),
            Err(error) => error!(%error, "tell the kernel where the kubelet is; trying again"),
        }
    }

    /// Once: when no pod waits for its certificate any more, this agent serves them all.
    fn tell_predecessor(&mut self) {
        let Some(predecessor) = self.predecessor.take_if(|_| self.waiting.is_empty()) else { return };
        match predecessor.serving() {
            Ok(draining) => {
                info!("took over from the agent before, which drains");
                let tell = move |metrics: &Metrics| metrics.set_predecessor_connections(draining.connections());
                self.observer.before_scrape(tell);
            }
            Err(error) => error!(%error, "tell the agent before that this one serves; both go on"),
        }
    }

    /// Once, and only when everything is known: a pod that could not be enrolled yet, or whose document cannot be read, is
    /// still captured from an earlier time, and to release it would set its traffic free. While the state on disk is in
    /// force instead of what the API server has, that is a problem of the source too, and so nothing is released.
    fn release_leftovers(&mut self, mesh: &watch::Receiver<MeshState>) {
        let all_enrolled = self.failing.is_empty() && self.waiting.is_empty();
        if self.leftovers_released || !all_enrolled || !mesh.borrow().source_problems.is_empty() {
            return;
        }
        match self.enrolment.release_leftovers() {
            Ok(count) => {
                self.leftovers_released = true;
                if count > 0 {
                    info!(count, "released pods that an earlier agent had enrolled and that are gone");
                }
            }
            Err(error) => error!(%error, "release pods that an earlier agent had enrolled; trying again"),
        }
    }

    async fn reconcile(&mut self) {
        let snapshot = self.snapshot.load();
        let gone = self.held.gone(&snapshot);
        self.release_all(&gone).await;
        for workload in snapshot.local_pods() {
            if self.held.hold(workload) {
                self.waiting.insert(workload.uid.clone(), Instant::now() + CERTIFICATE_WAIT);
                self.readiness.missing(&pod_name(workload), "not enrolled yet");
            }
            let pausing = self.failing.get(&workload.uid).is_some_and(|failing| failing.retry_at > Instant::now());
            if self.enrolment.is_current(workload) {
                // A mistake that was taken back leaves nothing to repair.
                if self.failing.remove(&workload.uid).is_some() {
                    self.readiness.met(&pod_name(workload));
                }
            } else if !pausing && !self.waits_for_certificate(workload) {
                self.enrol(workload);
            }
        }
        self.observer.metrics().set_enrolled_pods(self.enrolment.count());
    }

    fn waits_for_certificate(&mut self, workload: &Workload) -> bool {
        let Some(until) = self.waiting.get(&workload.uid) else { return false };
        let is_there = self.certificates.get(&workload.identity).is_some();
        if !is_there && Instant::now() < *until {
            return true;
        }
        if !is_there {
            let (pod, identity) = (pod_name(workload), &workload.identity);
            warn!(%pod, %identity, "no certificate yet; enrolling all the same, connections are refused until it comes");
        }
        self.waiting.remove(&workload.uid);
        false
    }

    fn enrol(&mut self, workload: &Arc<Workload>) {
        let name = pod_name(workload);
        match self.enrolment.enrol(workload) {
            Ok(new) => {
                self.failing.remove(&workload.uid);
                self.readiness.met(&name);
                info!(pod = %name, identity = %workload.identity, "enrolled");
                if let Some(pod) = new {
                    let observer = self.observer.clone();
                    tokio::task::spawn_blocking(move || count_survivors(&pod, &observer));
                }
            }
            Err(error) => {
                let pause = self.failing.get(&workload.uid).map_or(FIRST_PAUSE, |f| (f.pause * 2).min(LONGEST_PAUSE));
                let failing = Failing { pause, retry_at: Instant::now() + pause };
                let first = self.failing.insert(workload.uid.clone(), failing).is_none();
                self.readiness.missing(&name, error.to_string());
                self.say_why_not(&name, &error, pause, first);
            }
        }
    }

    /// A pod that is only being started is no failure, and is mentioned once.
    fn say_why_not(&self, name: &str, error: &EnrolmentError, pause: Duration, first: bool) {
        match (error.is_early(), first) {
            (true, true) => info!(pod = %name, %error, "waiting for a pod's sandbox"),
            (true, false) => debug!(pod = %name, %error, retry_in = ?pause, "waiting for a pod's sandbox"),
            (false, _) => {
                self.observer.metrics().enrolment_failures.inc();
                error!(pod = %name, %error, retry_in = ?pause, "enrol a pod");
            }
        }
    }

    /// Two steps, with a moment between them for connections that are just being handed over: they still find the
    /// listeners, and the certificate.
    async fn release_all(&mut self, uids: &[WorkloadUid]) {
        let released: Vec<_> = uids.iter().filter_map(|uid| Some((uid, self.release(uid)?))).collect();
        if released.is_empty() {
            return;
        }
        sleep(HANDSHAKE_GRACE).await;
        for (uid, released) in released {
            if let Some(Err(error)) = released.map(|released| self.enrolment.forget(&released)) {
                error!(uid = %uid.0, %error, "forget a released pod");
            }
            self.held.release(uid);
        }
    }

    /// `None` where it failed: the pod stays captured, holds its identity, and is tried again.
    fn release(&mut self, uid: &WorkloadUid) -> Option<Option<Released>> {
        let name = pod_name(self.held.pod(uid)?);
        match self.enrolment.release(uid) {
            Ok(released) => {
                self.readiness.forget(&name);
                self.waiting.remove(uid);
                self.failing.remove(uid);
                info!(pod = %name, "released");
                Some(released)
            }
            Err(error) => {
                error!(pod = %name, %error, "release a pod");
                None
            }
        }
    }
}

/// What was open before is counted afterwards: by then nothing new can look like it.
fn count_survivors(pod: &EnrolledPod, observer: &Observer) {
    let name = pod_name(&pod.workload);
    match pod.survivors() {
        Ok(0) => {}
        Ok(count) => {
            observer.metrics().bypassed(BypassReason::BeforeEnrolment, count);
            info!(pod = %name, count, "connections that were open before the enrolment stay outside the mesh");
        }
        Err(error) => warn!(pod = %name, %error, "count the connections that were open before the enrolment"),
    }
}

/// The name of a pod, as a condition of readiness and in logs.
pub(super) fn pod_name(workload: &Workload) -> String {
    format!("pod {}/{}", workload.namespace, workload.name)
}
