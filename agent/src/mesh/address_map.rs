//! A persistent map with addresses as its keys: a copy costs nothing, a change little, however large it is.
//!
//! IPv4 and IPv6 are kept apart, since an entry of the first then takes less than half the memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;
use imbl::{GenericHashMap, shared_ptr::DefaultSharedPtr};

/// A map from addresses.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AddressMap<V: Clone + Eq> {
    v4: GenericHashMap<Ipv4Addr, V, RandomState, DefaultSharedPtr>,
    v6: GenericHashMap<Ipv6Addr, V, RandomState, DefaultSharedPtr>,
}

impl<V: Clone + Eq> Default for AddressMap<V> {
    fn default() -> Self {
        Self { v4: GenericHashMap::default(), v6: GenericHashMap::default() }
    }
}

impl<V: Clone + Eq> AddressMap<V> {
    /// The value of an address.
    pub(super) fn get(&self, address: IpAddr) -> Option<&V> {
        match address {
            IpAddr::V4(address) => self.v4.get(&address),
            IpAddr::V6(address) => self.v6.get(&address),
        }
    }

    /// Sets the value of an address; the one that it had is returned.
    pub(super) fn insert(&mut self, address: IpAddr, value: V) -> Option<V> {
        match address {
            IpAddr::V4(address) => self.v4.insert(address, value),
            IpAddr::V6(address) => self.v6.insert(address, value),
        }
    }

    /// Takes an address out.
    pub(super) fn remove(&mut self, address: IpAddr) -> Option<V> {
        match address {
            IpAddr::V4(address) => self.v4.remove(&address),
            IpAddr::V6(address) => self.v6.remove(&address),
        }
    }

    /// All values, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.v4.values().chain(self.v6.values())
    }
}
