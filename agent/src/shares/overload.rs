//! What all pods of a node have of the agent together: so many connections, descriptors and memory. When one of them is used up, what
//! is new is refused, and what is there goes on.
//!
//! The last tenth of the connections is kept, in equal parts, for pods that have few: one that holds thousands does not keep
//! another from its first. Descriptors and memory are looked at from time to time: what the connections took of them beside their
//! places, and what else did. While memory is short, bytes are sent in small pieces before they fill as much as otherwise.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use parking_lot::Mutex;

use super::{Account, Share};

/// The part of the connections that is kept for pods that have few.
const KEPT: usize = 10;
/// The part of its bytes to be sent that a pod has while memory is short. What its peers may send was promised to them.
const SHORT_OF_MEMORY: u64 = 8;

/// Why the agent takes nothing new on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Overloaded {
    /// All pods together have as many connections as there may be.
    #[error(
        "the pods of this node together have as many connections as its agent may have: raise limits.connections, with the limit \
         of open files"
    )]
    Connections,
    /// Nearly all descriptors are in use.
    #[error(
        "the agent has nearly as many files and sockets open as it may have: raise the limit of open files of its container"
    )]
    Descriptors,
    /// As much memory is used as may be.
    #[error(
        "the agent has used the memory that it may have: raise limits.memory, with the memory limit of its container"
    )]
    Memory,
}

impl Overloaded {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Connections, Self::Descriptors, Self::Memory];
}

/// The bounds of a node, and what is taken of them.
#[derive(Debug)]
pub struct Overload {
    most: usize,
    taken: AtomicUsize,
    short_of: [AtomicBool; Overloaded::ALL.len()],
    accounts: Mutex<Vec<Weak<Account>>>,
    refused: [AtomicU64; Overloaded::ALL.len()],
}

impl Overload {
    /// Of a node that may have so many connections.
    pub fn new(connections: u32) -> Arc<Self> {
        Arc::new(Self {
            most: usize::try_from(connections).unwrap_or(usize::MAX),
            taken: AtomicUsize::new(0),
            short_of: Default::default(),
            accounts: Mutex::default(),
            refused: Default::default(),
        })
    }

    /// Connections of all pods now, and how many there may be.
    pub fn connections(&self) -> (usize, usize) {
        (self.taken.load(Relaxed), self.most)
    }

    /// Whether pods that have more than their part are refused for this now.
    pub fn is(&self, overloaded: Overloaded) -> bool {
        match overloaded {
            Overloaded::Connections => self.taken.load(Relaxed) >= self.for_all(),
            Overloaded::Descriptors | Overloaded::Memory => self.is_short_of(overloaded),
        }
    }

    /// How much was refused for this.
    pub fn refused(&self, overloaded: Overloaded) -> u64 {
        self.refused[overloaded as usize].load(Relaxed)
    }

    /// From now on there is too little of this, or not any more.
    pub fn set_short_of(&self, what: Overloaded, is_short: bool) {
        self.short_of[what as usize].store(is_short, Relaxed);
        let accounts: Vec<_> = self.accounts.lock().iter().filter_map(Weak::upgrade).collect();
        accounts.iter().for_each(|account| account.size_buffers());
    }

    pub(super) fn enter(&self, account: &Arc<Account>) {
        let mut accounts = self.accounts.lock();
        accounts.retain(|account| account.strong_count() > 0);
        accounts.push(Arc::downgrade(account));
    }

    /// What a pod may have to be sent, and unread, now.
    pub(super) fn buffer_bytes(&self, share: &Share) -> [u64; 2] {
        let half = share.buffer_bytes / 2;
        [if self.is_short_of(Overloaded::Memory) { half / SHORT_OF_MEMORY } else { half }, half]
    }

    fn is_short_of(&self, what: Overloaded) -> bool {
        self.short_of[what as usize].load(Relaxed)
    }

