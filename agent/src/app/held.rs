//! Which identities the pods of this node need: the only place that holds and releases certificates.
//!
//! In: the pods of this node as the snapshot has them. Out: exactly one hold for each of them, on the identity that it has
//! now, so that an identity goes with its last pod and none of another node is ever asked for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    identify::Certificates,
    mesh::{Membership, Snapshot, Workload, WorkloadUid},
};

/// The pods that hold an identity.
pub(super) struct Held {
    certificates: Certificates,
    pods: HashMap<WorkloadUid, Arc<Workload>>,
}

impl Held {
    pub(super) fn new(certificates: Certificates) -> Self {
        Self { certificates, pods: HashMap::new() }
    }

    /// A pod of this node needs its identity. Says whether the pod is new.
    ///
    /// In Kubernetes a pod keeps its service account, but a pod in a file, without a uid, may be given another.
    pub(super) fn hold(&mut self, workload: &Arc<Workload>) -> bool {
        match self.pods.insert(workload.uid.clone(), Arc::clone(workload)) {
            Some(before) if before.identity == workload.identity => false,
            Some(before) => {
                self.certificates.hold(&workload.identity);
                self.certificates.release(&before.identity);
                false
            }
            None => {
                self.certificates.hold(&workload.identity);
                true
            }
        }
    }

    /// The pod as it was last seen.
    pub(super) fn pod(&self, uid: &WorkloadUid) -> Option<&Arc<Workload>> {
        self.pods.get(uid)
    }

    /// The pod needs its identity no more.
    pub(super) fn release(&mut self, uid: &WorkloadUid) {
        if let Some(workload) = self.pods.remove(uid) {
            self.certificates.release(&workload.identity);
        }
    }

    /// The pods that are to be released. One that still is to be in the mesh on this node, but lacks what enrolment needs,
    /// keeps what is in force.
    pub(super) fn gone(&self, snapshot: &Snapshot) -> Vec<WorkloadUid> {
        let wanted: HashSet<_> = snapshot.local_pods().iter().map(|workload| &workload.uid).collect();
        let mut gone: Vec<_> = self.pods.values().filter(|workload| !wanted.contains(&workload.uid)).collect();
        if !gone.is_empty() {
            // The whole mesh is looked at only here: most changes release nobody.
            let enrolled = |workload: &&&Arc<Workload>| workload.membership == Membership::Enrolled;
            let all = snapshot.workloads();
            let lacking: HashSet<_> = all.iter().filter(enrolled).map(|w| (&w.uid, &w.node)).collect();
            // By node too: without a uid, a pod of this name on another node looks like the same pod.
            gone.retain(|workload| !lacking.contains(&(&workload.uid, &workload.node)));
        }
        gone.into_iter().map(|workload| workload.uid.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{
        ca::{LocalCa, LocalCaSettings},
        config::yaml::split,
        identify::{Clock, TlsSettings, TrustDomains},
        mesh::{MeshSettings, compile},
        objects::{ObjectSet, objects_of},
    };

    const NAMESPACE: &str =
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {heddle.io/mesh: enabled}}}\n";

    /// One agent's view: what `node-a` holds after each state of the objects.
    struct View {
        held: Held,
        certificates: Certificates,
    }

    impl View {
        fn new() -> Self {
            let domain: crate::mesh::TrustDomain = "cluster.local".parse().unwrap();
            let ca = LocalCa::in_memory(LocalCaSettings::new(domain.clone())).unwrap();
            let settings = TlsSettings::new(TrustDomains::new(domain, []), Clock::system());
            let (certificates, _renewal) = Certificates::new(Arc::new(ca), settings);
            Self { held: Held::new(certificates.clone()), certificates }
        }

        /// What `Pods` does with a snapshot, without the kernel. Names the service accounts held afterwards.
        fn follow(&mut self, objects: &str) -> Vec<String> {
            let snapshot = snapshot(objects);
            for uid in self.held.gone(&snapshot) {
                self.held.release(&uid);
            }
            for workload in snapshot.local_pods() {
                self.held.hold(workload);
            }
            self.certificates.status().iter().map(|held| held.id.service_account().to_string()).collect()
        }
    }

