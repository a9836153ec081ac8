//! What a backendRef stands for now, which of several gets a request or connection, and who takes over from it.
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

/// Who gets what is for a Service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The Service port that gets it.
    pub port: Arc<ServicePort>,
    /// Whether that is the fallback of the one that was meant, which has no endpoint.
    pub is_fallback: bool,
    /// Who takes over where nobody of it can be reached. Nobody from a fallback: they do not chain.
    pub fallback: Option<Arc<ServicePort>>,
}

impl Resolved {
    /// The Service port itself, or its fallback where it has no endpoint and that one has.
    pub fn of(snapshot: &Snapshot, port: &Arc<ServicePort>) -> Self {
        match fallback(snapshot, &port.service, port.port, port.family) {
            Some(fallback) if port.ready.is_empty() => Self::instead(fallback),
            fallback => Self { port: Arc::clone(port), is_fallback: false, fallback },
        }
    }

    fn instead(port: Arc<ServicePort>) -> Self {
        Self { port, is_fallback: true, fallback: None }
    }
}

/// The Service port that takes over from another. A Fallback that leads nowhere, or to nobody who is ready, is as good as none.
fn fallback(snapshot: &Snapshot, service: &ServiceName, port: u16, family: AddressFamily) -> Option<Arc<ServicePort>> {
    let to = snapshot.fallback(service, port)?;
    with_endpoints(snapshot, &to.service, to.port.get(), family).ok()
}

/// Who gets what is for the Service port that a reference of a namespace's document stands for; of the family of the address
/// that was dialled, where it has both.
pub fn resolve(
    snapshot: &Snapshot,
    namespace: &Arc<str>,
    reference: &ServiceRef,
    family: AddressFamily,
) -> Result<Resolved, Unresolved> {
    match resolve_itself(snapshot, namespace, reference, family) {
        Ok(port) => Ok(Resolved::of(snapshot, &port)),
        Err(Unresolved::NoEndpoint { service, port }) => match fallback(snapshot, &service, port, family) {
            Some(fallback) => Ok(Resolved::instead(fallback)),
            None => Err(Unresolved::NoEndpoint { service, port }),
        },
        Err(unresolved) => Err(unresolved),
    }
}

/// The Service port itself, which has endpoints: for copies, from whose loss nobody takes over.
pub fn resolve_itself(
    snapshot: &Snapshot,
    namespace: &Arc<str>,
    reference: &ServiceRef,
    family: AddressFamily,
) -> Result<Arc<ServicePort>, Unresolved> {
    let name = ServiceName::referred(namespace, reference.namespace.as_deref(), &reference.name);
    with_endpoints(snapshot, &name, reference.port.get(), family)
}

fn with_endpoints(
    snapshot: &Snapshot,
    name: &ServiceName,
    number: u16,
    family: AddressFamily,
) -> Result<Arc<ServicePort>, Unresolved> {
    let name = name.clone();
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

    /// The number by which [`Self::weighted`] chooses this one; `None` where none does, since it has no weight.
    pub fn of_turn(weights: &[u32], turn: usize) -> Option<Self> {
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        if *weights.get(turn)? == 0 {
            return None;
        }
        let before: u128 = weights.iter().take(turn).map(|weight| u128::from(*weight)).sum();
        // The first number that is not below what comes before.
        u64::try_from((before << 64).div_ceil(total)).ok().map(Self)
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
mod tests;
