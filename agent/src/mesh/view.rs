//! A snapshot as JSON, for `/config`: the shape that people and scripts read, apart from the types that decide.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{
    AppliedLimits, Endpoint, LocalPod, Membership, Netns, Service, ServiceKind, ServicePort, Snapshot, Workload,
};
use crate::{
    rules::{Rule, RuleKey, Spec, destination_rule::PortSettings},
    shares::SaidShare,
};

#[derive(Serialize)]
struct SnapshotView<'a> {
    generation: u64,
    workloads: Vec<WorkloadView<'a>>,
    services: Vec<ServiceView<'a>>,
    rules: Vec<RuleView<'a>>,
}

#[derive(Serialize)]
struct RuleView<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
    spec: &'a Spec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkloadView<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    node: &'a str,
    service_account: &'a str,
    identity: String,
    addresses: &'a [IpAddr],
    membership: &'static str,
    owner: &'a str,
    app: &'a str,
    version: &'a str,
    canonical_service: &'a str,
    canonical_revision: &'a str,
    #[serde(skip_serializing_if = "<[u16]>::is_empty")]
    opaque_ports: &'a [u16],
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<LocalView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LocalView<'a> {
    netns: String,
    exclude_inbound_ports: &'a [u16],
    exclude_outbound_ports: &'a [u16],
    exclude_outbound_cidrs: &'a [IpNet],
    #[serde(skip_serializing_if = "SaidShare::is_empty")]
    share: SaidShare,
}

#[derive(Serialize)]
struct ServiceView<'a> {
    namespace: &'a str,
    name: &'a str,
    kind: &'static str,
    addresses: &'a [IpAddr],
    ports: Vec<PortView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PortView<'a> {
    port: u16,
    name: &'a str,
    family: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_protocol: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_affinity_seconds: Option<u64>,
    endpoints: &'static str,
    ready: Vec<EndpointView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<SettingsView<'a>>,
}

/// What documents say of a port for clients whose own namespace has no rule for it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SettingsView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic_policy: Option<&'a PortSettings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend_traffic_policy: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rate_limits: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
}

#[derive(Serialize)]
struct EndpointView {
    address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<String>,
}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let view = SnapshotView {
            generation: self.generation,
            workloads: self.workloads().into_iter().map(|workload| workload_view(workload)).collect(),
            services: self.services().map(|service| service_view(self, service)).collect(),
            rules: self.rules().values().map(|rule| rule_view(rule)).collect(),
        };
        view.serialize(serializer)
    }
}

fn rule_view(rule: &Rule) -> RuleView<'_> {
    let RuleKey { kind, name } = &rule.key;
    RuleView { kind: kind.as_str(), namespace: &name.namespace, name: &name.name, spec: &rule.spec }
}

fn workload_view(workload: &Workload) -> WorkloadView<'_> {
    WorkloadView {
        namespace: &workload.namespace,
        name: &workload.name,
        uid: &workload.uid.0,
        node: &workload.node,
        service_account: &workload.service_account,
        identity: workload.identity.to_string(),
        addresses: &workload.addresses,
        membership: match workload.membership {
            Membership::Enrolled => "enrolled",
            Membership::Outside => "outside",
        },
        owner: &workload.owner,
        app: &workload.app,
        version: &workload.version,
        canonical_service: &workload.canonical_service,
        canonical_revision: &workload.canonical_revision,
        opaque_ports: &workload.opaque_ports,
        local: workload.local.as_deref().map(local_view),
    }
}

fn local_view(local: &LocalPod) -> LocalView<'_> {
    LocalView {
        netns: match &local.netns {
            Netns::Path(path) => path.display().to_string(),
            Netns::OfUid => "of the pod's uid".to_owned(),
        },
        exclude_inbound_ports: &local.rules.exclude_inbound_ports,
        exclude_outbound_ports: &local.rules.exclude_outbound_ports,
        exclude_outbound_cidrs: &local.rules.exclude_outbound_cidrs,
        share: local.share,
    }
}

fn service_view<'a>(snapshot: &'a Snapshot, service: &'a Service) -> ServiceView<'a> {
    ServiceView {
        namespace: &service.name.namespace,
        name: &service.name.name,
        kind: match service.kind {
            ServiceKind::ClusterIp => "ClusterIP",
            ServiceKind::Headless => "headless",
            ServiceKind::ExternalName => "ExternalName",
        },
        addresses: &service.addresses,
        ports: service.ports.iter().map(|port| port_view(snapshot, port)).collect(),
    }
}

fn port_view<'a>(snapshot: &'a Snapshot, port: &'a ServicePort) -> PortView<'a> {
    PortView {
        port: port.port,
        name: &port.name,
        family: match port.family {
            super::AddressFamily::V4 => "IPv4",
            super::AddressFamily::V6 => "IPv6",
        },
        app_protocol: port.app_protocol.as_deref(),
        client_affinity_seconds: port.client_affinity.map(|timeout| timeout.as_secs()),
        endpoints: port.ready.choice().as_str(),
        ready: port.ready.iter().map(|endpoint| endpoint_view(snapshot, endpoint)).collect(),
        settings: settings_view(snapshot, port),
    }
}

fn settings_view<'a>(snapshot: &'a Snapshot, port: &ServicePort) -> Option<SettingsView<'a>> {
    let service = &port.service;
    let rule = snapshot.destination_rule(service, &service.namespace);
    let policy = snapshot.backend_policy_name(service);
    let limits = snapshot.rate_limits_of_service(service);
    let fallback = snapshot.fallback(service, port.port);
    let says_something = rule.is_some() || policy.is_some() || !limits.is_empty() || fallback.is_some();
    says_something.then(|| SettingsView {
        destination_rule: rule.map(|rule| rule.document.to_string()),
        traffic_policy: rule.map(|rule| &**rule.of_port(port.port)),
        backend_traffic_policy: policy.map(ToString::to_string),
        rate_limits: limits.into_iter().map(|AppliedLimits { document, .. }| document.to_string()).collect(),
        fallback: fallback.map(ToString::to_string),
    })
}

fn endpoint_view(snapshot: &Snapshot, endpoint: Endpoint) -> EndpointView {
    let name = |workload: &Arc<Workload>| format!("{}/{}", workload.namespace, workload.name);
    EndpointView { address: endpoint.address, workload: snapshot.workload(endpoint.address.ip()).map(name) }
}
