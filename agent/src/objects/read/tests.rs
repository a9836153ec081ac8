//! Tests of reading objects out of YAML documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::{config::yaml::split, objects::*};

fn outcomes(text: &str) -> Vec<Outcome> {
    let documents = split(text);
    documents.iter().flat_map(|document| read("f.yaml", text, &document.parse("f.yaml", text).unwrap())).collect()
}

fn only_object(text: &str) -> Object {
    match outcomes(text).as_slice() {
        [Outcome::Read(object, _)] => object.clone(),
        other => panic!("{other:?}"),
    }
}

fn problems(text: &str) -> Vec<String> {
    match outcomes(text).as_slice() {
        [Outcome::Broken(_, problems)] => {
            problems.iter().map(|p| p.to_string().lines().next().unwrap().into()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn full_pod_is_read() {
    let text = r#"
apiVersion: v1
kind: Pod
metadata:
  name: web-7d4-x
  namespace: shop
  uid: 0b1c
  generateName: web-
  labels: {app: web, empty: }
  annotations: {heddle.io/netns: /run/netns/web, example.org/notes: long}
  creationTimestamp: 2025-01-31T12:00:00Z
  deletionTimestamp: "2025-01-31T13:00:00Z"
  ownerReferences:
  - {apiVersion: v1, kind: Other, name: first}
  - {apiVersion: apps/v1, kind: ReplicaSet, name: web-7d4, controller: true, uid: x}
spec:
  nodeName: node-a
  serviceAccountName: web
  hostNetwork: true
  containers: [{name: c, image: i, livenessProbe: {tcpSocket: {port: 80}}}]
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
  conditions: [{type: Initialized, status: "True"}, {type: Ready, status: "True"}]
"#;
    let Object::Pod(pod) = only_object(text) else { panic!("not a pod") };
    let expected = Pod {
        name: ObjectName::new("shop", "web-7d4-x"),
        uid: Some("0b1c".into()),
        labels: Map::from([("app", "web"), ("empty", "")].map(|(k, v)| (k.into(), v.into()))).into(),
        annotations: Map::from([("heddle.io/netns".into(), "/run/netns/web".into())]).into(),
        owner: Some(OwnerReference { kind: "ReplicaSet".into(), name: "web-7d4".into() }.into()),
        created: Some(humantime::parse_rfc3339("2025-01-31T12:00:00Z").unwrap()),
        deleting: true,
        node: Some("node-a".into()),
        service_account: Some("web".into()),
        host_network: true,
        phase: PodPhase::Running,
        probed_ports: [80].into(),
        addresses: ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()].into(),
        ready: true,
    };
    assert_eq!(*pod, expected);
}

#[test]
fn bare_pod_gets_the_defaults_of_kubernetes() {
    let Object::Pod(pod) = only_object("{apiVersion: v1, kind: Pod, metadata: {name: a}, status: {podIP: 10.0.0.9}}")
    else {
        panic!("not a pod")
    };
    assert_eq!(pod.name, ObjectName::new("default", "a"));
    assert_eq!(*pod.addresses, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
    assert_eq!((pod.phase, pod.ready, pod.host_network, pod.uid.is_none()), (PodPhase::Running, false, false, true));
}

#[test]
fn the_ports_are_read_that_the_kubelet_connects_to() {
    let probed = |spec: &str| {
        let status = "status: {podIPs: [{ip: 10.0.0.9}, {ip: 'fd00::9'}]}";
        let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {spec}, {status}}}");
        let Object::Pod(pod) = only_object(&text) else { panic!("not a pod") };
        pod.probed_ports.to_vec()
    };
    let ports = "ports: [{name: web, containerPort: 8080}, {name: '81', containerPort: 8181}, {containerPort: 9}]";
    for (what, container, expected) in [
        ("HTTP, by name", "livenessProbe: {httpGet: {port: web, path: /}}", &[8080_u16][..]),
        ("TCP, by number", "readinessProbe: {tcpSocket: {port: 5432}}", &[5432]),
        ("gRPC", "startupProbe: {grpc: {port: 50051, service: s}}", &[50051]),
        ("a name of digits is a name first", "livenessProbe: {tcpSocket: {port: '81'}}", &[8181]),
        ("digits that are no name", "livenessProbe: {tcpSocket: {port: '82'}}", &[82]),
        ("a name that no port has", "livenessProbe: {tcpSocket: {port: nobody}}", &[]),
        ("a command", "livenessProbe: {exec: {command: ['true']}}", &[]),
        ("hooks", "lifecycle: {postStart: {httpGet: {port: 2}}, preStop: {tcpSocket: {port: 1}}}", &[1, 2]),
        ("the pod's own address", "livenessProbe: {httpGet: {port: web, host: 'fd00::9'}}", &[8080]),
        ("an empty host", "livenessProbe: {httpGet: {port: web, host: ''}}", &[8080]),
        ("another host", "livenessProbe: {httpGet: {port: web, host: 10.0.0.8}}", &[]),
        ("once each", "livenessProbe: {grpc: {port: 3}}, readinessProbe: {tcpSocket: {port: 3}}", &[3]),
    ] {
        assert_eq!(probed(&format!("{{containers: [{{name: c, {ports}, {container}}}]}}")), expected, "{what}");
        let sidecar = format!("{{initContainers: [{{name: c, restartPolicy: Always, {ports}, {container}}}]}}");
        assert_eq!(probed(&sidecar), expected, "a sidecar: {what}");
        assert_eq!(probed(&format!("{{initContainers: [{{name: c, {ports}, {container}}}]}}")), [0; 0], "{what}");
    }
    let two = "{containers: [{name: a, ports: [{name: p, containerPort: 1}]},
                {name: b, ports: [{name: p, containerPort: 2}], livenessProbe: {tcpSocket: {port: p}}}]}";
    assert_eq!(probed(two), [2], "names are of the container");
}

