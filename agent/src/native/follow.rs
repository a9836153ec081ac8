//! Following native connections: their ends are counted and logged, and those that are no longer permitted are ended.
//!
//! The kernel's table of them is the truth, and outlives the agent. It is looked at each second, for those that stay open,
//! and whenever access changes; what comes and goes between two looks is told by the ring. So an event that the ring had no
//! room for costs an account of one connection, which is counted, and never a decision.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use heddle_common::{DialKey, NativeEvent, NativeOutcome, NativeStage, OUTSIDE};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{info, warn};

use super::{
    NotNative, Permitted,
    followed::{Ends, Followed, since},
    permission,
    unwanted::{Unwanted, failure},
};
use crate::{
    authorize::{Withdrawn, access_differs},
    capture::{EnrolledPod, EnteredConnection, LostEvents, NativeEvents},
    config::FastPath,
    mesh::{MeshState, Snapshot},
    node::Node,
    observe::{Failure, Metrics, Observer, Reporter, ResponseFlag},
};

/// Between looks at what is open.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after the ring was read: so many connections end at a time that to be woken for each would cost more than the rest.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a connection that an earlier agent left open may wait for its pods to be enrolled. A pod that is not by then has
/// left the mesh meanwhile.
const UNKNOWN: Duration = Duration::from_secs(10);
/// Events that wait for that: those of a full ring.
const MOST_EARLY: usize = 10_000;

/// The task's state.
pub struct Follower {
    node: Arc<Node>,
    events: NativeEvents,
    open: HashMap<DialKey, Followed, RandomState>,
    /// Those whose SYN was held up and is let pass on the generation in force. It has to be again when that moves on.
    held_up: HashSet<DialKey, RandomState>,
    /// Why those were ended that were still to be opened.
    refused: HashMap<DialKey, Failure, RandomState>,
    /// Those of pods that are not enrolled, and since when.
    unknown: HashMap<DialKey, Instant, RandomState>,
    /// What happened while no agent ran, until its pods are enrolled again.
    early: Vec<NativeEvent>,
    began: Instant,
    lost: u64,
}

/// Registers what is to be read before each scrape.
pub fn register(observer: &Observer, node: &Arc<Node>, lost: LostEvents) {
    let node = Arc::downgrade(node);
    observer.before_scrape(move |metrics: &Metrics| {
        let Some(node) = node.upgrade() else { return };
        metrics.set_native_events_lost(lost.count() + node.native.unaccounted.load(Relaxed));
        metrics.set_native_connections(node.native.count());
    });
}

impl Follower {
    /// To be called before anything can go natively.
    pub fn new(node: Arc<Node>, events: NativeEvents) -> Self {
        let lost = events.lost().count();
        let (open, held_up, refused, unknown) = Default::default();
        Self { node, events, open, held_up, refused, unknown, early: Vec::new(), began: Instant::now(), lost }
    }

