//! Tests of the way to an endpoint.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{mesh::testing, route};

const PODS: &str = "
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: client, labels: {heddle.io/mesh: enabled}}, spec: {nodeName: node-b}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web, labels: {app: web, heddle.io/mesh: enabled}}, spec: {nodeName: node-b}, status: {podIPs: [{ip: 10.0.0.2}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: out, labels: {app: out}}, spec: {nodeName: node-b}, status: {podIPs: [{ip: 10.0.0.3}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.1.0.1, ports: [{port: 80, targetPort: 8080}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 8080}], endpoints: [{addresses: [10.0.0.2]}]}
---
";

/// The way from the pod `client` to an address.
fn way(documents: &str, to: &str) -> Way {
    let snapshot = testing::snapshot(&(PODS.to_owned() + documents));
    let source = Arc::clone(snapshot.workload("10.0.0.1".parse().unwrap()).unwrap());
    let route = route::route(&snapshot, to.parse().unwrap()).unwrap();
    let (balancer, client) = (Balancer::default(), "10.0.0.1".parse().unwrap());
    let chooser = Chooser { balancer: &balancer, snapshot: &snapshot, source: &source, client };
    chooser.candidates(&route, &Wanted::default()).unwrap().0.first.way
}

fn document(spec: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{namespace: shop, name: x}}, spec: {spec}}}"
    )
}

#[test]
fn an_endpoint_is_reached_in_plaintext_only_where_no_tunnel_may_be_or_a_document_says_so() {
    let tunnel = || Way::Tunnel("spiffe://cluster.local/ns/shop/sa/default".parse().unwrap());
    let web = |ports: &str| document(&format!("{{selector: {{matchLabels: {{app: web}}}}, {ports}}}"));
    let everywhere = document("{mtls: {mode: DISABLE}}");
    let only_8080 = web("portLevelMtls: {8080: {mode: DISABLE}}");
    let table = [
        ("", "10.0.0.2:8080", tunnel()),
        ("", "10.1.0.1:80", tunnel()),
        ("", "10.0.0.1:8080", Way::Plain(WhyPlain::Itself)),
        ("", "10.0.0.3:8080", Way::Plain(WhyPlain::OutsideMesh)),
        ("", "192.0.2.1:80", Way::Plain(WhyPlain::OutsideMesh)),
        (&document("{mtls: {mode: STRICT}}"), "10.0.0.2:8080", tunnel()),
        (&document("{mtls: {mode: PERMISSIVE}}"), "10.0.0.2:8080", tunnel()),
        (&everywhere, "10.0.0.2:8080", Way::Plain(WhyPlain::Disabled)),
        (&everywhere, "10.1.0.1:80", Way::Plain(WhyPlain::Disabled)),
        (&everywhere, "10.0.0.1:8080", Way::Plain(WhyPlain::Itself)),
        (&everywhere, "10.0.0.3:8080", Way::Plain(WhyPlain::OutsideMesh)),
        (&only_8080, "10.0.0.2:8080", Way::Plain(WhyPlain::Disabled)),
        (&only_8080, "10.0.0.2:80", tunnel()),
        // The port of the pod counts, and not that of the Service.
        (&only_8080, "10.1.0.1:80", Way::Plain(WhyPlain::Disabled)),
        (&web("portLevelMtls: {80: {mode: DISABLE}}"), "10.1.0.1:80", tunnel()),
    ];
    for (documents, to, expected) in table {
        assert_eq!(way(documents, to), expected, "{to} with {documents}");
    }
}
