//! Reads a Pod.

use std::{net::IpAddr, sync::Arc};

use super::{ReadObject, ip, map_of, namespaced, probes::probed_ports, time};
use crate::{
    config::yaml::MapReader,
    objects::{Kind, Map, Object, ObjectKey, ObjectName, OwnerReference, Pod, PodPhase, intern},
};

const IP_ADDRESS: &str = "an IP address";

/// A `v1` Pod.
pub(super) fn read(root: &MapReader<'_>) -> ReadObject {
    let Some((metadata, name)) = namespaced(root) else { return (None, None) };
    let key = ObjectKey { kind: Kind::Pod, name: name.clone() };
    (Some(key), pod_of(root, &metadata, name).map(|pod| Object::Pod(Arc::new(pod))))
}

fn pod_of(root: &MapReader<'_>, metadata: &MapReader<'_>, name: ObjectName) -> Option<Pod> {
    let spec = root.map_or_empty("spec")?;
    let status = root.map_or_empty("status")?;
    let addresses = pod_addresses(&status);
    Some(Pod {
        name,
        uid: metadata.text("uid").map(Into::into),
        labels: intern::map(map_of(metadata, "labels")),
        annotations: intern::map(annotations(metadata)),
        owner: owner(metadata).map(intern::owner),
        created: time(metadata, "creationTimestamp"),
        deleting: time(metadata, "deletionTimestamp").is_some(),
        node: spec.text("nodeName").filter(|node| !node.is_empty()).map(intern::text),
        service_account: spec.text("serviceAccountName").filter(|name| !name.is_empty()).map(intern::text),
        host_network: spec.boolean("hostNetwork").unwrap_or(false),
        phase: status.parsed("phase", "a pod phase", phase).unwrap_or_default(),
        probed_ports: intern::ports(&probed_ports(&spec, &addresses)),
        addresses: addresses.into(),
        ready: has_condition(&status, "Ready"),
    })
}

/// Those for the mesh: the others are many, different in each pod, and read by nobody here.
fn annotations(metadata: &MapReader<'_>) -> Map {
    let mut annotations = map_of(metadata, "annotations");
    annotations.retain(|key, _| key.starts_with("heddle.io/"));
    annotations
}

fn phase(text: &str) -> Option<PodPhase> {
    match text {
        "Pending" => Some(PodPhase::Pending),
        "Running" => Some(PodPhase::Running),
        "Succeeded" => Some(PodPhase::Succeeded),
        "Failed" => Some(PodPhase::Failed),
        "Unknown" => Some(PodPhase::Unknown),
        _ => None,
    }
}

fn owner(metadata: &MapReader<'_>) -> Option<OwnerReference> {
    let references: Vec<(bool, OwnerReference)> = metadata
        .maps("ownerReferences")
        .iter()
        .filter_map(|reference| {
            let owner =
                OwnerReference { kind: reference.text("kind")?.to_owned(), name: reference.text("name")?.to_owned() };
            Some((reference.boolean("controller").unwrap_or(false), owner))
        })
        .collect();
    let controller = references.iter().find(|(controller, _)| *controller).or(references.first());
    controller.map(|(_, owner)| owner.clone())
}

fn pod_addresses(status: &MapReader<'_>) -> Vec<IpAddr> {
    let entries = status.maps("podIPs");
    let mut addresses: Vec<IpAddr> = entries.iter().filter_map(|entry| entry.parsed("ip", IP_ADDRESS, ip)).collect();
    let single = status.parsed("podIP", IP_ADDRESS, ip);
    if addresses.is_empty() {
        addresses.extend(single);
    }
    addresses
}

fn has_condition(status: &MapReader<'_>, kind: &str) -> bool {
    let conditions = status.maps("conditions");
    conditions.iter().any(|condition| condition.text("type") == Some(kind) && condition.text("status") == Some("True"))
}
