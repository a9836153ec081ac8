//! Endpoints by chance, for Services that keep no client at one endpoint.

use std::net::SocketAddr;

use super::MAX_TRIES;
use crate::mesh::Endpoints;

/// Different endpoints in random order. The cost does not grow with the number of endpoints.
pub(super) fn pick(endpoints: &Endpoints) -> Vec<SocketAddr> {
    let count = endpoints.len();
    let wanted = count.min(MAX_TRIES);
    let mut picked: Vec<usize> = Vec::with_capacity(wanted);
    // Robert Floyd's sampling: each step adds one index that is not there yet.
    for last in count - wanted..count {
        let index = fastrand::usize(..=last);
        picked.push(if picked.contains(&index) { last } else { index });
    }
    fastrand::shuffle(&mut picked);
    let mut addresses = Vec::with_capacity(wanted);
    for endpoint in picked.into_iter().filter_map(|index| endpoints.get(index)) {
        // Two slices may list one address; to try it twice would help nobody.
        if !addresses.contains(&endpoint.address) {
            addresses.push(endpoint.address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: u16) -> Endpoints {
        (0..count).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect()
    }

    #[test]
    fn picks_are_different_endpoints() {
        for count in 0..8 {
            let endpoints = endpoints(count);
            for _ in 0..100 {
                let mut ports: Vec<u16> = pick(&endpoints).iter().map(SocketAddr::port).collect();
                assert_eq!(ports.len(), endpoints.len().min(MAX_TRIES));
                ports.sort_unstable();
                ports.dedup();
                assert_eq!(ports.len(), endpoints.len().min(MAX_TRIES));
            }
        }
    }

    #[test]
    fn every_endpoint_is_as_likely_to_be_first() {
        let endpoints = endpoints(5);
        let mut first = [0_u32; 5];
        for _ in 0..50_000 {
            first[usize::from(pick(&endpoints)[0].port())] += 1;
        }
        // 10,000 each; seven standard deviations are 626.
        assert!(first.iter().all(|count| count.abs_diff(10_000) < 626), "{first:?}");
    }

    #[test]
    fn an_address_of_two_slices_is_tried_once() {
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let endpoints: Endpoints = [address, address].into_iter().collect();
        assert_eq!(pick(&endpoints), [address]);
    }
}
