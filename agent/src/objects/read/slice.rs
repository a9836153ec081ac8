//! Reads an EndpointSlice.

use std::{net::IpAddr, sync::Arc};

use super::{ReadObject, map_of, namespaced, port_number, protocol};
use crate::{
    config::yaml::MapReader,
    objects::{
        AddressType, EndpointSlice, Kind, Object, ObjectKey, ObjectName, Place, SliceEndpoint, SlicePort, intern,
    },
};

const IP_ADDRESS: &str = "an IP address of the slice's addressType";

/// A `discovery.k8s.io/v1` EndpointSlice.
pub(super) fn read(root: &MapReader<'_>) -> ReadObject {
    let Some((metadata, name)) = namespaced(root) else { return (None, None) };
    let key = ObjectKey { kind: Kind::EndpointSlice, name: name.clone() };
    (Some(key), slice_of(root, &metadata, name).map(|slice| Object::EndpointSlice(Arc::new(slice))))
}

fn slice_of(root: &MapReader<'_>, metadata: &MapReader<'_>, name: ObjectName) -> Option<EndpointSlice> {
    let allowed = "IPv4, IPv6 or FQDN";
    let family = root.parsed("addressType", allowed, |text| match text {
        "IPv4" => Some(AddressType::Ipv4),
        "IPv6" => Some(AddressType::Ipv6),
        "FQDN" => Some(AddressType::Fqdn),
        _ => None,
    });
    if !root.has("addressType") {
        root.missing("addressType", allowed);
    }
    let service = map_of(metadata, "labels").remove("kubernetes.io/service-name").map(|name| intern::text(&name));
    let ports = root.maps("ports").iter().map(slice_port).collect();
    let family = family?;
    let entries = root.maps("endpoints");
    let mut endpoints: Vec<_> = entries.iter().filter_map(|entry| slice_endpoints(entry, family)).flatten().collect();
    endpoints.shrink_to_fit();
    Some(EndpointSlice { service, family, ports, endpoints, name })
}

fn slice_port(port: &MapReader<'_>) -> SlicePort {
    SlicePort {
        name: intern::text(port.text("name").unwrap_or_default()),
        port: port_number(port, "port"),
        protocol: protocol(port),
    }
}

/// One endpoint for each address of an entry; `None` where a part of the entry cannot be read.
fn slice_endpoints(entry: &MapReader<'_>, family: AddressType) -> Option<Vec<SliceEndpoint>> {
    let addresses = addresses(entry, family);
    let place = place(entry)?;
    let conditions = entry.map_or_empty("conditions")?;
    let ready = conditions.boolean("ready").unwrap_or(true);
    let serving = conditions.boolean("serving").unwrap_or(ready);
    let terminating = conditions.boolean("terminating").unwrap_or(false);
    let endpoint = |address| SliceEndpoint { address, ready, serving, terminating, place: Arc::clone(&place) };
    Some(addresses.into_iter().map(endpoint).collect())
}

fn addresses(entry: &MapReader<'_>, family: AddressType) -> Vec<IpAddr> {
    let of_family = |address: &IpAddr| match family {
        AddressType::Ipv4 => address.is_ipv4(),
        AddressType::Ipv6 => address.is_ipv6(),
        AddressType::Fqdn => false,
    };
    match family {
        AddressType::Fqdn => Vec::new(),
        AddressType::Ipv4 | AddressType::Ipv6 => {
            entry.scalars("addresses", IP_ADDRESS, |node| node.text()?.parse().ok().filter(of_family))
        }
    }
}

fn place(entry: &MapReader<'_>) -> Option<Arc<Place>> {
    let hints = entry.map_or_empty("hints")?;
    let names = |key| hints.maps(key).iter().filter_map(|hint| hint.text("name")).map(intern::text).collect();
    Some(intern::place(Place {
        node: entry.text("nodeName").map(intern::text),
        zone: entry.text("zone").map(intern::text),
        hinted_zones: names("forZones"),
        hinted_nodes: names("forNodes"),
    }))
}
