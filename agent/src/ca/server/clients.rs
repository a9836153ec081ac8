//! How many connections each client has, so that one client's are not all that there may be.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use parking_lot::Mutex;

/// One address may have this part of all connections: many agents may be behind one address, and no address is alone.
const PART: usize = 10;

/// And at least this many, however few there may be in all.
const LEAST: usize = 64;

/// The connections that are open, by address: no more addresses than connections.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    most: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection of a client, until this is dropped.
#[derive(Debug)]
pub(super) struct OfClient {
    address: IpAddr,
    clients: Clients,
}

impl Clients {
    /// Of a server that has so many connections at most.
    pub(super) fn new(connections: usize) -> Self {
        Self { most: (connections / PART).max(LEAST), open: Arc::default() }
    }

    /// One more; `None` if that is too many.
    pub(super) fn enter(&self, address: IpAddr) -> Option<OfClient> {
        let address = address.to_canonical();
        let mut open = self.open.lock();
        let count = open.entry(address).or_default();
        (*count < self.most).then(|| {
            *count += 1;
            OfClient { address, clients: self.clone() }
        })
    }
}

impl Drop for OfClient {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.clients.open.lock().entry(self.address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn one_address_has_a_tenth_and_others_have_theirs() {
        let (clients, [one, other]) = (Clients::new(1_000), [1, 2].map(|last| IpAddr::from([192, 0, 2, last])));
        let mut held: Vec<_> = (0..100).filter_map(|_| clients.enter(one)).collect();
        assert_eq!(held.len(), 100);
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped());
        assert!(clients.enter(one).is_none() && clients.enter(mapped).is_none() && clients.enter(other).is_some());
        held.pop();
        assert!(clients.enter(one).is_some());
        held.clear();
        assert!(clients.open.lock().is_empty(), "nothing is kept of those that are gone");
        assert_eq!((Clients::new(10).most, Clients::new(10_000).most), (64, 1_000));
    }
}
