//! Pods to workloads: who has which address, and which pods this node enrols.
//!
//! A batch settles anew the pods that it changes, those of namespaces that it changes, and those that claim a uid, an
//! address or a network namespace that one of these claims or has given up.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    MeshSettings,
    batch::Batch,
    claims::{Age, Claim, Claims},
    membership,
    problems::Problems,
    workload,
};
use crate::{
    mesh::{Netns, Rules, Snapshot, Workload, WorkloadUid},
    objects::{Kind, ObjectKey, ObjectName, ObjectSet, Pod},
    rules::{RuleKey, RuleKind, Spec},
};

/// What is known of pods besides the pods themselves.
#[derive(Debug, Default)]
pub(super) struct Pods {
    claims: Claims,
    namespaces: NetworkNamespaces,
    /// Enrolled pods of this node.
    local: BTreeMap<ObjectName, Arc<Workload>>,
    /// As in the snapshot.
    rules: Rules,
}

impl Pods {
    /// Brings the workloads of a snapshot up to date, and tells whether any is different now.
    pub(super) fn update(
        &mut self,
        batch: &Batch,
        changed_rules: &BTreeSet<RuleKey>,
        objects: &ObjectSet,
        settings: &MeshSettings,
        snapshot: &mut Snapshot,
        problems: &mut Problems,
    ) -> bool {
        let rules_before = std::mem::replace(&mut self.rules, snapshot.rules.clone());
        let mut affected = self.affected(batch, objects);
        affected.extend(self.captured_by(changed_rules, &rules_before, objects, settings));
        affected.extend(self.claim_namespaces(&affected, objects, settings));
        let mut changed = self.free_addresses(batch, snapshot);
        let mut local_changed = false;
        for name in &affected {
            let (workload, messages) = self.settle(name, objects, settings, snapshot, &mut changed);
            problems.set(&ObjectKey { kind: Kind::Pod, name: name.clone() }, messages);
            let local = workload.filter(|workload| workload.local.is_some());
            local_changed |= local.as_ref() != self.local.get(name);
            match local {
                Some(local) => drop(self.local.insert(name.clone(), local)),
                None => drop(self.local.remove(name)),
            }
        }
        if local_changed {
            let mut local: Vec<_> = self.local.values().map(Arc::clone).collect();
            local.sort_by(|a, b| a.uid.cmp(&b.uid));
            snapshot.local = local.into();
        }
        changed || local_changed
    }

    /// Takes over the claims of changed pods; the pods that may be different now.
    fn affected(&mut self, batch: &Batch, objects: &ObjectSet) -> BTreeSet<ObjectName> {
        let mut affected: BTreeSet<ObjectName> = batch.pods.keys().cloned().collect();
        for namespace in batch.namespaces.keys() {
            affected.extend(names_in(namespace, objects));
        }
        let mut contested = BTreeSet::new();
        for before in batch.pods.values().flatten() {
            contested.extend(claims_of(before).into_iter().filter(|claim| self.claims.give_up(claim, before)));
        }
        for now in batch.pods.keys().filter_map(|name| objects.pods.get(name)) {
            contested.extend(claims_of(now).into_iter().filter(|claim| self.claims.make(claim, now)));
        }
        let claimants = contested.iter().flat_map(|claim| self.claims.claimants(claim));
        affected.extend(claimants.map(|pod| pod.name.clone()));
        affected
    }

    /// The pods that Capture documents may mean: those of this node, and where ports are or were opaque, all.
    fn captured_by(
        &self,
        changed: &BTreeSet<RuleKey>,
        before: &Rules,
        objects: &ObjectSet,
        settings: &MeshSettings,
    ) -> BTreeSet<ObjectName> {
        let mut pods = BTreeSet::new();
        for key in changed.iter().filter(|key| key.kind == RuleKind::Capture) {
            let everywhere = key.name.namespace == settings.root_namespace;
            let is_near = |name: &&ObjectName| everywhere || name.namespace == key.name.namespace;
            pods.extend(self.local.keys().filter(is_near).cloned());
            for rule in [before.get(key), self.rules.get(key)].into_iter().flatten() {
                let Spec::Capture(capture) = &rule.spec else { continue };
                if capture.opaque_ports.is_empty() {
                    continue;
                }
                let selects = |name: &&ObjectName| {
                    objects.pods.get(name).is_some_and(|pod| capture.selector.selects(&pod.labels))
                };
                match everywhere {
                    true => pods.extend(objects.pods.keys().filter(selects).cloned()),
                    false => pods.extend(names_in(&key.name.namespace, objects).filter(|name| selects(&name))),
                }
            }
        }
        pods
    }

    /// Takes over which pod wants which network namespace; the pods that share one with those.
    fn claim_namespaces(
        &mut self,
        affected: &BTreeSet<ObjectName>,
        objects: &ObjectSet,
        settings: &MeshSettings,
    ) -> Vec<ObjectName> {
        let mut touched = BTreeSet::new();
        for name in affected {
            touched.extend(self.namespaces.give_up(name));
            let here = objects.pods.get(name).filter(|pod| pod.node.as_deref() == Some(&*settings.node));
            let local = here.and_then(|pod| self.alone(pod, objects, settings, &mut Vec::new())?.local);
            // A namespace that is found by the pod's uid is nobody else's.
            if let (Some(pod), Some(Netns::Path(path))) = (here, local.map(|local| local.netns)) {
                touched.insert(path.clone());
                self.namespaces.claim(path, pod);
            }
        }
        touched.iter().flat_map(|path| self.namespaces.claimants(path)).cloned().collect()
    }