    /// Follows them until the mesh ends.
    pub async fn run(mut self, mut mesh: watch::Receiver<MeshState>) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = Arc::clone(&mesh.borrow_and_update().snapshot);
        let mut told = Vec::new();
        loop {
            // The next agent follows them, and may yet fail to.
            if !self.node.native.paths.is_ours() {
                sleep(LOOK).await;
                continue;
            }
            tokio::select! {
                // First: whoever is forbidden by now is ended before anything else is done.
                biased;
                changed = mesh.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = Arc::clone(&mesh.borrow_and_update().snapshot);
                    self.changed(&before, &now);
                    before = now;
                }
                _ = look.tick() => self.look(),
                read = self.events.next(&mut told) => {
                    if let Err(error) = read {
                        warn!(%error, "read the kernel's events of native connections; trying again");
                    }
                    told.drain(..).for_each(|event| self.hear(event));
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Of a pod that is not enrolled nothing can be told: it is only being enrolled again, or has left the mesh.
    fn hear(&mut self, event: NativeEvent) {
        if self.ends(&key_of(&event), event.destination).is_some() || event.outcome == NativeOutcome::Stale as u16 {
            self.understand(&event);
        } else if self.began.elapsed() < UNKNOWN && self.early.len() < MOST_EARLY {
            self.early.push(event);
        } else {
            self.node.native.unaccounted.fetch_add(1, Relaxed);
        }
    }

    fn understand(&mut self, event: &NativeEvent) {
        match NativeOutcome::of(event.outcome) {
            Some(NativeOutcome::Closed | NativeOutcome::Reset) => self.ended(event),
            Some(NativeOutcome::Stale) => {
                let key = key_of(event);
                if let Some(entry) = self.node.native.paths.get(&key) {
                    self.held_up.insert(key);
                    self.decide_again(&EnteredConnection { key, entry });
                }
            }
            Some(NativeOutcome::Astray) => self.astray(event),
            Some(NativeOutcome::OtherAddress) => {
                self.node.native.decline(event.source);
                self.cut_off(event, "the kernel gave it another source address than its pod has");
            }
            Some(NativeOutcome::NoRoom) => self.cut_off(event, "the kernel had no room to follow it"),
            Some(NativeOutcome::NotEstablished) => self.not_established(event),
            None => {}
        }
    }

    fn ended(&mut self, event: &NativeEvent) {
        let key = key_of(event);
        self.held_up.remove(&key);
        self.unknown.remove(&key);
        let refused = self.refused.remove(&key);
        if let Some(mut followed) = self.open.remove(&key) {
            followed.ended_by = followed.ended_by.take().or(refused);
            followed.end(event);
        } else if let Some(ends) = self.ends(&key, event.destination) {
            ends.passed(&self.node, self.node.native.paths.of_snapshot(event.generation), event, refused);
        }
    }

    fn not_established(&mut self, event: &NativeEvent) {
        let key = key_of(event);
        self.held_up.remove(&key);
        let error = "the kernel carried it: nobody listens there, nobody answered, or the client gave it up";
        let refused = self.refused.remove(&key);
        self.failed(event, refused.unwrap_or_else(|| failure(ResponseFlag::ConnectFailure, error)));
    }

    /// Somebody has answered who is not the pod that it was decided for. The kernel has let nothing leave since.
    fn astray(&mut self, event: &NativeEvent) {
        let key = key_of(event);
        let Some(ends) = self.ends(&key, event.destination) else { return };
        let began = event.time - event.lasted;
        let generation = self.node.native.paths.of_snapshot(event.generation);
        let mut followed = Followed::begin(&self.node, ends, began, generation);
        followed.ended_by = Some(failure(
            ResponseFlag::IdentityError,
            "somebody else answered than the pod of this node that it was decided for",
        ));
        end(&followed.ends);
        self.open.insert(key, followed);
    }

    /// It has no entry, and will have no end that is told.
    fn cut_off(&self, event: &NativeEvent, why: &str) {
        if let Some(ends) = self.ends(&key_of(event), event.destination) {
            end(&ends);
        }
        self.failed(event, failure(ResponseFlag::ConnectFailure, why));
    }

    fn failed(&self, event: &NativeEvent, failure: Failure) {
        let Some(ends) = self.ends(&key_of(event), event.destination) else { return };
        let generation = self.node.native.paths.of_snapshot(event.generation);
        ends.record(&self.node, generation, Reporter::Source).finish(Err(failure));
    }

    /// Another snapshot is in force.
    fn changed(&mut self, before: &Snapshot, now: &Snapshot) {
        let entered = match access_differs(before, now) {
            true => self.entered(),
            false if self.held_up.is_empty() => return,
            false => self.entered().into_iter().filter(|it| self.held_up.contains(&it.key)).collect(),
        };
        for connection in entered {
            self.decide_again(&connection);
        }
    }

    /// Takes up those that are open and were not known, and decides over them.
    fn look(&mut self) {
        let lost = self.events.lost().count();
        if lost > self.lost {
            warn!(lost = lost - self.lost, "native connections ended without an account: the kernel's ring was full");
        }
        std::mem::take(&mut self.early).into_iter().for_each(|event| self.hear(event));
        let is_missing_some = lost > std::mem::replace(&mut self.lost, lost);
        if self.node.native.count() == 0 && self.open.is_empty() && self.unknown.is_empty() {
            return;
        }
        let entered = self.entered();
        for connection in &entered {
            let is_open = connection.entry.stage == NativeStage::Open as u32;
            // The word that it is held up may have been lost.
            if !is_open && self.is_stale(connection) {
                self.held_up.insert(connection.key);
            }
            if (is_open && !self.is_known(connection)) || self.held_up.contains(&connection.key) {
                self.decide_again(connection);
            } else if self.is_to_end(&connection.key) {
                self.ends(&connection.key, connection.entry.destination).iter().for_each(end);
            }
        }
        let there: HashSet<_> = entered.iter().map(|connection| connection.key).collect();
        self.held_up.retain(|key| there.contains(key));
        self.unknown.retain(|key, _| there.contains(key));
        if is_missing_some {
            self.open.retain(|key, _| there.contains(key));
            self.refused.retain(|key, _| there.contains(key));
        }
    }

    fn is_stale(&self, connection: &EnteredConnection) -> bool {
        let is_old = since(connection.entry.began).1 > LOOK;
        is_old
            && self.node.native.paths.of_snapshot(connection.entry.generation) != self.node.snapshot.load().generation
    }

    fn entered(&self) -> Vec<EnteredConnection> {
        self.node.native.paths.entered().unwrap_or_else(|error| {
            warn!(%error, "read the kernel's table of native connections; trying again");
            Vec::new()
        })
    }

    /// Decides over an entered connection by the snapshot in force: over an open one by access alone, over one that is still to
    /// be opened as over a new one.
    fn decide_again(&mut self, connection: &EnteredConnection) {
        let EnteredConnection { key, entry } = *connection;
        let Some(ends) = self.ends(&key, entry.destination) else { return self.is_unknown(connection) };
        let snapshot = self.node.snapshot.load();
        if entry.stage != NativeStage::Open as u32 {
            return self.decide_opening(&snapshot, &ends, connection);
        }
        self.held_up.remove(&key);
        if !self.is_known(connection) {
            let generation = self.node.native.paths.of_snapshot(entry.generation);
            self.open.insert(key, Followed::begin(&self.node, ends.clone(), entry.began, generation));
        }
        if let Err(unwanted) = self.still_wanted(&snapshot, &ends) {
            self.end(&key, &unwanted);
        }
    }

    fn decide_opening(&mut self, snapshot: &Snapshot, ends: &Ends, connection: &EnteredConnection) {
        match self.opens(snapshot, ends, connection) {
            // The kernel changes nothing of an entry whose SYN it holds up: only such a one may be written.
            Ok(()) if self.held_up.contains(&connection.key) => {
                if let Err(error) = self.node.native.paths.renew(connection, snapshot.generation) {
                    warn!(%error, "let a native connection be opened that was held up; trying again");
                }
            }
            Ok(()) => {}
            Err(unwanted) => {
                if self.refused.insert(connection.key, unwanted.failure()).is_none() {
                    unwanted.count(&self.node.observer);
                    end(ends);
                }
            }
        }
    }

    /// Whether it was told to end, and has not yet.
    fn is_to_end(&self, key: &DialKey) -> bool {
        self.refused.contains_key(key) || self.open.get(key).is_some_and(|open| open.ended_by.is_some())
    }

    fn is_known(&self, connection: &EnteredConnection) -> bool {
        self.open.get(&connection.key).is_some_and(|open| open.began == connection.entry.began)
    }

    fn still_wanted(&self, snapshot: &Snapshot, ends: &Ends) -> Result<(), Unwanted> {
        let wanted = match (self.node.native.setting, &ends.destination) {
            (FastPath::All, _) | (FastPath::OutsideMesh, None) => true,
            (FastPath::OutsideMesh, Some(_)) | (FastPath::Off, _) => false,
        };
        if !wanted {
            return Err(Unwanted::Setting);
        }
        let Some(asked) = ends.asked(snapshot) else { return Ok(()) };
        let (client, to) = (ends.client().ip(), ends.server());
        let answer = permission(snapshot, &self.node.access, &ends.source, &asked, client, to);
        answer.leave.map(drop).map_err(|denied| Unwanted::Withdrawn(Withdrawn(denied)))
    }

    /// Whether one that is still to be opened would be decided alike now.
    fn opens(&self, snapshot: &Snapshot, ends: &Ends, connection: &EnteredConnection) -> Result<(), Unwanted> {
        let (client, server) = (ends.client().ip(), ends.server());
        match self.node.native.decide(&self.node, snapshot, &ends.source, client, server) {
            Ok(Permitted { destination }) if cookie_of(destination.as_deref()) == connection.entry.destination => {
                Ok(())
            }
            Ok(_) => Err(Unwanted::Elsewhere("another pod has its address".to_owned())),
            Err(NotNative::Denied(denied)) => Err(Unwanted::Denied(denied)),
            Err(why) => Err(Unwanted::Elsewhere(why.to_string())),
        }
    }

    /// An earlier agent left it open, and its pods are not enrolled, or not yet.
    fn is_unknown(&mut self, connection: &EnteredConnection) {
        let EnteredConnection { key, entry } = connection;
        let since = *self.unknown.entry(*key).or_insert_with(Instant::now);
        if since.elapsed() < UNKNOWN {
            return;
        }
        let pods = &self.node.native.pods;
        let ended = match (pods.get(key.netns), pods.get(entry.destination)) {
            (Some(source), _) => source.end_native(&key.tuple),
            (None, Some(destination)) => destination.end_native_here(&key.tuple),
            // Neither end is in the mesh any more: it is nobody's to end.
            (None, None) => return,
        };
        match ended {
            Ok(true) => {
                info!("ended an open native connection, one of whose pods has left the mesh while no agent ran");
            }
            Ok(false) => {}
            Err(error) => warn!(%error, "end a native connection; trying again"),
        }
    }

    /// Ends an open connection, and remembers why until the kernel tells that it has ended.
    fn end(&mut self, key: &DialKey, unwanted: &Unwanted) {
        let Some(followed) = self.open.get_mut(key).filter(|followed| followed.ended_by.is_none()) else { return };
        followed.ended_by = Some(unwanted.failure());
        unwanted.count(&self.node.observer);
        end(&followed.ends);
    }

    /// Who is at the ends; `None` while one of the pods is not enrolled and no connection of it is known.
    fn ends(&self, key: &DialKey, destination: u64) -> Option<Ends> {
        let known = self.open.get(key).filter(|open| cookie_of(open.ends.destination.as_deref()) == destination);
        if let Some(followed) = known {
            return Some(followed.ends.clone());
        }
        let pods = &self.node.native.pods;
        let source = pods.get(key.netns)?;
        let destination = match destination {
            OUTSIDE => None,
            cookie => Some(pods.get(cookie)?),
        };
        Some(Ends { source, destination, tuple: key.tuple })
    }
}

/// Ends a connection by its client's socket.
fn end(ends: &Ends) {
    if let Err(error) = ends.source.end_native(&ends.tuple) {
        warn!(%error, client = %ends.client(), server = %ends.server(), "end a native connection that may not be");
    }
}

fn cookie_of(pod: Option<&EnrolledPod>) -> u64 {
    pod.map_or(OUTSIDE, |pod| pod.netns.cookie())
}

fn key_of(event: &NativeEvent) -> DialKey {
    DialKey::new(event.source, event.tuple)
}
