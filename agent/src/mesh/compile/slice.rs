//! One EndpointSlice to the group of endpoints that this node sees in it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    mesh::{
        AddressFamily, Choice, Locality,
        endpoints::{Addresses, Group},
    },
    objects::{EndpointSlice, Place, Protocol, Service, SliceEndpoint, TrafficDistribution},
};

/// Where this node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Here {
    pub(super) node: Arc<str>,
    /// Label `topology.kubernetes.io/zone` of the Node.
    pub(super) zone: Option<Arc<str>>,
}

/// What a Service says about all of its endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    publish_not_ready: bool,
    distribution: TrafficDistribution,
}

impl Terms {
    pub(super) fn of(service: Option<&Arc<Service>>) -> Self {
        let terms = |service: &Arc<Service>| Self {
            publish_not_ready: service.publish_not_ready,
            distribution: service.distribution,
        };
        service.map(terms).unwrap_or_default()
    }
}

/// An EndpointSlice as its Service needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) family: AddressFamily,
    /// TCP ports by name.
    pub(super) ports: Vec<(Arc<str>, u16)>,
    /// Whether every ready endpoint has hints for nodes, or for zones.
    pub(super) node_hints: bool,
    pub(super) zone_hints: bool,
    pub(super) group: Arc<Group>,
}

/// `None` for a slice of host names, which are no addresses.
pub(super) fn compile(slice: &EndpointSlice, terms: Terms, here: &Here) -> Option<Part> {
    let family = AddressFamily::of_slice(slice.family)?;
    let tcp = slice.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
    let endpoints = endpoints(slice, terms, here);
    let ready = || endpoints.values().filter(|endpoint| endpoint.is_in(Choice::Ready));
    Some(Part {
        family,
        ports: tcp.filter_map(|port| Some((Arc::clone(&port.name), port.port?))).collect(),
        node_hints: ready().all(|endpoint| endpoint.node_hints),
        zone_hints: ready().all(|endpoint| endpoint.zone_hints),
        group: Arc::new(group(&endpoints, family)),
    })
}

/// What counts about one endpoint.
#[derive(Clone, Copy)]
struct Standing {
    chosen: [bool; Choice::ALL.len()],
    node_hints: bool,
    zone_hints: bool,
    locality: Locality,
}

impl Standing {
    fn of(endpoint: &SliceEndpoint, terms: Terms, here: &Here) -> Self {
        let place = &endpoint.place;
        let ready = endpoint.ready || terms.publish_not_ready;
        let leaving = !ready && endpoint.serving && endpoint.terminating;
        let local = place.node.as_ref() == Some(&here.node);
        let nodes = hinted_nodes(place, terms.distribution);
        let zones = hinted_zones(place, terms.distribution);
        let for_zone = here.zone.as_ref().is_some_and(|zone| zones.contains(zone));
        let is_in = |choice| match choice {
            Choice::Ready => ready,
            Choice::Terminating => leaving,
            Choice::ForNode => ready && nodes.contains(&here.node),
            Choice::ForZone => ready && for_zone,
            Choice::Local => ready && local,
            Choice::LocalTerminating => leaving && local,
        };
        let locality = match (&place.zone, &here.zone) {
            (Some(theirs), Some(ours)) if theirs == ours => Locality::SameZone,
            (Some(_), Some(_)) => Locality::OtherZone,
            (None, _) | (_, None) => Locality::Unknown,
        };
        Self { chosen: Choice::ALL.map(is_in), node_hints: !nodes.is_empty(), zone_hints: !zones.is_empty(), locality }
    }

    fn is_in(&self, choice: Choice) -> bool {
        self.chosen[choice as usize]
    }
}

/// The hints of the endpoint. Where nobody wrote any (files have no controller that would), those that Kubernetes
/// writes for the Service's `trafficDistribution`: an endpoint is for its own zone, and for its own node if asked for.
fn hinted_zones(place: &Place, distribution: TrafficDistribution) -> &[Arc<str>] {
    match distribution {
        TrafficDistribution::SameZone | TrafficDistribution::SameNode if has_no_hints(place) => place.zone.as_slice(),
        _ => &place.hinted_zones,
    }
}

fn hinted_nodes(place: &Place, distribution: TrafficDistribution) -> &[Arc<str>] {
    match distribution {
        TrafficDistribution::SameNode if has_no_hints(place) => place.node.as_slice(),
        _ => &place.hinted_nodes,
    }
}

fn has_no_hints(place: &Place) -> bool {
    place.hinted_zones.is_empty() && place.hinted_nodes.is_empty()
}

/// Each address once; of two entries for one, the ready one counts.
fn endpoints(slice: &EndpointSlice, terms: Terms, here: &Here) -> BTreeMap<IpAddr, Standing> {
    let mut endpoints = BTreeMap::new();
    for endpoint in &slice.endpoints {
        let standing = Standing::of(endpoint, terms, here);
        let known = endpoints.entry(endpoint.address).or_insert(standing);
        if standing.is_in(Choice::Ready) && !known.is_in(Choice::Ready) {
            *known = standing;
        }
    }
    endpoints
}

fn group(endpoints: &BTreeMap<IpAddr, Standing>, family: AddressFamily) -> Group {
    let all = addresses(endpoints.keys(), family);
    let only = |is_in: &dyn Fn(&Standing) -> bool| {
        let chosen = endpoints.iter().filter(|(_, standing)| is_in(standing));
        // Nearly always all endpoints are ready: one list in memory serves both.
        if chosen.clone().count() == all.len() { all.clone() } else { addresses(chosen.map(|(ip, _)| ip), family) }
    };
    let is_near = |standing: &Standing| standing.locality == Locality::SameZone;
    Group {
        chosen: Choice::ALL.map(|choice| only(&|standing| standing.is_in(choice))),
        near: only(&|standing| standing.is_in(Choice::Ready) && is_near(standing)),
        far: only(&|standing| standing.is_in(Choice::Ready) && !is_near(standing)),
        unplaced: only(&|standing| standing.locality == Locality::Unknown),
        all: all.clone(),
    }
}

fn addresses<'a>(addresses: impl Iterator<Item = &'a IpAddr>, family: AddressFamily) -> Addresses {
    match family {
        AddressFamily::V4 => {
            Addresses::V4(addresses.filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None }).collect())
        }
        AddressFamily::V6 => {
            Addresses::V6(addresses.filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(*ip) } else { None }).collect())
        }
    }
}
