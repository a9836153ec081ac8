//! The account of one pod: what it may have, and what it has.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    Overload, Overloaded, Share,
    buffers::{Buffers, Direction},
    places::Places,
};

/// What there may be only so many of at a time. By direction, so that who comes to a pod does not keep it from going out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Connections that the pod opened.
    OutboundConnections,
    /// Connections to the pod: those that carry tunnels, and those in them.
    InboundConnections,
    /// Handshakes of tunnels that start from the pod.
    OutboundHandshakes,
    /// Handshakes of tunnels to the pod.
    InboundHandshakes,
    /// Connections of HTTP that the agent has opened for the pod's requests.
    OutboundHttp,
    /// Those to the pod's application, for requests to it.
    InboundHttp,
    /// Tunnels from the pod.
    OutboundTunnels,
}

impl Bound {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::OutboundConnections,
        Self::InboundConnections,
        Self::OutboundHandshakes,
        Self::InboundHandshakes,
        Self::OutboundHttp,
        Self::InboundHttp,
        Self::OutboundTunnels,
    ];

    /// Whether each of these is one that somebody else has opened.
    fn is_of_connections(self) -> bool {
        matches!(self, Self::OutboundConnections | Self::InboundConnections)
    }

    fn most(self, share: &Share) -> usize {
        let most = match self {
            Self::OutboundConnections
            | Self::InboundConnections
            | Self::OutboundHttp
            | Self::InboundHttp
            | Self::OutboundTunnels => share.connections,
            Self::OutboundHandshakes | Self::InboundHandshakes => share.handshakes,
        };
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

/// One pod's account, shared by everything that is done for the pod.
#[derive(Debug)]
pub struct Account {
    node: Arc<Overload>,
    share: Mutex<Share>,
    /// As in the share, for who asks often.
    weight: AtomicU32,
    places: [Places; Bound::ALL.len()],
    buffers: Buffers,
    worked: AtomicU64,
    put_off: AtomicU64,
}

impl Account {
    /// An account without entries, of a pod of this node.
    pub fn new(share: Share, node: &Arc<Overload>) -> Arc<Self> {
        let account = Arc::new(Self {
            node: Arc::clone(node),
            weight: AtomicU32::new(share.weight),
            places: Bound::ALL.map(|bound| Places::new(bound.most(&share))),
            buffers: Buffers::new(node.buffer_bytes(&share)),
            worked: AtomicU64::new(0),
            put_off: AtomicU64::new(0),
            share: Mutex::new(share),
        });
        node.enter(&account);
        account
    }

    /// What the pod may have.
    pub fn share(&self) -> Share {
        *self.share.lock()
    }

    /// It may have this from now on. What it has beyond that, it keeps.
    pub fn set(&self, share: Share) {
        *self.share.lock() = share;
        self.weight.store(share.weight, Relaxed);
        for bound in Bound::ALL {
            self.places(bound).set_most(bound.most(&share));
        }
        self.size_buffers();
    }

    /// The node has more memory, or less, or the pod another share of it.
    pub(super) fn size_buffers(&self) {
        self.buffers.set_most(self.node.buffer_bytes(&self.share()));
    }

    /// Its weight.
    pub(super) fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Waits until the pod may have one more, and takes no place.
    pub async fn room(&self, bound: Bound) {
        self.places(bound).room().await;
    }

    /// Takes a place, beyond the bound where there is none: for who waited for room before.
    pub fn take(self: &Arc<Self>, bound: Bound) -> Place {
        self.places(bound).take();
        self.taken_place(bound)
    }

    /// Waits for a place.
    pub async fn place(self: &Arc<Self>, bound: Bound) -> Place {
        self.places(bound).wait().await;
        self.taken_place(bound)
    }

    /// Takes a place, where there is one.
    pub fn try_place(self: &Arc<Self>, bound: Bound) -> Result<Place, PodIsFull> {
        if self.places(bound).try_take() { Ok(self.taken_place(bound)) } else { Err(PodIsFull) }
    }

    /// The same, for who does not wait: that there is none counts as one that had to.
    pub fn place_at_once(self: &Arc<Self>, bound: Bound) -> Result<Place, PodIsFull> {
        self.try_place(bound).inspect_err(|_| self.places(bound).none_was_there())
    }

    /// Whether more are taken than there may be, which counts as one that had to wait.
    pub fn is_beyond(&self, bound: Bound) -> bool {
        let is_beyond = self.places(bound).is_beyond();
        if is_beyond {
            self.places(bound).none_was_there();
        }
        is_beyond
    }

    fn taken_place(self: &Arc<Self>, bound: Bound) -> Place {
        if bound.is_of_connections() {
            self.node.take();
        }
        Place { account: Arc::clone(self), bound }
    }

    /// Whether the node has room for the connection that the pod has taken a place for.
    pub fn admit_connection(&self) -> Result<(), Overloaded> {
        self.node.admit_connection(self.taken(Bound::OutboundConnections) + self.taken(Bound::InboundConnections))
    }

    /// Whether the node has room for one more request.
    pub fn admit_request(&self) -> Result<(), Overloaded> {
        self.node.admit_request()
    }

    /// How many places are taken.
    pub fn taken(&self, bound: Bound) -> usize {
        self.places(bound).taken()
    }

    /// How often there was no place, and how long that was waited for in all.
    pub fn waits(&self, bound: Bound) -> (u64, Duration) {
        self.places(bound).waits()
    }

    /// Bytes that wait for somebody to take them.
    pub fn waiting_bytes(&self, direction: Direction) -> usize {
        self.buffers.waiting(direction)
    }

    /// How many there may be.
    pub fn buffer_bound(&self, direction: Direction) -> usize {
        self.buffers.most(direction)
    }

    /// How often the buffers of a direction were found full.
    pub fn full_buffers(&self, direction: Direction) -> u64 {
        self.buffers.times_full(direction)
    }

    pub(super) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// A data thread has worked for the pod, and has put it off so many times since others were to have their turn.
    pub(super) fn add_work(&self, nanos: u64, put_off: u64) {
        self.worked.fetch_add(nanos, Relaxed);
        self.put_off.fetch_add(put_off, Relaxed);
    }

    /// How long data threads have worked for the pod, as of a few milliseconds ago.
    pub fn worked(&self) -> Duration {
        Duration::from_nanos(self.worked.load(Relaxed))
    }

    /// How often they put it off.
    pub fn put_off(&self) -> u64 {
        self.put_off.load(Relaxed)
    }

    fn places(&self, bound: Bound) -> &Places {
        &self.places[bound as usize]
    }
}

/// A pod has as many connections to servers as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "as many connections are open for the pod's requests as the pod may have: raise limits.pod.connections, or connections in the \
     share of a Capture document"
)]
pub struct PodIsFull;

