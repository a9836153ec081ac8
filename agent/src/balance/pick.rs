//! One pick: first what is bound to one endpoint (a session, a hash, a client's address), then the algorithm.
//!
//! Its work is bounded whatever the number of endpoints: some draws, then a short way along the list. Where nearly all
//! endpoints are left out, the few others are remembered (`refuge.rs`); where all are, all are used,
//! unless a fallback takes over.

use std::{cell::OnceCell, hash::BuildHasher, net::SocketAddr, sync::Arc};

use foldhash::quality::FixedState;

use super::{
    Ask, Lease, NoEndpoint,
    endpoint::EndpointState,
    group::Group,
    health::Use,
    maglev, refuge,
    set::{self, Set},
    warmup, zone,
};
use crate::{
    mesh::{Locality, Reach},
    rules::destination_rule::{Algorithm, ConsistentHash, HashAlgorithm, SimpleAlgorithm, Warmup},
};

/// Draws before the list is gone along. With a tenth of the endpoints left out, as many in a row miss once in 10^8.
pub(super) const DRAWS: usize = 8;

/// How far the list is gone along: all of it in a small Service.
pub(super) const STEPS: usize = 64;

/// Places of a Maglev table that a hash tries, so that what an endpoint that is left out had is spread over all others.
const HASHES: u64 = 16;

/// A pick under way.
pub(super) struct Pick<'a> {
    ask: &'a Ask<'a>,
    group: &'a Arc<Group>,
    set: OnceCell<Arc<Set>>,
    prefers_zone: bool,
    /// Nothing is to come of it: no probe is taken, and nothing noted.
    only_looks: bool,
}

/// An endpoint, for who only looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct InSight {
    pub(super) address: SocketAddr,
    pub(super) locality: Locality,
    pub(super) standing: Use,
    pub(super) in_flight: u32,
    pub(super) wait: f64,
    /// What a new endpoint gets of its share.
    pub(super) part: f64,
}

/// An endpoint that may be picked.
struct Seen {
    address: SocketAddr,
    locality: Locality,
    state: Option<Arc<EndpointState>>,
    is_probe: bool,
}

impl<'a> Pick<'a> {
    pub(super) fn new(ask: &'a Ask<'a>, group: &'a Arc<Group>) -> Self {
        let hints_decide = ask.port.ready.len_within(Reach::Near) == 0;
        let prefers_zone = !hints_decide && zone::is_preferred(ask.load_balancer, ask.outliers);
        Self { ask, group, set: OnceCell::new(), prefers_zone, only_looks: false }
    }

    /// One that picks nothing.
    pub(super) fn looking(ask: &'a Ask<'a>, group: &'a Arc<Group>) -> Self {
        Self { only_looks: true, ..Self::new(ask, group) }
    }

    pub(super) fn make(&self) -> Result<Lease, NoEndpoint> {
        let bound = self.sticky().or_else(|| self.look_again()).or_else(|| self.hashed()).or_else(|| self.of_client());
        let seen = bound.or_else(|| self.balanced()).or_else(|| self.refuge()).or_else(|| self.tried_before());
        let seen = seen
            .or_else(|| if self.ask.has_fallback { None } else { self.any() })
            .ok_or_else(|| NoEndpoint { service: self.ask.port.service.clone(), port: self.ask.port.port })?;
        let state = seen.state.unwrap_or_else(|| self.group.endpoint(seen.address, self.ask.now));
        let outliers = self.ask.outliers.copied();
        Ok(Lease::new(state, Arc::clone(self.group), outliers, seen.locality, seen.is_probe))
    }

    /// The endpoint of the session, while it can be used.
    fn sticky(&self) -> Option<Seen> {
        let address = self.ask.sticky?;
        self.look(address, self.set().locality(address)?)
    }

    /// Where zones count, one that was left out may be in a zone to which nothing goes any more: a request finds out.
    fn look_again(&self) -> Option<Seen> {
        let (address, _) = if self.prefers_zone { self.group.left_out.any() } else { None }?;
        let locality = self.set().locality(address)?;
        self.look(address, locality).filter(|seen| seen.is_probe)
    }