#[test]
fn full_service_is_read() {
    let text = r#"
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
 "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00:96::1"],
  "publishNotReadyAddresses": true, "selector": {"app": "web"},
  "ports": [{"name": "http", "port": 80, "targetPort": "web", "appProtocol": "http"},
            {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"}]}}"#;
    let Object::Service(service) = only_object(text) else { panic!("not a service") };
    assert_eq!(service.kind, ServiceKind::LoadBalancer);
    assert_eq!(service.cluster_ips.len(), 2);
    assert!(service.publish_not_ready);
    assert_eq!(service.selector["app"], "web");
    let http = &service.ports[0];
    assert_eq!((&*http.name, http.port, http.protocol), ("http", 80, Protocol::Tcp));
    assert_eq!(
        (http.target.clone(), http.app_protocol.as_deref()),
        (Some(TargetPort::Name("web".into())), Some("http"))
    );
    assert_eq!(
        (service.ports[1].protocol, service.ports[1].target.clone()),
        (Protocol::Udp, Some(TargetPort::Number(5353)))
    );
}

#[test]
fn headless_service_has_no_cluster_ip() {
    for spec in ["{clusterIP: None}", "{clusterIP: None, clusterIPs: [None]}", "{clusterIP: \"\"}", "{}"] {
        let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {spec}}}");
        let Object::Service(service) = only_object(&text) else { panic!("not a service") };
        assert!(service.cluster_ips.is_empty(), "{spec}");
    }
}

#[test]
fn full_endpoint_slice_is_read() {
    let text = r#"
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}, {name: any, port: null}]
endpoints:
- addresses: [10.0.0.1]
  nodeName: node-a
  zone: z1
  hints: {forZones: [{name: z1}, {name: z2}], forNodes: [{name: node-a}]}
  targetRef: {kind: Pod, name: web-x, namespace: shop}
- addresses: [10.0.0.2, 10.0.0.3]
  conditions: {ready: false, serving: true, terminating: true}
"#;
    let Object::EndpointSlice(slice) = only_object(text) else { panic!("not a slice") };
    assert_eq!(slice.service.as_deref(), Some("web"));
    assert_eq!((slice.ports[0].port, slice.ports[1].port), (Some(8080), None));
    let [first, second, third] = slice.endpoints.as_slice() else { panic!("{slice:?}") };
    assert_eq!((first.ready, first.serving, first.terminating), (true, true, false), "absent conditions");
    let place = Place {
        node: Some("node-a".into()),
        zone: Some("z1".into()),
        hinted_zones: vec!["z1".into(), "z2".into()],
        hinted_nodes: vec!["node-a".into()],
    };
    assert_eq!(*first.place, place);
    assert_eq!((second.ready, second.serving, second.terminating), (false, true, true));
    assert_eq!(*third, SliceEndpoint { address: "10.0.0.3".parse().unwrap(), ..second.clone() });
    assert_eq!(*second.place, Place::default());
}