    fn snapshot(text: &str) -> Snapshot {
        let text = format!("{NAMESPACE}{text}");
        let mut set = ObjectSet::default();
        for document in split(&text) {
            for object in objects_of("f", &text, &document.parse("f", &text).unwrap()) {
                set.insert(object);
            }
        }
        let settings = MeshSettings {
            node: "node-a".into(),
            trust_domain: "cluster.local".parse().unwrap(),
            root_namespace: "heddle-system".into(),
        };
        compile(&set, &settings).snapshot
    }

    /// Without a uid, as in a file; its address is on one node or the other.
    fn pod(name: &str, account: &str, node: &str, more: &str) -> String {
        let address = name.bytes().map(u32::from).sum::<u32>() % 250;
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, annotations: \
             {{heddle.io/netns: /run/netns/{name}}}}}\nspec: {{nodeName: {node}, serviceAccountName: {account}}}\n\
             status: {{podIP: 10.0.0.{address}{more}}}\n"
        )
    }

    #[test]
    fn only_identities_of_pods_of_this_node_are_held() {
        let mut view = View::new();
        let held = view.follow(&(pod("p", "web", "node-a", "") + &pod("q", "db", "node-b", "")));
        assert_eq!(held, ["web"]);
    }

    #[test]
    fn an_identity_goes_with_its_last_pod() {
        let mut view = View::new();
        let (one, two) = (pod("p", "web", "node-a", ""), pod("q", "web", "node-a", ""));
        assert_eq!(view.follow(&(one + &two)), ["web"]);
        assert_eq!(view.follow(&two), ["web"]);
        assert_eq!(view.follow(""), [""; 0]);
    }

    #[test]
    fn a_pod_that_has_ended_or_left_the_mesh_holds_nothing() {
        let mut view = View::new();
        assert_eq!(view.follow(&pod("p", "web", "node-a", "")), ["web"]);
        assert_eq!(view.follow(&pod("p", "web", "node-a", ", phase: Succeeded")), [""; 0]);
        assert_eq!(view.follow(&pod("p", "web", "node-a", "")), ["web"]);
        let out = pod("p", "web", "node-a", "")
            .replace("namespace: shop", "namespace: shop, labels: {heddle.io/mesh: disabled}");
        assert_eq!(view.follow(&out), [""; 0]);
    }

    #[test]
    fn a_pod_with_another_service_account_lets_go_of_the_first_and_of_nobody_elses() {
        let mut view = View::new();
        let other = pod("q", "db", "node-a", "");
        assert_eq!(view.follow(&(pod("p", "web", "node-a", "") + &other)), ["db", "web"]);
        assert_eq!(view.follow(&(pod("p", "db", "node-a", "") + &other)), ["db"]);
        assert_eq!(view.follow(&other), ["db"], "the hold of q is its own");
        assert_eq!(view.follow(""), [""; 0]);
    }

    #[test]
    fn a_pod_of_this_name_on_another_node_is_another_pod() {
        let mut view = View::new();
        assert_eq!(view.follow(&pod("p", "web", "node-a", "")), ["web"]);
        assert_eq!(view.follow(&pod("p", "web", "node-b", "")), [""; 0]);
    }

    #[test]
    fn a_pod_that_lacks_what_enrolment_needs_keeps_what_is_in_force() {
        let mut view = View::new();
        assert_eq!(view.follow(&pod("p", "web", "node-a", "")), ["web"]);
        let broken = pod("p", "web", "node-a", "").replace("/run/netns/p", "nowhere");
        assert!(snapshot(&broken).local_pods().is_empty(), "the control");
        assert_eq!(view.follow(&broken), ["web"]);
        assert_eq!(view.follow(""), [""; 0]);
    }
}
