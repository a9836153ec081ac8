//! What a backendRef stands for now, and which of several gets a request or connection.
//!
//! Names are looked up when somebody asks, in the snapshot of the request: a Service that moves, comes or goes changes no
//! route table.

use std::sync::Arc;

use crate::{
    mesh::{AddressFamily, Service, ServiceKind, ServiceName, ServicePort, Snapshot},
    rules::gateway::{Fraction, ServiceRef},
};

/// A backendRef that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// There is no such Service.
    #[error("there is no Service {service} for a backendRef; make it, or give the backendRef weight 0")]
    NoService {
        /// The Service.
        service: ServiceName,
    },
    /// It is another name, and has no endpoints.
    #[error(
        "service {service} of a backendRef is of type ExternalName, which has no endpoints; name a Service that has"
    )]
    ExternalName {
        /// The Service.
        service: ServiceName,
    },
    /// It has no such port.
    #[error("service {service} has no TCP port {port} for a backendRef; name one that it has")]
    NoPort {
        /// The Service.
        service: ServiceName,
        /// The port.
        port: u16,
    },
    /// It has no ready endpoint.
    #[error("service {service} of a backendRef has no ready endpoint on port {port}: look at its EndpointSlices")]
    NoEndpoint {
        /// The Service.
        service: ServiceName,
        /// The port.
        port: u16,
    },
}

/// The Service port that a reference of a namespace's document stands for; of the family of the address that was dialled,
/// where it has both.
pub fn resolve(
    snapshot: &Snapshot,
    namespace: &Arc<str>,
    reference: &ServiceRef,
    family: AddressFamily,
) -> Result<Arc<ServicePort>, Unresolved> {
    let name = ServiceName::referred(namespace, reference.namespace.as_deref(), &reference.name);
    let number = reference.port.get();
    let Some(service) = snapshot.service(&name) else { return Err(Unresolved::NoService { service: name }) };
    match find(service, number, family) {
        Some(port) if !port.ready.is_empty() => Ok(Arc::clone(port)),
        Some(_) => Err(Unresolved::NoEndpoint { service: name, port: number }),
        None if service.kind == ServiceKind::ExternalName => Err(Unresolved::ExternalName { service: name }),
        // A headless Service is known by its endpoints alone, and with them come its ports.
        None if service.kind == ServiceKind::Headless && service.ports.is_empty() => {
            Err(Unresolved::NoEndpoint { service: name, port: number })
        }
        None => Err(Unresolved::NoPort { service: name, port: number }),
    }
}

/// One with endpoints before one without, then one of the family before one of the other.
fn find(service: &Service, number: u16, family: AddressFamily) -> Option<&Arc<ServicePort>> {
    let ports = service.ports.iter().filter(|port| port.port == number);
    ports.min_by_key(|port| (port.ready.is_empty(), port.family != family))
}

/// A random number from which several independent choices are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw(pub u64);

impl Draw {
    /// One of several, each as likely as its weight says; `None` where all weights are 0.
    pub fn weighted(self, weights: impl Iterator<Item = u32> + Clone) -> Option<usize> {
        let total: u64 = weights.clone().map(u64::from).sum();
        let mut at = self.below(total);
        weights.map(u64::from).position(|weight| {
            let is_here = at < weight;
            at = at.saturating_sub(weight);
            is_here
        })
    }

    /// Whether this is one of a share.
    pub fn is_in(self, share: Fraction) -> bool {
        self.below(share.denominator.get().into()) < share.numerator.into()
    }

    /// Another number for another choice: one step of SplitMix64 with this stream.
    #[must_use]
    pub fn other(self, stream: u64) -> Self {
        let mixed = self.0.wrapping_add(stream.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }

    /// Evenly from 0 up to a bound, which it is less than; 0 where the bound is 0.
    fn below(self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.0) * u128::from(bound)) >> 64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    /// `count` numbers, evenly over all there are.
    fn evenly(count: u64) -> impl Iterator<Item = Draw> {
        let at = move |turn: u64| (u128::from(turn) << 64).div_ceil(count.into());
        (0..count).map(move |turn| Draw(at(turn).try_into().unwrap()))
    }

    #[test]
    fn weights_of_zero_get_nothing_and_all_of_zero_are_told() {
        assert_eq!(Draw(0).weighted([0, 0].into_iter()), None);
        assert_eq!(Draw(0).weighted([].into_iter()), None);
        for draw in [0, 1, u64::MAX / 2, u64::MAX] {
            assert_eq!(Draw(draw).weighted([0, 1, 0].into_iter()), Some(1));
        }
    }

    #[test]
    fn a_share_is_kept_and_its_ends_are_none_and_all() {
        let share = |numerator| Fraction { numerator, denominator: NonZeroU32::new(1000).unwrap() };
        for numerator in [0, 1, 250, 999, 1000] {
            let taken = evenly(100_000).filter(|draw| draw.is_in(share(numerator))).count();
            assert_eq!(taken, numerator as usize * 100);
        }
        assert!(!Draw(0).is_in(share(0)) && Draw(u64::MAX).is_in(share(1000)));
    }

    #[test]
    fn other_numbers_are_independent_of_the_first() {
        let half = Fraction { numerator: 1, denominator: NonZeroU32::new(2).unwrap() };
        let both = evenly(10_000).filter(|draw| draw.is_in(half) && draw.other(0).is_in(half)).count();
        assert!((2_300..2_700).contains(&both), "{both}");
    }

    proptest! {
        #[test]
        fn each_backend_gets_its_weight(weights in prop::collection::vec(0..6u32, 1..5)) {
            let total: u32 = weights.iter().sum();
            let mut got = vec![0; weights.len()];
            for draw in evenly(u64::from(total) * 10) {
                got[draw.weighted(weights.iter().copied()).unwrap()] += 1;
            }
            prop_assert_eq!(got, weights.iter().map(|weight| weight * 10).collect::<Vec<_>>());
        }
    }
}