#[test]
fn where_connections_may_go_is_read() {
    let cases = [
        ("{}", (None, false, TrafficDistribution::Any)),
        ("{sessionAffinity: None, internalTrafficPolicy: Cluster}", (None, false, TrafficDistribution::Any)),
        (
            "{sessionAffinity: ClientIP, trafficDistribution: PreferClose}",
            (Some(10_800), false, TrafficDistribution::SameZone),
        ),
        (
            "{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}, internalTrafficPolicy: Local}",
            (Some(5), true, TrafficDistribution::Any),
        ),
        ("{trafficDistribution: PreferSameZone}", (None, false, TrafficDistribution::SameZone)),
        ("{trafficDistribution: PreferSameNode}", (None, false, TrafficDistribution::SameNode)),
    ];
    for (spec, expected) in cases {
        let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {spec}}}");
        let Object::Service(service) = only_object(&text) else { panic!("not a service") };
        let affinity = service.client_affinity.map(|timeout| timeout.as_secs());
        assert_eq!((affinity, service.local_only, service.distribution), expected, "{spec}");
    }
    let bad = "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {trafficDistribution: Near, sessionAffinity: Cookie}}";
    let expected = [
        "f.yaml:1:82: spec.trafficDistribution: found \"Near\", allowed: PreferSameZone, PreferSameNode or PreferClose",
        "f.yaml:1:105: spec.sessionAffinity: found \"Cookie\", allowed: None or ClientIP",
    ];
    assert_eq!(problems(bad), expected);
}

#[test]
fn lists_and_foreign_kinds() {
    let text = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {a: b}}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}}
- {apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: web}}
---
apiVersion: v1
kind: List
items:
";
    let found = outcomes(text);
    assert!(matches!(&found[0], Outcome::Read(Object::Namespace(ns), _) if &*ns.name == "shop"));
    assert_eq!(found[1..], [Outcome::Ignored, Outcome::Ignored]);
}

#[test]
fn every_problem_of_an_object_is_reported_and_names_it() {
    let text = "\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: ClusterIp
  clusterIPs: [10.0.0.300]
  selector: {version: 1.10}
  ports: [{port: 0}, {name: x}, {port: http}]
";
    let expected = [
        "f.yaml:5:9: spec.type: found \"ClusterIp\", allowed: ClusterIP, NodePort, LoadBalancer or ExternalName",
        "f.yaml:6:16: spec.clusterIPs[0]: found \"10.0.0.300\", allowed: an IP address or None",
        "f.yaml:7:23: spec.selector.version: found the number 1.1, allowed: text (quote numbers and booleans)",
        "f.yaml:8:18: spec.ports[0].port: found the number 0, allowed: a port number from 1 to 65535",
        "f.yaml:8:22: spec.ports[1].port: missing, must be a port number from 1 to 65535",
        "f.yaml:8:40: spec.ports[2].port: found \"http\", allowed: a port number from 1 to 65535",
    ];
    assert_eq!(problems(text), expected);
    let key = ObjectKey { kind: Kind::Service, name: ObjectName::new("default", "web") };
    assert!(matches!(outcomes(text).as_slice(), [Outcome::Broken(Some(found), _)] if *found == key));
}

#[test]
fn documents_that_are_no_objects() {
    let cases = [
        ("[1, 2]", "f.yaml:1:1: document: found a list, allowed: a map of keys and values"),
        ("a: 1", "f.yaml:1:1: is not a Kubernetes object: apiVersion and kind must be there"),
        ("{apiVersion: v1, kind: Pod}", "f.yaml:1:1: metadata: missing, must be a map with a name"),
        ("{apiVersion: v1, kind: Pod, metadata: {}}", "f.yaml:1:39: metadata.name: missing, must be the object's name"),
        (
            "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}}",
            "f.yaml:1:1: addressType: missing, must be IPv4, IPv6 or FQDN",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(problems(text), [expected], "{text}");
    }
}

proptest! {
    #[test]
    fn no_value_under_any_field_panics(value in "[a-z0-9{}\\[\\]:,&*!'\" -]{0,24}", field in 0..8usize) {
        let field = ["metadata", "spec", "status", "endpoints", "ports", "addressType", "items", "kind"][field];
        for kind in ["Pod", "Service", "EndpointSlice", "Namespace", "List"] {
            let version = if kind == "EndpointSlice" { "discovery.k8s.io/v1" } else { "v1" };
            let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n{field}: {value}\n");
            for document in split(&text) {
                let _ = document.parse("f", &text).map(|node| read("f", &text, &node));
            }
        }
    }
}