    /// The endpoint that the request's hash finds; others that it finds, where that one cannot be used.
    fn hashed(&self) -> Option<Seen> {
        let hash = self.ask.hash?;
        let Some(Algorithm::ConsistentHash(consistent)) = self.algorithm() else { return None };
        let reach = self.reach(mixed(hash, u64::MAX));
        self.hashed_within(hash, consistent, reach)
            .or_else(|| self.hashed_within(hash, consistent, zone::other(reach)?))
    }

    fn hashed_within(&self, hash: u64, consistent: &ConsistentHash, reach: Reach) -> Option<Seen> {
        let count = self.ask.port.ready.len_within(reach);
        let places = match consistent.algorithm {
            Some(HashAlgorithm::Maglev { table_size: Some(size) }) => size,
            // Maglev's table has no virtual nodes; as many places are as fine.
            Some(HashAlgorithm::RingHash { minimum_ring_size: Some(size) }) => {
                maglev::places_for(count).max(maglev::prime_from(size))
            }
            _ => maglev::places_for(count),
        };
        let (table, is_older) = self.group.tables.of(self.set(), reach, places, self.ask.now);
        (0..HASHES).find_map(|number| {
            let (address, locality) = table.find(mixed(hash, number))?;
            let locality = if is_older { self.set().locality(address)? } else { locality };
            self.look(address, locality)
        })
    }

    /// `sessionAffinity: ClientIP`, where no document names an algorithm.
    fn of_client(&self) -> Option<Seen> {
        if self.ask.port.client_affinity.is_none() || self.algorithm().is_some() {
            return None;
        }
        let endpoints = self.set().of_client(self.ask.client);
        endpoints.iter().find_map(|address| self.look(*address, self.set().locality(*address)?))
    }

    /// One that the algorithm picks.
    fn balanced(&self) -> Option<Seen> {
        let reach = self.reach(fastrand::u64(..));
        self.balanced_within(reach).or_else(|| self.balanced_within(zone::other(reach)?))
    }

    fn balanced_within(&self, reach: Reach) -> Option<Seen> {
        let now = self.ask.now;
        match self.compared() {
            Compared::InTurn => self.next(reach),
            Compared::AtRandom => self.draw(reach, None),
            Compared::ByLoad => self.better_of_two(reach, |state| f64::from(state.in_flight())),
            Compared::ByWait => self.better_of_two(reach, |state| state.peak_ewma_cost(now)),
        }
    }

    pub(super) fn compared(&self) -> Compared {
        match self.algorithm() {
            Some(Algorithm::Simple(SimpleAlgorithm::RoundRobin)) => Compared::InTurn,
            // Whoever calls for PASSTHROUGH knows where to go; asked all the same, any endpoint is as good.
            Some(Algorithm::Simple(SimpleAlgorithm::Random | SimpleAlgorithm::Passthrough)) => Compared::AtRandom,
            Some(Algorithm::Simple(SimpleAlgorithm::LeastRequest)) => Compared::ByLoad,
            // Of requests without the key that would be hashed, nothing is alike.
            Some(Algorithm::ConsistentHash(_)) | None => Compared::ByWait,
        }
    }

    /// The endpoint to which the request is bound, and by what.
    pub(super) fn bound(&self) -> Option<(SocketAddr, Bound)> {
        let by = |seen: Seen, bound| (seen.address, bound);
        let session = self.sticky().map(|seen| by(seen, Bound::Session));
        let hashed = || self.hashed().map(|seen| by(seen, Bound::Hash));
        session.or_else(hashed).or_else(|| self.of_client().map(|seen| by(seen, Bound::Client)))
    }

    /// Each of some endpoints within reach, with what it would cost; nothing of those that cannot be used.
    pub(super) fn seen_within(&self, reach: Reach, most: usize) -> Vec<InSight> {
        let endpoints = &self.ask.port.ready;
        let all = (0..endpoints.len_within(reach).min(most)).filter_map(|index| endpoints.get_within(reach, index));
        all.map(|(endpoint, locality)| self.in_sight(endpoint.address, locality)).collect()
    }

