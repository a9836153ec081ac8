//! What the tests of several steps share: a workload with little in it, and a snapshot of a text.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use super::{Membership, MeshSettings, Snapshot, Workload, WorkloadUid, compile};
use crate::objects;

/// An enrolled pod `web` at 10.0.0.1 with these labels.
pub(crate) fn pod(namespace: &str, labels: &[(&str, &str)]) -> Workload {
    Workload {
        uid: WorkloadUid(format!("{namespace}/web").into()),
        name: "web".into(),
        namespace: namespace.into(),
        service_account: "web".into(),
        node: "node-a".into(),
        identity: format!("spiffe://cluster.local/ns/{namespace}/sa/web").parse().unwrap(),
        addresses: ["10.0.0.1".parse().unwrap()].into(),
        membership: Membership::Enrolled,
        owner: "web".into(),
        app: "web".into(),
        version: "".into(),
        canonical_service: "web".into(),
        canonical_revision: "latest".into(),
        labels: Arc::new(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        opaque_ports: Arc::default(),
        local: None,
    }
}

/// A mesh whose node is `node-a`.
pub(crate) fn settings() -> MeshSettings {
    MeshSettings {
        node: "node-a".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        root_namespace: "heddle-system".into(),
    }
}

/// What a text of Kubernetes objects and mesh documents means; all of it must be accepted.
pub(crate) fn snapshot(text: &str) -> Snapshot {
    let (objects, problems) = objects::read_text("mesh.yaml", text);
    assert_eq!(problems, []);
    let compiled = compile(&objects, &settings());
    assert_eq!(compiled.problems, []);
    for status in &compiled.documents {
        assert_eq!(status.state.as_str(), "accepted", "{status}");
    }
    compiled.snapshot
}
