//! Reads an EndpointSlice.

use std::{net::IpAddr, sync::Arc};

use super::{ReadObject, map_of, namespaced, port_number, protocol};
use crate::{
    config::yaml::MapReader,
    objects::{AddressType, EndpointSlice, Kind, Object, ObjectKey, ObjectName, SliceEndpoint, SlicePort},
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
    let service = map_of(metadata, "labels").remove("kubernetes.io/service-name").map(Into::into);
    let ports = root.maps("ports").iter().map(slice_port).collect();
    let family = family?;
    let endpoints = root.maps("endpoints");
    Some(EndpointSlice {
        service,
        family,
        ports,
        endpoints: endpoints.iter().filter_map(|entry| slice_endpoint(entry, family, &name.namespace)).collect(),
        name,
    })
}

fn slice_port(port: &MapReader<'_>) -> SlicePort {
    SlicePort {
        name: port.text("name").unwrap_or_default().into(),
        port: port_number(port, "port"),
        protocol: protocol(port),
    }
}

fn slice_endpoint(entry: &MapReader<'_>, family: AddressType, namespace: &str) -> Option<SliceEndpoint> {
    let of_family = |address: &IpAddr| match family {
        AddressType::Ipv4 => address.is_ipv4(),
        AddressType::Ipv6 => address.is_ipv6(),
        AddressType::Fqdn => false,
    };
    let addresses = match family {
        AddressType::Fqdn => Vec::new(),
        AddressType::Ipv4 | AddressType::Ipv6 => {
            entry.scalars("addresses", IP_ADDRESS, |node| node.text()?.parse().ok().filter(of_family))
        }
    };
    let conditions = entry.map_or_empty("conditions")?;
    let ready = conditions.boolean("ready").unwrap_or(true);
    let target = entry.map_or_empty("targetRef")?;
    let is_pod = target.text("kind") == Some("Pod");
    Some(SliceEndpoint {
        addresses,
        ready,
        serving: conditions.boolean("serving").unwrap_or(ready),
        terminating: conditions.boolean("terminating").unwrap_or(false),
        pod: target
            .text("name")
            .filter(|_| is_pod)
            .map(|name| ObjectName::new(target.text("namespace").unwrap_or(namespace), name)),
        node: entry.text("nodeName").map(Into::into),
        zone: entry.text("zone").map(Into::into),
    })
}