    pub(super) fn take(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    pub(super) fn give_back(&self) {
        self.taken.fetch_sub(1, Relaxed);
    }

    /// Whether a pod that has so many connections, the newest among them, may keep that one.
    pub(super) fn admit_connection(&self, of_pod: usize) -> Result<(), Overloaded> {
        self.unless(self.is_short_of(Overloaded::Descriptors), Overloaded::Descriptors)?;
        self.admit_request()?;
        let has_room = self.taken.load(Relaxed) <= self.for_all() || of_pod <= self.kept_for_each();
        self.unless(!has_room, Overloaded::Connections)
    }

    /// Whether one more request may be answered.
    pub(super) fn admit_request(&self) -> Result<(), Overloaded> {
        self.unless(self.is_short_of(Overloaded::Memory), Overloaded::Memory)
    }

    fn unless(&self, refused: bool, why: Overloaded) -> Result<(), Overloaded> {
        if refused {
            self.refused[why as usize].fetch_add(1, Relaxed);
            return Err(why);
        }
        Ok(())
    }

    fn for_all(&self) -> usize {
        self.most - self.most / KEPT
    }

    fn kept_for_each(&self) -> usize {
        let pods = self.accounts.lock().iter().filter(|account| account.strong_count() > 0).count();
        (self.most / KEPT / pods.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{Bound, Direction};

    const SHARE: Share = Share { weight: 100, connections: 1000, handshakes: 10, buffer_bytes: 16 << 20 };

    #[test]
    fn what_is_left_is_for_pods_that_have_few() {
        let node = Overload::new(100);
        let [hungry, modest] = [(); 2].map(|()| Account::new(SHARE, &node));
        let held: Vec<_> = (0..90).map(|_| hungry.take(Bound::OutboundConnections)).collect();
        assert_eq!(hungry.admit_connection(), Ok(()));
        assert!(node.is(Overloaded::Connections));
        let _one_more = hungry.take(Bound::InboundConnections);
        assert_eq!(hungry.admit_connection(), Err(Overloaded::Connections));
        // Ten are kept, five for each of the two.
        let few: Vec<_> = (0..5).map(|_| modest.take(Bound::InboundConnections)).collect();
        assert_eq!(modest.admit_connection(), Ok(()));
        let _sixth = modest.take(Bound::OutboundConnections);
        assert_eq!(modest.admit_connection(), Err(Overloaded::Connections));
        assert_eq!((node.refused(Overloaded::Connections), node.connections()), (2, (97, 100)));
        drop((held, few));
        assert_eq!((hungry.admit_connection(), modest.admit_connection()), (Ok(()), Ok(())));
        assert_eq!(node.connections(), (2, 100));
        assert!(!node.is(Overloaded::Connections));
    }

    #[test]
    fn pods_that_are_gone_keep_nothing() {
        let node = Overload::new(100);
        let pod = Account::new(SHARE, &node);
        (0..9).for_each(|_| drop(Account::new(SHARE, &node)));
        let _held: Vec<_> = (0..91).map(|_| node.take()).collect();
        let _few: Vec<_> = (0..10).map(|_| pod.take(Bound::OutboundConnections)).collect();
        assert_eq!(pod.admit_connection(), Ok(()), "all that is kept is its own");
    }

    #[test]
    fn handshakes_are_no_connections() {
        let node = Overload::new(10);
        let _handshake = Account::new(SHARE, &node).take(Bound::InboundHandshakes);
        assert_eq!(node.connections().0, 0);
    }

    #[test]
    fn without_memory_nothing_new_is_taken_on_and_little_is_to_be_sent_until_there_is_some() {
        let node = Overload::new(100);
        let pod = Account::new(SHARE, &node);
        node.set_short_of(Overloaded::Memory, true);
        assert_eq!((pod.admit_connection(), pod.admit_request()), (Err(Overloaded::Memory), Err(Overloaded::Memory)));
        let bounds = || [Direction::Sent, Direction::Received].map(|direction| pod.buffer_bound(direction));
        assert_eq!(bounds(), [1 << 20, 8 << 20]);
        pod.set(Share { buffer_bytes: 32 << 20, ..SHARE });
        assert_eq!(bounds(), [2 << 20, 16 << 20], "a new share is small, too");
        node.set_short_of(Overloaded::Memory, false);
        assert_eq!((pod.admit_connection(), bounds()), (Ok(()), [16 << 20; 2]));
        assert_eq!(node.refused(Overloaded::Memory), 2);
    }

    #[test]
    fn without_descriptors_requests_are_answered_that_need_none() {
        let node = Overload::new(100);
        let pod = Account::new(SHARE, &node);
        node.set_short_of(Overloaded::Descriptors, true);
        assert_eq!((pod.admit_connection(), pod.admit_request()), (Err(Overloaded::Descriptors), Ok(())));
        assert!(node.is(Overloaded::Descriptors) && !node.is(Overloaded::Memory));
        node.set_short_of(Overloaded::Descriptors, false);
        assert_eq!(pod.admit_connection(), Ok(()));
    }
}
