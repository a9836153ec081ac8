//! Maglev's table: what is alike finds one endpoint, and a change of the endpoints moves little else.
//!
//! Each endpoint has an order of its own of the table's places, made of two hashes of its address. The endpoints take
//! turns, and each takes the first place of its order that is still free, until none is (Eisenbud and others, "Maglev: A
//! Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4). All nodes make the same table.

use std::{hash::BuildHasher, net::SocketAddr};

use foldhash::quality::FixedState;

use crate::mesh::Locality;

/// Places where nobody says how many: the larger of the paper's two sizes, and Envoy's.
pub const DEFAULT_PLACES: u32 = 65_537;

/// Sizes for more endpoints than the default has room for. All primes, as every size must be.
const LARGER: [u32; 3] = [262_147, 1_048_583, 4_194_319];

/// Places for each endpoint at least, where the mesh chooses the size. The shares are then still within a few percent.
const PLACES_EACH: usize = 8;

/// Which endpoint has which place.
#[derive(Debug)]
pub struct Table {
    endpoints: Vec<(SocketAddr, Locality)>,
    /// Indexes of `endpoints`.
    places: Vec<u32>,
}

impl Table {
    /// A table with that many places, a prime. With more endpoints than places, some have none.
    pub fn build(mut endpoints: Vec<(SocketAddr, Locality)>, places: u32) -> Self {
        // In one order on all nodes, however their slices are cut.
        endpoints.sort_unstable_by_key(|(address, _)| *address);
        endpoints.dedup_by_key(|(address, _)| *address);
        let places = fill(&endpoints, u64::from(places.max(2)));
        Self { endpoints, places }
    }

    /// The endpoint that a hash finds.
    pub fn find(&self, hash: u64) -> Option<(SocketAddr, Locality)> {
        let place = usize::try_from(hash % u64::try_from(self.places.len()).ok()?.max(1)).ok()?;
        self.endpoints.get(usize::try_from(*self.places.get(place)?).ok()?).copied()
    }

    /// How much work it was to build, in steps.
    pub fn work(&self) -> usize {
        self.places.len() + self.endpoints.len()
    }
}

/// The size for so many endpoints, where nobody asks for one. It follows from their number alone, so that all nodes have
/// the same.
pub fn places_for(endpoints: usize) -> u32 {
    let has_room = |places: &u32| usize::try_from(*places).is_ok_and(|places| places >= endpoints * PLACES_EACH);
    [DEFAULT_PLACES].into_iter().chain(LARGER).find(has_room).unwrap_or(LARGER[LARGER.len() - 1])
}

/// The first prime that is not below a number.
pub fn prime_from(number: u32) -> u32 {
    (number.max(2)..u32::MAX).find(|candidate| is_prime(*candidate)).unwrap_or(DEFAULT_PLACES)
}

fn is_prime(number: u32) -> bool {
    (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

fn fill(endpoints: &[(SocketAddr, Locality)], places: u64) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    let Ok(length) = usize::try_from(places) else { return Vec::new() };
    if endpoints.is_empty() {
        return Vec::new();
    }
    let mut table = vec![FREE; length];
    let mut orders: Vec<Order> = endpoints.iter().map(|(address, _)| Order::of(*address, places)).collect();
    let mut left = length;
    while left > 0 {
        for (order, index) in orders.iter_mut().zip(0_u32..).take(left) {
            // A prime number of places: every order goes through all of them, so a free one is found.
            while let Some(place) = order.next().and_then(|place| table.get_mut(place)) {
                if *place == FREE {
                    *place = index;
                    break;
                }
            }
            left -= 1;
        }
    }
    table
}

/// An endpoint's order of the places.
struct Order {
    next: u64,
    step: u64,
    places: u64,
}

impl Order {
    fn of(address: SocketAddr, places: u64) -> Self {
        let hash = |seed| FixedState::with_seed(seed).hash_one(address);
        Self { next: hash(1) % places, step: hash(2) % (places - 1) + 1, places }
    }

    fn next(&mut self) -> Option<usize> {
        let place = usize::try_from(self.next).ok();
        self.next = (self.next + self.step) % self.places;
        place
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn endpoints(hosts: impl IntoIterator<Item = u32>) -> Vec<(SocketAddr, Locality)> {
        let address = |host: u32| SocketAddr::from((std::net::Ipv4Addr::from(0x0a00_0000 + host), 80));
        hosts.into_iter().map(|host| (address(host), Locality::Unknown)).collect()
    }

    fn shares(table: &Table) -> HashMap<SocketAddr, usize> {
        let mut shares = HashMap::new();
        for place in 0..table.places.len() {
            *shares.entry(table.find(place as u64).map_or(([0; 4], 0).into(), |(address, _)| address)).or_default() +=
                1;
        }
        shares
    }

    #[test]
    fn sizes_are_primes_with_room() {
        assert!([DEFAULT_PLACES].into_iter().chain(LARGER).all(is_prime));
        assert_eq!(
            [1, 8_192, 8_193, 100_000, 10_000_000].map(places_for),
            [65_537, 65_537, 262_147, 1_048_583, 4_194_319]
        );
        assert_eq!([0, 1, 2, 3, 4, 65_536, 8 << 20].map(prime_from), [2, 2, 2, 3, 5, 65_537, 8_388_617]);
    }

    #[test]
    fn no_endpoint_no_place() {
        assert_eq!(Table::build(Vec::new(), 7).find(1), None);
        assert_eq!(shares(&Table::build(endpoints(0..20), 7)).len(), 7, "more endpoints than places");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn shares_differ_by_a_percent(hosts in prop::collection::btree_set(0_u32..100_000, 1..60)) {
            let count = hosts.len();
            let table = Table::build(endpoints(hosts), DEFAULT_PLACES);
            let shares = shares(&table);
            prop_assert_eq!(shares.len(), count);
            let fair = table.places.len() / count;
            // Turns are taken by all: the last round alone makes a difference.
            prop_assert!(shares.values().all(|share| share.abs_diff(fair) <= 1 + fair / 100), "{:?}", shares);
        }

        #[test]
        fn a_table_does_not_depend_on_the_order_of_endpoints(
            hosts in Just((0_u32..40).collect::<Vec<_>>()).prop_shuffle(), twice in 0_u32..40,
        ) {
            let (sorted, shuffled) = (endpoints(0..40), endpoints(hosts.into_iter().chain([twice])));
            prop_assert_eq!(Table::build(sorted, 4_099).places, Table::build(shuffled, 4_099).places);
        }

        #[test]
        fn a_gone_endpoint_moves_its_own_places_and_few_others(
            count in 2_u32..100, gone in any::<prop::sample::Index>(),
        ) {
            let gone = u32::try_from(gone.index(count as usize)).unwrap_or(0);
            let before = Table::build(endpoints(0..count), DEFAULT_PLACES);
            let after = Table::build(endpoints((0..count).filter(|host| *host != gone)), DEFAULT_PLACES);
            let lost = endpoints([gone])[0].0;
            let places = 0..u64::from(DEFAULT_PLACES);
            let owner = |table: &Table, place| table.find(place).map(|(address, _)| address);
            prop_assert!(places.clone().all(|place| owner(&after, place) != Some(lost)));
            let stays = places.filter(|place| owner(&before, *place) != Some(lost));
            let moved = stays.filter(|place| owner(&before, *place) != owner(&after, *place)).count();
            // The paper measures about as much; a modulo would move nearly all.
            prop_assert!(moved <= before.places.len() / 20, "{} of {} moved", moved, before.places.len());
        }
    }
}
