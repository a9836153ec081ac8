//! Services and EndpointSlices to virtual addresses with their endpoints.
//!
//! A batch compiles anew the Services that it changes or of which it changes a slice, and those that have a cluster IP
//! in common with a changed one. Of a Service's slices, only the changed ones are read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use super::{
    MeshSettings,
    batch::Batch,
    problems::Problems,
    service::{self, Parts},
    slice::{self, Here, Terms},
};
use crate::{
    mesh::{ServiceName, Snapshot},
    objects::{self, EndpointSlice, Kind, ObjectKey, ObjectName, ObjectSet, ServiceKind},
};

const ZONE: &str = "topology.kubernetes.io/zone";

/// What is known of Services besides the objects themselves.
#[derive(Debug, Default)]
pub(super) struct Services {
    here: Here,
    /// Slices by the Service that they name, be it there or not.
    parts: BTreeMap<ObjectName, Parts>,
    cluster_ips: HashMap<IpAddr, BTreeSet<ObjectName>>,
}

impl Services {
    /// Brings the Services of a snapshot up to date, and tells whether any is different now.
    pub(super) fn update(
        &mut self,
        batch: &Batch,
        objects: &ObjectSet,
        settings: &MeshSettings,
        snapshot: &mut Snapshot,
        problems: &mut Problems,
    ) -> bool {
        let mut affected: BTreeSet<ObjectName> = batch.services.keys().cloned().collect();
        affected.extend(self.read_again(batch, objects, settings));
        affected.extend(self.read_slices(batch, objects));
        affected.extend(self.claim_addresses(batch, objects));
        let mut changed = self.free_addresses(batch, snapshot);
        for name in &affected {
            let messages = self.settle(name, objects, snapshot, &mut changed);
            problems.set(&ObjectKey { kind: Kind::Service, name: name.clone() }, messages);
        }
        changed
    }

    /// Reads the slices again that look different because this node or their Service does; the Services of these.
    fn read_again(&mut self, batch: &Batch, objects: &ObjectSet, settings: &MeshSettings) -> Vec<ObjectName> {
        let here = here(settings, objects);
        let names: Vec<ObjectName> = if here == self.here {
            let terms_changed = |(name, before): &(&ObjectName, &Option<Arc<objects::Service>>)| {
                Terms::of(before.as_ref()) != Terms::of(objects.services.get(*name))
            };
            batch.services.iter().filter(terms_changed).map(|(name, _)| name.clone()).collect()
        } else {
            self.parts.keys().cloned().collect()
        };
        self.here = here;
        for name in &names {
            let terms = Terms::of(objects.services.get(name));
            for (slice, part) in self.parts.get_mut(name).into_iter().flatten() {
                let slice = ObjectName { namespace: Arc::clone(&name.namespace), name: Arc::clone(slice) };
                let slice = objects.endpoint_slices.get(&slice);
                if let Some(now) = slice.and_then(|slice| slice::compile(slice, terms, &self.here)) {
                    *part = now;
                }
            }
        }
        names
    }

    /// Reads the slices that changed; the Services that they belong or belonged to.
    fn read_slices(&mut self, batch: &Batch, objects: &ObjectSet) -> Vec<ObjectName> {
        let mut services = Vec::new();
        for (name, before) in &batch.slices {
            let now = objects.endpoint_slices.get(name);
            let (before, after) = (before.as_deref().and_then(service_of), now.and_then(|slice| service_of(slice)));
            if before != after {
                services.extend(before.inspect(|service| self.forget(service, name)));
            }
            let (Some(service), Some(slice)) = (after, now) else { continue };
            match slice::compile(slice, Terms::of(objects.services.get(&service)), &self.here) {
                Some(part) => drop(self.parts.entry(service.clone()).or_default().insert(Arc::clone(&name.name), part)),
                None => self.forget(&service, name),
            }
            services.push(service);
        }
        services
    }