    fn in_sight(&self, address: SocketAddr, locality: Locality) -> InSight {
        let (state, now) = (self.group.known(address), self.ask.now);
        let standing = state.as_ref().map_or(Use::Yes, |state| state.standing(now));
        // As it would be made, were the endpoint compared now.
        let state = state.unwrap_or_else(|| Arc::new(EndpointState::new(address, now)));
        let young = self.warmup().zip(self.set().young_since(address));
        InSight {
            address,
            locality,
            standing: if self.ask.excluded.contains(&address) { Use::No } else { standing },
            in_flight: state.in_flight(),
            wait: state.peak_ewma_cost(now),
            part: young.map_or(1.0, |(warmup, since)| warmup::share(warmup, since, now)),
        }
    }

    /// What of all picks is made in this node's zone, in parts of 2^32; `None` where zones do not count.
    pub(super) fn near_share(&self) -> Option<u64> {
        if self.prefers_zone { zone::near_share(&self.ask.port.ready, self.group.left_out.near()) } else { None }
    }

    /// The power of two choices: of two random ones the one that costs less.
    fn better_of_two(&self, reach: Reach, cost: impl Fn(&EndpointState) -> f64) -> Option<Seen> {
        let first = self.draw(reach, None)?;
        if first.is_probe || self.ask.port.ready.len_within(reach) == 1 {
            return Some(first);
        }
        let Some(second) = self.draw(reach, Some(first.address)) else { return Some(first) };
        let (first, second) = (self.with_state(first), self.with_state(second));
        let cost = |seen: &Seen| seen.state.as_deref().map_or(0.0, &cost);
        Some(if second.is_probe || cost(&second) < cost(&first) { second } else { first })
    }

    /// From the first comparison on, an endpoint's estimate sinks until it is tried.
    fn with_state(&self, seen: Seen) -> Seen {
        let state = seen.state.unwrap_or_else(|| self.group.endpoint(seen.address, self.ask.now));
        Seen { state: Some(state), ..seen }
    }

    /// The next in turn that can be used.
    fn next(&self, reach: Reach) -> Option<Seen> {
        let endpoints = &self.ask.port.ready;
        let count = endpoints.len_within(reach);
        (0..count.min(STEPS))
            .find_map(|_| {
                let index = self.group.next_turn(reach) % count;
                let (endpoint, locality) = endpoints.get_within(reach, index)?;
                self.look(endpoint.address, locality).filter(|seen| self.is_its_share(seen))
            })
            .or_else(|| self.draw(reach, None))
    }

    /// A random one that can be used, and is not a certain one.
    fn draw(&self, reach: Reach, but: Option<SocketAddr>) -> Option<Seen> {
        let endpoints = &self.ask.port.ready;
        let count = endpoints.len_within(reach);
        let mut draws = (0..if count == 0 { 0 } else { DRAWS }).filter_map(|_| {
            let (endpoint, locality) = endpoints.get_within(reach, fastrand::usize(..count))?;
            Some((endpoint.address, locality))
        });
        let look = |(address, locality)| if Some(address) == but { None } else { self.look(address, locality) };
        let drawn = draws.find_map(|found| look(found).filter(|seen| self.is_its_share(seen)));
        drawn.or_else(|| set::from_random_place(endpoints, reach, STEPS).find_map(look))
    }

    /// One of the few that can be used, where most of many are left out.
    fn refuge(&self) -> Option<Seen> {
        if self.ask.port.ready.len() <= STEPS {
            return None;
        }
        // While another thread looks at all, this one takes any.
        let mut refuge = self.group.refuge.try_lock()?;
        if !refuge.is_fresh(self.set(), self.ask.now) {
            let mut found = Vec::new();
            for (address, locality) in self.set().all_from_random_place() {
                // Others may use what this request tried: it is told apart below.
                match self.look_whether_tried_or_not(address, locality) {
                    // The look is not over, and the next one begins elsewhere.
                    Some(seen) if seen.is_probe => return Some(seen),
                    Some(_) => found.push((address, locality)),
                    None => {}
                }
                if found.len() == refuge::ENOUGH {
                    break;
                }
            }
            refuge.remember(self.set(), self.ask.now, found);
        }
        refuge.found().find_map(|(address, locality)| self.look(address, locality))
    }

