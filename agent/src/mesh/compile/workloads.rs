//! Pods to workloads: who has which address, and which pods this node enrols.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use super::{MeshSettings, Problems, annotations, membership};
use crate::{
    mesh::{LocalPod, Membership, Netns, SpiffeId, Workload, WorkloadUid},
    objects::{Kind, Map, ObjectName, ObjectSet, Pod, PodPhase},
};

/// All workloads.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    pub(super) by_address: HashMap<IpAddr, Arc<Workload>>,
    /// Enrolled pods of this node, ordered by uid.
    pub(super) local: Vec<Arc<Workload>>,
}

/// A workload and when its pod was created, which settles conflicts: the newer one is the one that runs.
struct Candidate {
    created: Option<SystemTime>,
    workload: Workload,
}

pub(super) fn compile(objects: &ObjectSet, settings: &MeshSettings, problems: &mut Problems) -> Workloads {
    membership::check_namespaces(objects, problems);
    let mut uids = HashSet::new();
    let mut candidates = Vec::new();
    for pod in objects.pods.values() {
        if !has_addresses_of_its_own(pod, problems) {
            continue;
        }
        let uid = uid_of(pod, &mut uids, problems);
        candidates.extend(candidate(pod, uid, objects, settings, problems));
    }
    // Oldest first, so that in every table below the newer pod replaces the older.
    candidates.sort_by(|a, b| (a.created, &a.workload.uid).cmp(&(b.created, &b.workload.uid)));
    settle_namespaces(&mut candidates, problems);
    settle_addresses(candidates, problems)
}

/// Finished pods have given theirs back; host-network pods use the node's.
fn has_addresses_of_its_own(pod: &Pod, problems: &mut Problems) -> bool {
    if pod.host_network {
        membership::check_host_network(pod, problems);
    }
    !pod.host_network && !matches!(pod.phase, PodPhase::Succeeded | PodPhase::Failed)
}

/// Hand-written files have no uids, or copies of one.
fn uid_of<'a>(pod: &'a Pod, taken: &mut HashSet<&'a str>, problems: &mut Problems) -> WorkloadUid {
    match &pod.uid {
        Some(uid) if taken.insert(uid) => return WorkloadUid(Arc::clone(uid)),
        Some(uid) => {
            let message = format!("metadata.uid: {uid:?} is another pod's too; give each pod its own, or none");
            problems.add(Kind::Pod, &pod.name, message);
        }
        None => {}
    }
    WorkloadUid(pod.name.to_string().into())
}

/// `None` for a pod without addresses: nothing can be decided about it yet.
fn candidate(
    pod: &Pod,
    uid: WorkloadUid,
    objects: &ObjectSet,
    settings: &MeshSettings,
    problems: &mut Problems,
) -> Option<Candidate> {
    let membership = membership::of(pod, objects, problems);
    let here = pod.node.as_deref() == Some(&*settings.node) && membership == Membership::Enrolled;
    if pod.addresses.is_empty() {
        if here && pod.phase == PodPhase::Running {
            let message = "status.podIPs: missing, must be the pod's addresses; until then the pod is not enrolled";
            problems.add(Kind::Pod, &pod.name, message.to_owned());
        }
        return None;
    }
    let mut workload = workload_of(pod, uid, membership, settings);
    if here {
        workload.local = annotations::local_pod(pod, problems);
    }
    Some(Candidate { created: pod.created, workload })
}

fn workload_of(pod: &Pod, uid: WorkloadUid, membership: Membership, settings: &MeshSettings) -> Workload {
    let ObjectName { namespace, name } = &pod.name;
    let service_account = pod.service_account.clone().unwrap_or_else(|| "default".into());
    let label = |keys: &[&str]| first_of(&pod.labels, keys);
    let owner = owner_of(pod);
    let app = label(&["app.kubernetes.io/name", "app"]);
    let version = label(&["app.kubernetes.io/version", "version"]);
    let canonical_service = label(&["service.istio.io/canonical-name"]).or(app.clone());
    let canonical_revision = label(&["service.istio.io/canonical-revision"]).or(version.clone());
    Workload {
        uid,
        name: Arc::clone(name),
        namespace: Arc::clone(namespace),
        identity: SpiffeId::new(settings.trust_domain.clone(), Arc::clone(namespace), Arc::clone(&service_account)),
        service_account,
        node: pod.node.clone().unwrap_or_default(),
        addresses: pod.addresses.clone(),
        membership,
        canonical_service: canonical_service.unwrap_or_else(|| Arc::clone(&owner)),
        canonical_revision: canonical_revision.unwrap_or_else(|| "latest".into()),
        owner,
        app: app.unwrap_or_default(),
        version: version.unwrap_or_default(),
        local: None,
    }
}

/// The value of the first of these labels that is there and not empty.
fn first_of(labels: &Map, keys: &[&str]) -> Option<Arc<str>> {
    keys.iter().filter_map(|key| labels.get(*key)).find(|value| !value.is_empty()).map(|value| value.as_str().into())
}

/// A Deployment's pods are owned by a ReplicaSet named after the Deployment and the hash in their label.
fn owner_of(pod: &Pod) -> Arc<str> {
    let Some(owner) = &pod.owner else { return Arc::clone(&pod.name.name) };
    let hash = pod.labels.get("pod-template-hash").filter(|_| owner.kind == "ReplicaSet");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    deployment.unwrap_or(&owner.name).into()
}

/// A network namespace belongs to one pod. Candidates come oldest first.
fn settle_namespaces(candidates: &mut [Candidate], problems: &mut Problems) {
    let mut holders: BTreeMap<&Path, ObjectName> = BTreeMap::new();
    let mut losers = Vec::new();
    for Candidate { workload, .. } in candidates.iter().rev() {
        // A namespace that is found by the pod's uid is nobody else's.
        let Some(LocalPod { netns: Netns::Path(path), .. }) = &workload.local else { continue };
        if let Some(holder) = holders.get(path.as_path()) {
            let netns = path.display();
            let message =
                format!("network namespace {netns} is also that of the newer pod {holder}; it is not enrolled");
            problems.add(Kind::Pod, &name_of(workload), message);
            losers.push(workload.uid.clone());
        } else {
            holders.insert(path, name_of(workload));
        }
    }
    for candidate in candidates.iter_mut().filter(|candidate| losers.contains(&candidate.workload.uid)) {
        candidate.workload.local = None;
    }
}

/// Candidates come oldest first.
fn settle_addresses(candidates: Vec<Candidate>, problems: &mut Problems) -> Workloads {
    let mut workloads = Workloads::default();
    for Candidate { workload, .. } in candidates {
        let workload = Arc::new(workload);
        for address in &workload.addresses {
            let before = workloads.by_address.insert(*address, Arc::clone(&workload));
            if let Some(older) = before.filter(|older| older.uid != workload.uid) {
                let message = format!("address {address} now belongs to the newer pod {}", name_of(&workload));
                problems.add(Kind::Pod, &name_of(&older), message);
            }
        }
        if workload.local.is_some() {
            workloads.local.push(workload);
        }
    }
    workloads.local.sort_by(|a, b| a.uid.cmp(&b.uid));
    workloads
}

fn name_of(workload: &Workload) -> ObjectName {
    ObjectName { namespace: Arc::clone(&workload.namespace), name: Arc::clone(&workload.name) }
}