    fn forget(&mut self, service: &ObjectName, slice: &ObjectName) {
        if let Some(parts) = self.parts.get_mut(service) {
            parts.remove(&slice.name);
            if parts.is_empty() {
                self.parts.remove(service);
            }
        }
    }

    /// Takes over the cluster IPs of changed Services; those that have one in common with them.
    fn claim_addresses(&mut self, batch: &Batch, objects: &ObjectSet) -> Vec<ObjectName> {
        let mut contested = BTreeSet::new();
        for before in batch.services.values().flatten() {
            for address in cluster_ips(before) {
                if let Some(claimants) = self.cluster_ips.get_mut(&address) {
                    claimants.remove(&before.name);
                    match claimants.len() {
                        0 => drop(self.cluster_ips.remove(&address)),
                        _ => drop(contested.insert(address)),
                    }
                }
            }
        }
        for now in batch.services.keys().filter_map(|name| objects.services.get(name)) {
            for address in cluster_ips(now) {
                let claimants = self.cluster_ips.entry(address).or_default();
                claimants.insert(now.name.clone());
                if claimants.len() > 1 {
                    contested.insert(address);
                }
            }
        }
        contested.iter().filter_map(|address| self.cluster_ips.get(address)).flatten().cloned().collect()
    }

    /// Takes the cluster IPs out of the snapshot that no Service has any more.
    fn free_addresses(&self, batch: &Batch, snapshot: &mut Snapshot) -> bool {
        let mut changed = false;
        for address in batch.services.values().flatten().flat_map(|before| cluster_ips(before)) {
            if !self.cluster_ips.contains_key(&address) {
                changed |= snapshot.virtual_addresses.remove(address).is_some();
            }
        }
        changed
    }

    /// Puts a Service into the snapshot as it is now, or takes it out. What is wrong with it.
    fn settle(
        &self,
        name: &ObjectName,
        objects: &ObjectSet,
        snapshot: &mut Snapshot,
        changed: &mut bool,
    ) -> Vec<String> {
        let mut messages = Vec::new();
        let key = ServiceName { namespace: Arc::clone(&name.namespace), name: Arc::clone(&name.name) };
        let Some(object) = objects.services.get(name) else {
            *changed |= snapshot.services.remove(&key).is_some();
            return messages;
        };
        let parts = self.parts.get(name);
        let service = service::compile(object, parts.unwrap_or(&Parts::new()), &mut messages);
        let service = match snapshot.services.get(&key) {
            Some(same) if **same == service => Arc::clone(same),
            _ => {
                let service = Arc::new(service);
                snapshot.services.insert(key, Arc::clone(&service));
                *changed = true;
                service
            }
        };
        for address in cluster_ips(object) {
            // The first by name has it.
            match self.cluster_ips.get(&address).and_then(BTreeSet::first).filter(|holder| *holder != name) {
                Some(holder) => messages.push(format!("cluster IP {address} is already that of Service {holder}")),
                None if snapshot.virtual_addresses.get(address) == Some(&service) => {}
                None => {
                    snapshot.virtual_addresses.insert(address, Arc::clone(&service));
                    *changed = true;
                }
            }
        }
        messages
    }
}

fn here(settings: &MeshSettings, objects: &ObjectSet) -> Here {
    let zone = objects.nodes.get(&settings.node).and_then(|node| node.labels.get(ZONE));
    Here { node: Arc::clone(&settings.node), zone: zone.map(|zone| zone.as_str().into()) }
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectName> {
    let name = slice.service.clone()?;
    Some(ObjectName { namespace: Arc::clone(&slice.name.namespace), name })
}

fn cluster_ips(service: &objects::Service) -> BTreeSet<IpAddr> {
    match service.kind {
        ServiceKind::ExternalName => BTreeSet::new(),
        ServiceKind::ClusterIp | ServiceKind::NodePort | ServiceKind::LoadBalancer => {
            service.cluster_ips.iter().copied().collect()
        }
    }
}