    /// One that this request tried before: better than one that is left out.
    fn tried_before(&self) -> Option<Seen> {
        let excluded = self.ask.excluded;
        let start = if excluded.is_empty() { 0 } else { fastrand::usize(..excluded.len()) };
        let mut from = excluded.iter().skip(start).chain(excluded.iter().take(start));
        from.find_map(|address| self.look_whether_tried_or_not(*address, self.set().locality(*address)?))
    }

    /// Any, as all are left out: one that this request has not tried yet, if there is one nearby.
    fn any(&self) -> Option<Seen> {
        let endpoints = &self.ask.port.ready;
        let mut all = set::from_random_place(endpoints, Reach::All, STEPS).peekable();
        let first = all.peek().copied();
        let chosen = all.find(|(address, _)| !self.ask.excluded.contains(address)).or(first);
        let (address, locality) = chosen?;
        Some(Seen { address, locality, state: self.group.known(address), is_probe: false })
    }

    fn look(&self, address: SocketAddr, locality: Locality) -> Option<Seen> {
        if self.ask.excluded.contains(&address) {
            return None;
        }
        self.look_whether_tried_or_not(address, locality)
    }

    /// The endpoint if it can be used. A probe has to be picked: nobody else gets one before its outcome is known.
    fn look_whether_tried_or_not(&self, address: SocketAddr, locality: Locality) -> Option<Seen> {
        let state = self.group.known(address);
        let standing = state.as_ref().map_or(Use::Yes, |state| match self.only_looks {
            true => state.standing(self.ask.now),
            false => state.may_use(self.ask.now),
        });
        if self.prefers_zone && !self.only_looks {
            self.group.left_out.note(address, locality, standing != Use::No);
        }
        let is_probe = match standing {
            Use::Yes => false,
            Use::Probe => true,
            Use::No => return None,
        };
        Some(Seen { address, locality, state, is_probe })
    }

    /// Whether a new endpoint gets this one of the requests that it would get later.
    fn is_its_share(&self, seen: &Seen) -> bool {
        let Some(warmup) = self.warmup() else { return true };
        let Some(since) = self.set().young_since(seen.address) else { return true };
        seen.is_probe || fastrand::f64() < warmup::share(warmup, since, self.ask.now)
    }

    fn reach(&self, draw: u64) -> Reach {
        match self.prefers_zone {
            true => zone::choose(&self.ask.port.ready, self.group.left_out.near(), draw),
            false => Reach::All,
        }
    }

    fn algorithm(&self) -> Option<&Algorithm> {
        self.ask.load_balancer.and_then(|balancer| balancer.algorithm.as_ref())
    }

    fn warmup(&self) -> Option<&Warmup> {
        self.ask.load_balancer.and_then(|balancer| balancer.warmup.as_ref())
    }

    fn set(&self) -> &Arc<Set> {
        self.set.get_or_init(|| {
            let young_for = self.warmup().map(|warmup| warmup.duration);
            self.group.sets.lock().of(self.ask.port, self.ask.now, young_for, &self.group.forgotten.of_sets)
        })
    }
}

/// What binds a request to one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Its session.
    Session,
    /// Its hash.
    Hash,
    /// Its client's address.
    Client,
}

/// What an endpoint's requests are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// By nothing: one after the other.
    InTurn,
    /// By nothing: any.
    AtRandom,
    /// Two, by the requests under way.
    ByLoad,
    /// Two, by the wait that is expected.
    ByWait,
}

/// Different hashes of one hash, the same on all nodes.
fn mixed(hash: u64, number: u64) -> u64 {
    FixedState::with_seed(number).hash_one(hash)
}
