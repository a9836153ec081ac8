//! The endpoints of a Service port: one group for each EndpointSlice, so that a change of one costs what it is large.
//!
//! Which endpoints of the groups are in use (the ready ones, those of this zone, ...) is one [`Choice`] for the port,
//! made by the compiler. Where a group is shared by several ports and snapshots, its addresses are in memory once.

use std::{
    collections::HashSet,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

/// Where an endpoint is, seen from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Locality {
    /// In this node's zone.
    SameZone,
    /// In another zone.
    OtherZone,
    /// Nobody says in which zone the endpoint is, or this node.
    Unknown,
}

/// The part of the endpoints in use that a pick is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// All of them.
    All,
    /// Those in this node's zone.
    Near,
    /// The others.
    Far,
}

impl Reach {
    const ALL: [Self; 3] = [Self::All, Self::Near, Self::Far];
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
        #[cfg(test)]
        reads::count();
        match self {
            Self::V4(addresses) => addresses.get(index).copied().map(IpAddr::V4),
            Self::V6(addresses) => addresses.get(index).copied().map(IpAddr::V6),
        }
    }

    /// Of the same family, without an address.
    fn none(&self) -> Self {
        match self {
            Self::V4(_) => Self::V4(Arc::new([])),
            Self::V6(_) => Self::V6(Arc::new([])),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        #[cfg(test)]
        reads::count();
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
    /// The ready ones in this node's zone.
    pub(super) near: Addresses,
    /// The other ready ones.
    pub(super) far: Addresses,
    /// Those of which it is not known whether they are in this node's zone, ready or not.
    pub(super) unplaced: Addresses,
}

impl Group {
    pub(super) fn of(&self, choice: Choice) -> &Addresses {
        &self.chosen[choice as usize]
    }

    /// Places count for the ready ones only: every other choice is about places already, or a last resort.
    fn within(&self, choice: Choice, reach: Reach) -> Option<&Addresses> {
        match reach {
            Reach::All => Some(self.of(choice)),
            Reach::Near | Reach::Far if choice != Choice::Ready => None,
            Reach::Near => Some(&self.near),
            Reach::Far => Some(&self.far),
        }
    }

    fn locality(&self, address: IpAddr) -> Locality {
        match () {
            () if self.near.contains(address) => Locality::SameZone,
            () if self.unplaced.contains(address) => Locality::Unknown,
            () if self.far.contains(address) => Locality::OtherZone,
            () => Locality::Unknown,
        }
    }
}

/// A group with the number that the Service port has in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chunk {
    /// How many endpoints are in use up to the end of this chunk, for each [`Reach`].
    ends: [usize; Reach::ALL.len()],
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
        let mut ends = [0; Reach::ALL.len()];
        let chunk = |(port, group): (u16, Arc<Group>)| {
            for reach in Reach::ALL {
                ends[reach as usize] += group.within(choice, reach).map_or(0, Addresses::len);
            }
            Chunk { ends, port, group }
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
            let group = Group { chosen, near: all.none(), far: all.clone(), unplaced: all.clone(), all };
            (address.port(), Arc::new(group))
        };
        Self::new(Choice::Ready, addresses.into_iter().map(group))
    }

    /// Which endpoints are in use.
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// How many are in use.
    pub fn len(&self) -> usize {
        self.len_within(Reach::All)
    }

    /// How many are in use within reach.
    pub fn len_within(&self, reach: Reach) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.ends[reach as usize])
    }

    /// Whether there is none to connect to.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of those in use. The cost does not grow with their number.
    pub fn get(&self, index: usize) -> Option<Endpoint> {
        self.get_within(Reach::All, index).map(|(endpoint, _)| endpoint)
    }

    /// One of those in use within reach, and where it is. The cost does not grow with their number.
    pub fn get_within(&self, reach: Reach, index: usize) -> Option<(Endpoint, Locality)> {
        let chunk = self.chunks.get(self.chunks.partition_point(|chunk| chunk.ends[reach as usize] <= index))?;
        let addresses = chunk.group.within(self.choice, reach)?;
        let address = addresses.get(index + addresses.len() - chunk.ends[reach as usize])?;
        Some((Endpoint { address: SocketAddr::new(address, chunk.port) }, chunk.group.locality(address)))
    }

    /// Where an endpoint is, if it is in use. Looks into every slice.
    pub fn locality(&self, address: SocketAddr) -> Option<Locality> {
        let is_in = |chunk: &&Chunk| chunk.port == address.port() && chunk.group.of(self.choice).contains(address.ip());
        Some(self.chunks.iter().find(is_in)?.group.locality(address.ip()))
    }

    /// Those in use that were not among others, which are mostly the same. Slices that did not change cost a look each.
    pub fn added_since(&self, before: &Self) -> Vec<SocketAddr> {
        let keys =
            |endpoints: &Self| -> HashSet<_> { endpoints.chunks.iter().map(|chunk| endpoints.key(chunk)).collect() };
        let (old, new) = (keys(before), keys(self));
        let different = |endpoints: &Self, others: &HashSet<_>| -> Vec<SocketAddr> {
            let chunks = endpoints.chunks.iter().filter(|chunk| !others.contains(&endpoints.key(chunk)));
            chunks.flat_map(|chunk| endpoints.of_chunk(chunk)).map(|endpoint| endpoint.address).collect()
        };
        let known: HashSet<SocketAddr> = different(before, &new).into_iter().collect();
        different(self, &old).into_iter().filter(|address| !known.contains(address)).collect()
    }

    /// Chunks with one key have the same endpoints in use.
    fn key(&self, chunk: &Chunk) -> (Choice, u16, *const Group) {
        (self.choice, chunk.port, Arc::as_ptr(&chunk.group))
    }

    fn of_chunk<'a>(&self, chunk: &'a Chunk) -> impl Iterator<Item = Endpoint> + use<'a> {
        let addresses = chunk.group.of(self.choice);
        let endpoint = |address| Endpoint { address: SocketAddr::new(address, chunk.port) };
        (0..addresses.len()).filter_map(|index| addresses.get(index)).map(endpoint)
    }

    /// All in use: ordered by slice, then by address.
    pub fn iter(&self) -> impl Iterator<Item = Endpoint> {
        self.chunks.iter().flat_map(|chunk| self.of_chunk(chunk))
    }

    /// Where connections to the Service port go on this address, whether it is in use or not: another node may choose
    /// endpoints that this one does not.
    pub fn on(&self, address: IpAddr) -> Option<SocketAddr> {
        let chunk = self.chunks.iter().find(|chunk| chunk.group.all.contains(address))?;
        Some(SocketAddr::new(address, chunk.port))
    }
}

