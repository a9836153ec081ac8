//! One pod to a workload, without regard to other pods that may claim the same.

use std::sync::Arc;

use super::{MeshSettings, annotations, capture, membership};
use crate::{
    mesh::{Membership, Rules, SpiffeId, Workload, WorkloadUid},
    objects::{Map, ObjectName, ObjectSet, Pod, PodPhase, intern},
};

/// Finished pods have given theirs back; host-network pods use the node's.
pub(super) fn has_addresses_of_its_own(pod: &Pod) -> bool {
    !pod.host_network && !matches!(pod.phase, PodPhase::Succeeded | PodPhase::Failed)
}

/// The pod as a workload. `None` for a pod without addresses: nothing can be decided about it yet.
pub(super) fn compile(
    pod: &Pod,
    uid: WorkloadUid,
    objects: &ObjectSet,
    settings: &MeshSettings,
    rules: &Rules,
    problems: &mut Vec<String>,
) -> Option<Workload> {
    let membership = membership::of(pod, objects, problems);
    let here = pod.node.as_deref() == Some(&*settings.node) && membership == Membership::Enrolled;
    if pod.addresses.is_empty() {
        if here && pod.phase == PodPhase::Running {
            let message = "status.podIPs: missing, must be the pod's addresses; until then the pod is not enrolled";
            problems.push(message.to_owned());
        }
        return None;
    }
    let mut workload = workload_of(pod, uid, membership, settings);
    // Whoever reads the problems of another node's pods reads them there.
    let mut elsewhere = Vec::new();
    let mut opaque = annotations::opaque_ports(pod, if here { &mut *problems } else { &mut elsewhere });
    capture::add_opaque(&mut opaque, pod, rules, &settings.root_namespace);
    if !opaque.is_empty() {
        workload.opaque_ports = opaque.into();
    }
    if here {
        workload.local = annotations::local_pod(pod, problems).map(Box::new);
        if let Some(local) = &mut workload.local {
            capture::add(&mut local.rules, pod, rules, &settings.root_namespace);
            local.share = capture::share(pod, rules, &settings.root_namespace);
        }
    }
    Some(workload)
}

fn workload_of(pod: &Pod, uid: WorkloadUid, membership: Membership, settings: &MeshSettings) -> Workload {
    let ObjectName { namespace, name } = &pod.name;
    let service_account = pod.service_account.clone().unwrap_or_else(|| intern::text("default"));
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
        canonical_revision: canonical_revision.unwrap_or_else(|| intern::text("latest")),
        owner,
        app: app.unwrap_or_default(),
        version: version.unwrap_or_default(),
        labels: Arc::clone(&pod.labels),
        opaque_ports: Arc::default(),
        local: None,
    }
}

/// The value of the first of these labels that is there and not empty.
fn first_of(labels: &Map, keys: &[&str]) -> Option<Arc<str>> {
    keys.iter().filter_map(|key| labels.get(*key)).find(|value| !value.is_empty()).map(|value| intern::text(value))
}

/// A Deployment's pods are owned by a ReplicaSet named after the Deployment and the hash in their label.
fn owner_of(pod: &Pod) -> Arc<str> {
    let Some(owner) = &pod.owner else { return Arc::clone(&pod.name.name) };
    let hash = pod.labels.get("pod-template-hash").filter(|_| owner.kind == "ReplicaSet");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    intern::text(deployment.unwrap_or(&owner.name))
}
