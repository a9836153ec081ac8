//! Tests of what may be left to the kernel, by the client's side.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, time::SystemTime};

use super::*;
use crate::{
    config::yaml::split,
    mesh::{MeshSettings, compile},
    objects::{ConfigMap, Object, ObjectName, ObjectSet, objects_of},
};

const MESH: &str = "\
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {heddle.io/mesh: enabled}}}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80, targetPort: 9000}]}
";

const DISABLED: &str = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: cart, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, portLevelMtls: {9001: {mode: DISABLE}}}
";

fn pod(name: &str, node: &str, address: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}{more}}}, annotations: \
         {{heddle.io/netns: /run/netns/{name}, heddle.io/opaque-ports: \"9000,9001,15008\"}}}}\n\
         spec: {{nodeName: {node}, serviceAccountName: {name}}}\nstatus: {{podIP: {address}}}\n"
    )
}

fn mesh() -> Snapshot {
    let out = ", heddle.io/mesh: disabled";
    let pods = pod("web", "node-a", "10.0.0.1", "")
        + &pod("cart", "node-a", "10.0.0.2", "")
        + &pod("far", "node-b", "10.0.1.1", "")
        + &pod("old", "node-a", "10.0.0.3", out);
    let text = format!("{MESH}{pods}");
    let mut set = ObjectSet::default();
    for document in split(&text) {
        for object in objects_of("f", &text, &document.parse("f", &text).unwrap()) {
            set.insert(object);
        }
    }
    set.insert(Object::ConfigMap(Arc::new(ConfigMap {
        name: ObjectName::new("shop", "mesh"),
        uid: None,
        created: Some(SystemTime::UNIX_EPOCH),
        data: BTreeMap::from([("a".to_owned(), DISABLED.into())]),
    })));
    let settings = MeshSettings {
        node: "node-a".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        root_namespace: "heddle-system".into(),
    };
    compile(&set, &settings).snapshot
}

/// In one word.
fn asked(snapshot: &Snapshot, setting: FastPath, to: &str) -> String {
    let source = snapshot.workload([10, 0, 0, 1].into()).unwrap();
    match goal(setting, snapshot, &Learned::default(), source, to.parse().unwrap()) {
        Ok(Goal::Pod(pod)) => format!("to {}", pod.name),
        Ok(Goal::Outside) => "outside".to_owned(),
        Err(why) => format!("{why:?}"),
    }
}

#[test]
fn only_bytes_to_a_pod_of_the_node_or_out_of_the_mesh_may_be_left_to_the_kernel() {
    let snapshot = mesh();
    for (to, all, outside_only) in [
        ("10.0.0.2:9000", "to cart", "Off"),
        ("192.0.2.1:443", "outside", "outside"),
        ("10.0.0.3:9000", "outside", "outside"),
        ("10.0.0.3:80", "MayCarryRequests", "MayCarryRequests"),
        ("10.0.0.2:80", "MayCarryRequests", "MayCarryRequests"),
        ("10.0.0.2:9001", "Disabled", "Disabled"),
        ("10.0.0.2:15008", "AgentPort", "Off"),
        ("10.0.1.1:9000", "OtherNode", "OtherNode"),
        ("10.0.0.1:9000", "Itself", "Itself"),
        ("10.96.0.1:80", "Service", "Service"),
        ("10.96.0.1:81", "NoRoute", "NoRoute"),
    ] {
        assert_eq!(asked(&snapshot, FastPath::All, to), all, "{to}");
        assert_eq!(asked(&snapshot, FastPath::OutsideMesh, to), outside_only, "{to}");
        assert_eq!(asked(&snapshot, FastPath::Off, to), "Off", "{to}");
    }
}