/// How often this thread looked at addresses: tests tell by it whether work grows with their number.
#[cfg(test)]
pub(crate) mod reads {
    use std::cell::Cell;

    thread_local! {
        static READS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count() {
        READS.set(READS.get() + 1);
    }

    pub(crate) fn so_far() -> usize {
        READS.get()
    }
}

#[cfg(test)]
impl Endpoints {
    /// Ready endpoints at 10.0.0.0 and so on, as many in each slice; `is_near` tells of each number whether it is in this
    /// node's zone.
    pub(crate) fn in_slices(numbers: &[u32], each: usize, is_near: impl Fn(u32) -> bool) -> Self {
        let address = |number: &u32| Ipv4Addr::from(0x0a00_0000 + number);
        let groups = numbers.chunks(each).map(|numbers| {
            let only = |is_in: &dyn Fn(u32) -> bool| {
                Addresses::V4(numbers.iter().filter(|number| is_in(**number)).map(address).collect())
            };
            let all = only(&|_| true);
            let chosen = std::array::from_fn(|_| all.clone());
            let (near, far) = (only(&is_near), only(&|number| !is_near(number)));
            (80, Arc::new(Group { chosen, near, far, unplaced: all.none(), all }))
        });
        Self::new(Choice::Ready, groups.collect::<Vec<_>>().into_iter())
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
        let far: Vec<u8> = ready.iter().copied().filter(|host| host % 2 == 0).collect();
        let near: Vec<u8> = ready.iter().copied().filter(|host| host % 2 == 1).collect();
        let chosen = std::array::from_fn(|_| of(ready));
        Arc::new(Group { all: of(addresses), chosen, near: of(&near), far: of(&far), unplaced: of(&[4]) })
    }

    #[test]
    fn every_endpoint_is_within_reach_once_and_knows_where_it_is() {
        let groups = [(80, group(&[1, 2, 3], &[1, 2, 3])), (81, group(&[], &[])), (82, group(&[4, 5], &[4, 5]))];
        let endpoints = Endpoints::new(Choice::Ready, groups.into_iter());
        let within = |reach| {
            let all = (0..endpoints.len_within(reach)).filter_map(|index| endpoints.get_within(reach, index));
            all.map(|(endpoint, locality)| (endpoint.address.to_string(), locality)).collect::<Vec<_>>()
        };
        let (here, there, unknown) = (Locality::SameZone, Locality::OtherZone, Locality::Unknown);
        let place = |text: &str, locality| (text.to_owned(), locality);
        let near = [place("10.0.0.1:80", here), place("10.0.0.3:80", here), place("10.0.0.5:82", here)];
        let far = [place("10.0.0.2:80", there), place("10.0.0.4:82", unknown)];
        assert_eq!(within(Reach::Near), near);
        assert_eq!(within(Reach::Far), far);
        for (address, locality) in near.iter().chain(&far) {
            assert_eq!(address.parse().ok().and_then(|address| endpoints.locality(address)), Some(*locality));
        }
        assert_eq!(endpoints.locality(([10, 0, 0, 1], 82).into()), None, "another port");
        let all_terminating = [(80, group(&[1, 2], &[1, 2]))];
        let last_resort = Endpoints::new(Choice::Terminating, all_terminating.into_iter());
        assert_eq!((last_resort.len_within(Reach::Near), last_resort.len_within(Reach::Far)), (0, 0));
    }

    #[test]
    fn only_what_came_is_told_as_added() {
        let shared = group(&[1, 2], &[1, 2]);
        let of = |groups: Vec<(u16, Arc<Group>)>| Endpoints::new(Choice::Ready, groups.into_iter());
        let before = of(vec![(80, Arc::clone(&shared)), (80, group(&[3, 4], &[3, 4]))]);
        let after = of(vec![(80, shared), (80, group(&[4, 5], &[4, 5]))]);
        assert_eq!(after.added_since(&before), [([10, 0, 0, 5], 80).into()]);
        assert_eq!(before.added_since(&after), [([10, 0, 0, 3], 80).into()]);
        assert_eq!(after.added_since(&after), []);
        assert_eq!(after.added_since(&Endpoints::default()).len(), 4);
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
