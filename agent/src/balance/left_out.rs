//! Which endpoints were last seen left out: how many of a zone are, without looking at all of them.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;

use crate::mesh::Locality;

/// Endpoints above this number are not noted, so that a zone with more of them out keeps more traffic than it should.
const MOST: usize = 1024;

/// Endpoints that could not be used when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// How many there are: nearly always none, which costs no lock.
    count: AtomicUsize,
    noted: Mutex<Vec<(SocketAddr, Locality)>>,
}

impl LeftOut {
    /// Notes how an endpoint was seen.
    pub(super) fn note(&self, address: SocketAddr, locality: Locality, usable: bool) {
        if usable && self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut noted = self.noted.lock();
        match noted.iter().position(|(known, _)| *known == address) {
            Some(index) if usable => drop(noted.swap_remove(index)),
            None if !usable && noted.len() < MOST => noted.push((address, locality)),
            Some(_) | None => {}
        }
        self.count.store(noted.len(), Ordering::Relaxed);
    }

    /// Any of them, to be looked at again: where nothing goes to a zone any more, nobody else would.
    pub(super) fn any(&self) -> Option<(SocketAddr, Locality)> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let noted = self.noted.lock();
        if noted.is_empty() { None } else { noted.get(fastrand::usize(..noted.len())).copied() }
    }

    /// How many of them are in this node's zone.
    pub(super) fn near(&self) -> usize {
        if self.count.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.noted.lock().iter().filter(|(_, locality)| *locality == Locality::SameZone).count()
    }

    /// Forgets those that are gone.
    pub(super) fn keep_only(&self, is_there: impl Fn(SocketAddr) -> bool) {
        let mut noted = self.noted.lock();
        noted.retain(|(address, _)| is_there(*address));
        self.count.store(noted.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_once_until_it_is_seen_usable_or_gone() {
        let left_out = LeftOut::default();
        let address = |host| SocketAddr::from(([10, 0, 0, host], 80));
        assert_eq!((left_out.any(), left_out.near()), (None, 0));
        for _ in 0..2 {
            left_out.note(address(1), Locality::SameZone, false);
            left_out.note(address(2), Locality::OtherZone, false);
            left_out.note(address(3), Locality::SameZone, false);
            left_out.note(address(4), Locality::SameZone, true);
        }
        assert_eq!(left_out.near(), 2);
        left_out.note(address(1), Locality::SameZone, true);
        assert_eq!(left_out.near(), 1);
        left_out.keep_only(|known| known == address(2));
        assert_eq!((left_out.any(), left_out.near()), (Some((address(2), Locality::OtherZone)), 0));
    }

    #[test]
    fn no_more_than_the_bound_are_noted() {
        let left_out = LeftOut::default();
        for port in 0..2_000 {
            left_out.note(([10, 0, 0, 1], port).into(), Locality::SameZone, false);
        }
        assert_eq!(left_out.near(), MOST);
    }
}