    /// Takes the addresses out of the snapshot that nobody has any more.
    fn free_addresses(&self, batch: &Batch, snapshot: &mut Snapshot) -> bool {
        let mut changed = false;
        for address in batch.pods.values().flatten().flat_map(|before| before.addresses.iter()) {
            if self.claims.holder(&Claim::Address(*address)).is_none() {
                changed |= snapshot.workloads.remove(*address).is_some();
            }
        }
        changed
    }

    /// What a pod is now, and what is wrong with it. The addresses that it has are in the snapshot afterwards.
    fn settle(
        &self,
        name: &ObjectName,
        objects: &ObjectSet,
        settings: &MeshSettings,
        snapshot: &mut Snapshot,
        changed: &mut bool,
    ) -> (Option<Arc<Workload>>, Vec<String>) {
        let mut messages = Vec::new();
        let Some(pod) = objects.pods.get(name) else { return (None, messages) };
        let Some(mut workload) = self.alone(pod, objects, settings, &mut messages) else { return (None, messages) };
        if let Some(Netns::Path(path)) = workload.local.as_ref().map(|local| &local.netns)
            && let Some(holder) = self.namespaces.holder(path).filter(|holder| *holder != name)
        {
            let netns = path.display();
            messages
                .push(format!("network namespace {netns} is also that of the newer pod {holder}; it is not enrolled"));
            workload.local = None;
        }
        let workload = self.shared(name, workload, snapshot);
        for address in distinct(&pod.addresses) {
            match self.claims.holder(&Claim::Address(address)).filter(|holder| holder.name != *name) {
                Some(holder) => {
                    let holder = &holder.name;
                    messages.push(format!("address {address} now belongs to the newer pod {holder}"));
                }
                None if snapshot.workloads.get(address) == Some(&workload) => {}
                None => {
                    snapshot.workloads.insert(address, Arc::clone(&workload));
                    *changed = true;
                }
            }
        }
        (Some(workload), messages)
    }

    /// A pod as if no other claimed its addresses and network namespace.
    fn alone(
        &self,
        pod: &Pod,
        objects: &ObjectSet,
        settings: &MeshSettings,
        messages: &mut Vec<String>,
    ) -> Option<Workload> {
        if pod.host_network {
            membership::check_host_network(pod, messages);
        }
        if !workload::has_addresses_of_its_own(pod) {
            return None;
        }
        let uid = self.uid_of(pod, messages);
        workload::compile(pod, uid, objects, settings, &self.rules, messages)
    }

    /// Hand-written files have no uids, or copies of one.
    fn uid_of(&self, pod: &Pod, messages: &mut Vec<String>) -> WorkloadUid {
        if let Some(uid) = &pod.uid {
            match self.claims.holder(&Claim::Uid(Arc::clone(uid))).filter(|holder| holder.name != pod.name) {
                None => return WorkloadUid(Arc::clone(uid)),
                Some(_) => {
                    let message = format!("metadata.uid: {uid:?} is another pod's too; give each pod its own, or none");
                    messages.push(message);
                }
            }
        }
        WorkloadUid(pod.name.to_string().into())
    }

    /// The workload that is there already, where it is the same.
    fn shared(&self, name: &ObjectName, workload: Workload, snapshot: &Snapshot) -> Arc<Workload> {
        let by_address = || workload.addresses.iter().find_map(|address| snapshot.workloads.get(*address));
        match self.local.get(name).or_else(by_address) {
            Some(same) if **same == workload => Arc::clone(same),
            _ => Arc::new(workload),
        }
    }
}

/// Network namespaces of this node's pods. Each belongs to one pod: the newest that names it.
#[derive(Debug, Default)]
struct NetworkNamespaces {
    of_pods: BTreeMap<ObjectName, (PathBuf, Age)>,
    claimants: BTreeMap<PathBuf, BTreeMap<Age, ObjectName>>,
}

impl NetworkNamespaces {
    fn claim(&mut self, path: PathBuf, pod: &Pod) {
        let age = Age::of(pod);
        self.claimants.entry(path.clone()).or_default().insert(age.clone(), pod.name.clone());
        self.of_pods.insert(pod.name.clone(), (path, age));
    }

    fn give_up(&mut self, name: &ObjectName) -> Option<PathBuf> {
        let (path, age) = self.of_pods.remove(name)?;
        let claimants = self.claimants.get_mut(&path)?;
        claimants.remove(&age);
        if claimants.is_empty() {
            self.claimants.remove(&path);
        }
        Some(path)
    }

    fn claimants(&self, path: &Path) -> impl Iterator<Item = &ObjectName> {
        self.claimants.get(path).into_iter().flat_map(BTreeMap::values)
    }

    fn holder(&self, path: &Path) -> Option<&ObjectName> {
        self.claimants.get(path)?.values().next_back()
    }
}

fn claims_of(pod: &Pod) -> Vec<Claim> {
    if !workload::has_addresses_of_its_own(pod) {
        return Vec::new();
    }
    let uid = pod.uid.iter().map(|uid| Claim::Uid(Arc::clone(uid)));
    uid.chain(pod.addresses.iter().map(|address| Claim::Address(*address))).collect()
}

fn names_in<'a>(namespace: &Arc<str>, objects: &'a ObjectSet) -> impl Iterator<Item = ObjectName> + 'a {
    let first = ObjectName { namespace: Arc::clone(namespace), name: "".into() };
    let namespace = Arc::clone(namespace);
    objects.pods.range(first..).map(|(name, _)| name).take_while(move |name| name.namespace == namespace).cloned()
}

/// Each address once, in the order of the pod.
fn distinct(addresses: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let is_first = |(index, address): &(usize, &IpAddr)| !addresses[..*index].contains(address);
    addresses.iter().enumerate().filter(is_first).map(|(_, address)| *address)
}