/// One of a pod's places, until it is dropped.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Place {
    account: Arc<Account>,
    bound: Bound,
}

impl Place {
    /// Whether it is one of these of this pod.
    pub fn is_of(&self, account: &Arc<Account>, bound: Bound) -> bool {
        self.bound == bound && Arc::ptr_eq(&self.account, account)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.bound.is_of_connections() {
            self.account.node.give_back();
        }
        self.account.places(self.bound).give_back();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use futures_util::FutureExt;

    use super::*;

    const SHARE: Share = Share { weight: 100, connections: 2, handshakes: 1, buffer_bytes: 1 << 20 };

    #[test]
    fn each_bound_has_its_own_places_and_they_come_back() {
        let account = Account::new(SHARE, &Overload::new(100));
        let handshake = account.take(Bound::InboundHandshakes);
        assert!(account.room(Bound::InboundHandshakes).now_or_never().is_none());
        for other in [Bound::OutboundHandshakes, Bound::InboundConnections, Bound::OutboundConnections] {
            assert!(account.room(other).now_or_never().is_some(), "{other:?}");
        }
        drop(handshake);
        assert!(account.room(Bound::InboundHandshakes).now_or_never().is_some());
    }

    #[test]
    fn a_place_that_nobody_waits_for_is_taken_or_refused_and_what_is_beyond_the_bound_is_told() {
        let account = Account::new(SHARE, &Overload::new(100));
        let held = [(); 2].map(|()| account.try_place(Bound::OutboundHttp).unwrap());
        assert_eq!(account.try_place(Bound::OutboundHttp).unwrap_err(), PodIsFull);
        assert_eq!(account.waits(Bound::OutboundHttp).0, 0, "who looks again may wait, and counts then");
        assert_eq!(account.place_at_once(Bound::OutboundHttp).unwrap_err(), PodIsFull);
        assert_eq!(account.waits(Bound::OutboundHttp).0, 1);
        assert!(held[0].is_of(&account, Bound::OutboundHttp) && !held[0].is_of(&account, Bound::InboundHttp));
        assert!(!held[0].is_of(&Account::new(SHARE, &Overload::new(100)), Bound::OutboundHttp));
        let tunnels = [(); 3].map(|()| account.take(Bound::OutboundTunnels));
        assert!(account.is_beyond(Bound::OutboundTunnels) && !account.is_beyond(Bound::OutboundHttp));
        assert_eq!(account.waits(Bound::OutboundTunnels).0, 1);
        drop((held, tunnels));
        assert_eq!(Bound::ALL.map(|bound| account.taken(bound)), [0; 7]);
        // Of the node's places, only connections take some.
        let _held = account.try_place(Bound::OutboundHttp).unwrap();
        assert_eq!(account.node.connections().0, 0);
    }

    #[test]
    fn a_new_share_is_in_force_for_what_comes() {
        let account = Account::new(SHARE, &Overload::new(100));
        let _held = [(); 2].map(|()| account.take(Bound::OutboundConnections));
        assert!(account.room(Bound::OutboundConnections).now_or_never().is_none());
        account.set(Share { weight: 7, connections: 3, ..SHARE });
        assert!(account.room(Bound::OutboundConnections).now_or_never().is_some());
        assert_eq!((account.weight(), account.share().connections), (7, 3));
    }
}
