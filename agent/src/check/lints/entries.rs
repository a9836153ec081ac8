//! ServiceEntry: addresses that stand for something else already.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use super::{Found, Input};
use crate::{
    objects::{ObjectName, PodPhase, ServiceKind},
    rules::{
        Spec,
        service_entry::{Resolution, ServiceEntry},
        value::Host,
    },
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    let mut first: BTreeMap<(String, u16), &ObjectName> = BTreeMap::new();
    for rule in input.rules() {
        let Spec::ServiceEntry(entry) = &rule.spec else { continue };
        for (index, network) in entry.addresses.iter().enumerate() {
            if let Some(holder) = holder(input, *network) {
                let message = format!("{} is the address of {holder}, which gets the connections", network.addr());
                input.warn(found, &rule.key, &format!("spec.addresses[{index}]"), message);
            }
        }
        // Of nested networks the smaller one counts, which may be meant; of equal ones the entry that comes first.
        for (path, dialled) in dialled(entry) {
            for port in entry.ports.iter().map(|port| port.number.get()) {
                let name = *first.entry((dialled.clone(), port)).or_insert(&rule.key.name);
                if *name != rule.key.name {
                    let message =
                        format!("ServiceEntry {name} has {dialled} and port {port} too, and gets the connections");
                    input.warn(found, &rule.key, &path, message);
                }
            }
        }
    }
}

/// A Service's cluster IP or a pod's address: both come before entries.
fn holder(input: &Input<'_>, network: IpNet) -> Option<String> {
    let address = (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())?;
    let has = |addresses: &[IpAddr]| addresses.contains(&address);
    let is_virtual = |kind| kind != ServiceKind::ExternalName;
    let mut services = input.objects.services.values();
    let mut pods = input.objects.pods.values();
    let service = services.find(|service| is_virtual(service.kind) && has(&service.cluster_ips));
    let lives = |phase| !matches!(phase, PodPhase::Succeeded | PodPhase::Failed);
    let pod = pods.find(|pod| lives(pod.phase) && !pod.host_network && has(&pod.addresses));
    let service = service.map(|service| format!("Service {}", service.name));
    service.or_else(|| pod.map(|pod| format!("Pod {}", pod.name)))
}

/// What applications dial, with the place of it: addresses, or else what names resolve to.
fn dialled(entry: &ServiceEntry) -> Vec<(String, String)> {
    if !entry.addresses.is_empty() || entry.resolution != Resolution::Dns {
        let addresses = entry.addresses.iter().map(|network| match network.prefix_len() == network.max_prefix_len() {
            true => network.addr().to_string(),
            false => network.trunc().to_string(),
        });
        return addresses.enumerate().map(|(index, text)| (format!("spec.addresses[{index}]"), text)).collect();
    }
    let names = entry.hosts.iter().enumerate().filter(|(_, host)| matches!(host, Host::Exact(_)));
    names.map(|(index, host)| (format!("spec.hosts[{index}]"), host.to_string())).collect()
}
