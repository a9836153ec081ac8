//! `sessionAffinity: ClientIP`: the endpoint that a client's address decides.
//!
//! By rendezvous hashing (highest random weight): each endpoint has a weight that follows from the client's address and
//! its own, and the greatest wins. No table is kept, so nothing runs full or is lost in a restart, and all nodes agree.
//! When an endpoint goes, only its clients move; when one comes, it takes its share of clients from the others, whereas
//! Kubernetes would leave them where they are until `timeoutSeconds` of silence. Each pick looks at all endpoints.

use std::{
    cmp::Reverse,
    hash::{BuildHasher, Hash},
    net::{IpAddr, SocketAddr},
};

use foldhash::quality::FixedState;

use super::MAX_TRIES;
use crate::mesh::Endpoints;

/// The endpoints with the greatest weights for a client, best first.
pub(super) fn pick(endpoints: &Endpoints, client: IpAddr) -> Vec<SocketAddr> {
    // The same on every node and in every run.
    let hasher = FixedState::with_seed(0);
    let mut best: Vec<(Reverse<u64>, SocketAddr)> = Vec::with_capacity(MAX_TRIES + 1);
    for endpoint in endpoints.iter() {
        let entry = (Reverse(weight(&hasher, client, endpoint.address)), endpoint.address);
        if best.len() == MAX_TRIES && best.last().is_some_and(|worst| *worst <= entry) {
            continue;
        }
        if let Err(place) = best.binary_search(&entry) {
            best.insert(place, entry);
            best.truncate(MAX_TRIES);
        }
    }
    best.into_iter().map(|(_, address)| address).collect()
}

fn weight(hasher: &FixedState, client: IpAddr, endpoint: SocketAddr) -> u64 {
    // As one type, so that both families are hashed alike; the port does not take part, since all are one Service's.
    hasher.hash_one(Both { client, endpoint: endpoint.ip() })
}

#[derive(Hash)]
struct Both {
    client: IpAddr,
    endpoint: IpAddr,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn endpoints(hosts: impl IntoIterator<Item = u8>) -> Endpoints {
        hosts.into_iter().map(|host| SocketAddr::from(([10, 0, 0, host], 80))).collect()
    }

    fn client(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([10, 1, high, low])
    }

    #[test]
    fn a_client_stays_while_its_endpoint_is_there() {
        let (all, without) = (endpoints(0..10), endpoints((0..10).filter(|host| *host != 3)));
        let gone = SocketAddr::from(([10, 0, 0, 3], 80));
        for number in 0..1_000 {
            let before = pick(&all, client(number));
            assert_eq!(before, pick(&all, client(number)));
            let kept: Vec<_> = before.iter().filter(|address| **address != gone).collect();
            let after = pick(&without, client(number));
            assert_eq!(kept, after.iter().take(kept.len()).collect::<Vec<_>>(), "the others keep their order");
        }
    }

    #[test]
    fn clients_spread_evenly() {
        let endpoints = endpoints(0..5);
        let mut counts: HashMap<SocketAddr, u32> = HashMap::new();
        for number in 0..50_000 {
            *counts.entry(pick(&endpoints, client(number))[0]).or_default() += 1;
        }
        // 10,000 each; seven standard deviations are 626.
        assert!(counts.len() == 5 && counts.values().all(|count| count.abs_diff(10_000) < 626), "{counts:?}");
    }

    #[test]
    fn candidates_are_different_addresses() {
        for count in 0..6 {
            let mut picked = pick(&endpoints((0..count).chain(0..count)), client(1));
            assert_eq!(picked.len(), usize::from(count).min(MAX_TRIES));
            picked.sort();
            picked.dedup();
            assert_eq!(picked.len(), usize::from(count).min(MAX_TRIES));
        }
    }
}
