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
    Share,
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
}

impl Bound {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::OutboundConnections, Self::InboundConnections, Self::OutboundHandshakes, Self::InboundHandshakes];

    fn most(self, share: &Share) -> usize {
        let most = match self {
            Self::OutboundConnections | Self::InboundConnections => share.connections,
            Self::OutboundHandshakes | Self::InboundHandshakes => share.handshakes,
        };
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

/// One pod's account, shared by everything that is done for the pod.
#[derive(Debug)]
pub struct Account {
    share: Mutex<Share>,
    /// As in the share, for who asks often.
    weight: AtomicU32,
    places: [Places; Bound::ALL.len()],
    buffers: Buffers,
    worked: AtomicU64,
    put_off: AtomicU64,
}

impl Account {
    /// An account without entries.
    pub fn new(share: Share) -> Arc<Self> {
        Arc::new(Self {
            weight: AtomicU32::new(share.weight),
            places: Bound::ALL.map(|bound| Places::new(bound.most(&share))),
            buffers: Buffers::new(share.buffer_bytes),
            worked: AtomicU64::new(0),
            put_off: AtomicU64::new(0),
            share: Mutex::new(share),
        })
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
        self.buffers.set_most(share.buffer_bytes);
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
        Place { account: Arc::clone(self), bound }
    }

    /// Waits for a place.
    pub async fn place(self: &Arc<Self>, bound: Bound) -> Place {
        self.places(bound).wait().await;
        Place { account: Arc::clone(self), bound }
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

/// One of a pod's places, until it is dropped.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Place {
    account: Arc<Account>,
    bound: Bound,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.account.places(self.bound).give_back();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SHARE: Share = Share { weight: 100, connections: 2, handshakes: 1, buffer_bytes: 1 << 20 };

    #[test]
    fn each_bound_has_its_own_places_and_they_come_back() {
        let account = Account::new(SHARE);
        let handshake = account.take(Bound::InboundHandshakes);
        assert!(account.room(Bound::InboundHandshakes).now_or_never().is_none());
        for other in [Bound::OutboundHandshakes, Bound::InboundConnections, Bound::OutboundConnections] {
            assert!(account.room(other).now_or_never().is_some(), "{other:?}");
        }
        drop(handshake);
        assert!(account.room(Bound::InboundHandshakes).now_or_never().is_some());
    }

    #[test]
    fn a_new_share_is_in_force_for_what_comes() {
        let account = Account::new(SHARE);
        let _held = [(); 2].map(|()| account.take(Bound::OutboundConnections));
        assert!(account.room(Bound::OutboundConnections).now_or_never().is_none());
        account.set(Share { weight: 7, connections: 3, ..SHARE });
        assert!(account.room(Bound::OutboundConnections).now_or_never().is_some());
        assert_eq!((account.weight(), account.share().connections), (7, 3));
    }
}
