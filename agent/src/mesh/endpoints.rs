//! The endpoints of a Service port: one group for each EndpointSlice, so that a change of one costs what it is large.
//!
//! Which endpoints of the groups are in use (the ready ones, those of this zone, ...) is one [`Choice`] for the port,
//! made by the compiler. Where a group is shared by several ports and snapshots, its addresses are in memory once.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// One address behind a Service port. What runs there is looked up in the snapshot, for the one that was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and target port.
    pub address: SocketAddr,
}

/// Which endpoints of a Service port are in use on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// All that are ready.
    #[default]
    Ready,
    /// None is ready: those that are being stopped, and still serve.
    Terminating,
    /// The ready ones that hints give to this node.
    ForNode,
    /// The ready ones that hints give to this node's zone.
    ForZone,
    /// The ready ones on this node, because the Service says so.
    Local,
    /// Those on this node that are being stopped, since none there is ready.
    LocalTerminating,
}

impl Choice {
    pub(super) const ALL: [Self; 6] =
        [Self::Ready, Self::Terminating, Self::ForNode, Self::ForZone, Self::Local, Self::LocalTerminating];

    /// As `/config` names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Terminating => "terminating, since none is ready",
            Self::ForNode => "ready, for this node",
            Self::ForZone => "ready, for this zone",
            Self::Local => "ready, on this node",
            Self::LocalTerminating => "terminating, on this node, since none there is ready",
        }
    }
}

/// Addresses of one family, sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    V4(Arc<[Ipv4Addr]>),
    V6(Arc<[Ipv6Addr]>),
}

impl Addresses {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::V4(addresses) => addresses.len(),
            Self::V6(addresses) => addresses.len(),
        }
    }

    fn get(&self, index: usize) -> Option<IpAddr> {
        match self {
            Self::V4(addresses) => addresses.get(index).copied().map(IpAddr::V4),
            Self::V6(addresses) => addresses.get(index).copied().map(IpAddr::V6),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(addresses), IpAddr::V4(address)) => addresses.binary_search(&address).is_ok(),
            (Self::V6(addresses), IpAddr::V6(address)) => addresses.binary_search(&address).is_ok(),
            (Self::V4(_), IpAddr::V6(_)) | (Self::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The endpoints of one EndpointSlice, as this node sees them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Every endpoint, ready or not.
    pub(super) all: Addresses,
    /// Those of each [`Choice`], in the order of [`Choice::ALL`].
    pub(super) chosen: [Addresses; Choice::ALL.len()],
}

impl Group {
    pub(super) fn of(&self, choice: Choice) -> &Addresses {
        &self.chosen[choice as usize]
    }
}

/// A group with the number that the Service port has in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    /// How many endpoints are in use up to the end of this chunk.
    end: usize,
    port: u16,
    group: Arc<Group>,
}

/// The endpoints of one Service port.
///
/// An address that two slices of the Service list counts twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    choice: Choice,
    chunks: Vec<Chunk>,
}

impl Endpoints {
    pub(super) fn new(choice: Choice, groups: impl Iterator<Item = (u16, Arc<Group>)>) -> Self {
        let mut end = 0;
        let chunk = |(port, group): (u16, Arc<Group>)| {
            end += group.of(choice).len();
            Chunk { end, port, group }
        };
        Self { choice, chunks: groups.map(chunk).collect() }
    }

    /// Endpoints that no EndpointSlice lists, all of them in use.
    pub(super) fn of_addresses(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let group = |address: SocketAddr| {
            let all = match address.ip() {
                IpAddr::V4(address) => Addresses::V4(Arc::new([address])),
                IpAddr::V6(address) => Addresses::V6(Arc::new([address])),
            };
            let chosen = std::array::from_fn(|_| all.clone());
            (address.port(), Arc::new(Group { chosen, all }))
        };
        Self::new(Choice::Ready, addresses.into_iter().map(group))
    }

    /// Which endpoints are in use.
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// How many are in use.
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.end)
    }

    /// Whether there is none to connect to.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of those in use. The cost does not grow with their number.
    pub fn get(&self, index: usize) -> Option<Endpoint> {
        let chunk = self.chunks.get(self.chunks.partition_point(|chunk| chunk.end <= index))?;
        let addresses = chunk.group.of(self.choice);
        let address = addresses.get(index + addresses.len() - chunk.end)?;
        Some(Endpoint { address: SocketAddr::new(address, chunk.port) })
    }

    /// All in use: ordered by slice, then by address.
    pub fn iter(&self) -> impl Iterator<Item = Endpoint> {
        self.chunks.iter().flat_map(|chunk| {
            let addresses = chunk.group.of(self.choice);
            let endpoint = |address| Endpoint { address: SocketAddr::new(address, chunk.port) };
            (0..addresses.len()).filter_map(|index| addresses.get(index)).map(endpoint)
        })
    }

    /// Where connections to the Service port go on this address, whether it is in use or not: another node may choose
    /// endpoints that this one does not.
    pub fn on(&self, address: IpAddr) -> Option<SocketAddr> {
        let chunk = self.chunks.iter().find(|chunk| chunk.group.all.contains(address))?;
        Some(SocketAddr::new(address, chunk.port))
    }
}

#[cfg(test)]
impl FromIterator<SocketAddr> for Endpoints {
    /// Ready endpoints for tests, one slice each.
    fn from_iter<I: IntoIterator<Item = SocketAddr>>(addresses: I) -> Self {
        Self::of_addresses(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(addresses: &[u8], ready: &[u8]) -> Arc<Group> {
        let of = |hosts: &[u8]| Addresses::V4(hosts.iter().map(|host| Ipv4Addr::new(10, 0, 0, *host)).collect());
        Arc::new(Group { all: of(addresses), chosen: std::array::from_fn(|_| of(ready)) })
    }

    #[test]
    fn every_index_is_one_endpoint_across_empty_groups() {
        let groups =
            [(80, group(&[9], &[])), (80, group(&[1, 2], &[1, 2])), (81, group(&[], &[])), (82, group(&[3], &[3]))];
        let endpoints = Endpoints::new(Choice::Ready, groups.into_iter());
        let expected = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:82"];
        let text = |endpoint: Endpoint| endpoint.address.to_string();
        assert_eq!(endpoints.iter().map(text).collect::<Vec<_>>(), expected);
        assert_eq!(
            (0..endpoints.len()).filter_map(|index| endpoints.get(index)).map(text).collect::<Vec<_>>(),
            expected
        );
        assert_eq!(endpoints.get(3), None);
        assert_eq!(endpoints.on("10.0.0.9".parse().unwrap_or([0, 0, 0, 0].into())), Some(([10, 0, 0, 9], 80).into()));
    }
}
