//! A Service and its EndpointSlices, as objects only: no one translates cluster IPs here but the agent under test.
//!
//! Cluster IPs are 10.96.x.y and fd96::z; pods have a default route towards them and nodes have none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde_json::{Value, json};

use super::objects::Objects;
use super::pod::Pod;

/// A Service of a bed.
pub struct Service {
    objects: Objects,
    namespace: String,
    name: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    ports: Vec<(u16, u16)>,
    object: Value,
}

impl Service {
    pub(super) fn write(objects: &Objects, namespace: &str, name: &str, ports: &[(u16, u16)]) -> Result<Self> {
        let [.., high, low] = objects.serial().to_be_bytes();
        let service = Self {
            objects: objects.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            v4: Ipv4Addr::new(10, 96, high, low),
            v6: Ipv6Addr::new(0xfd96, 0, 0, 0, 0, 0, 0, u16::from_be_bytes([high, low])),
            ports: ports.to_vec(),
            object: Value::Null,
        };
        let listed = ports.iter().map(
            |(port, target)| json!({"name": format!("p{port}"), "protocol": "TCP", "port": port, "targetPort": target}),
        );
        let object = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "uid": objects.fresh_uid()},
            "spec": {
                "type": "ClusterIP", "clusterIP": service.v4, "clusterIPs": [service.v4, service.v6],
                "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack",
                "selector": {"app": name}, "ports": listed.collect::<Vec<Value>>(),
            },
        });
        objects.ensure_namespace(namespace)?;
        objects.put(&object)?;
        Ok(Self { object, ..service })
    }

    /// Writes it again with one more key of its spec.
    pub fn specify(&self, key: &str, value: impl Into<Value>) -> Result<()> {
        let mut object = self.object.clone();
        object["spec"][key] = value.into();
        self.objects.put(&object)
    }

    /// A port at its IPv4 cluster IP.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.v4, port).into()
    }

    /// A port at its IPv6 cluster IP.
    #[must_use]
    pub fn at6(&self, port: u16) -> SocketAddr {
        (self.v6, port).into()
    }

    /// Makes these pods, all ready, its only endpoints.
    pub fn backends(&self, pods: &[&Pod]) -> Result<()> {
        let ready: Vec<(&Pod, bool)> = pods.iter().map(|pod| (*pod, true)).collect();
        self.backends_with(&ready)
    }

    /// Makes these pods its only endpoints, each ready or not.
    pub fn backends_with(&self, pods: &[(&Pod, bool)]) -> Result<()> {
        let conditions = |ready| json!({"conditions": {"ready": ready, "serving": ready, "terminating": false}});
        let endpoints: Vec<(&Pod, Value)> = pods.iter().map(|(pod, ready)| (*pod, conditions(*ready))).collect();
        self.endpoints(&endpoints)
    }

    /// Makes these pods its only endpoints, with `conditions` and `hints` as given.
    pub fn endpoints(&self, pods: &[(&Pod, Value)]) -> Result<()> {
        self.put_slice("IPv4", pods, |pod| pod.v4().into())?;
        self.put_slice("IPv6", pods, |pod| pod.v6().into())
    }

    /// Removes the Service and its EndpointSlices, as far as they were written.
    pub fn remove(&self) -> Result<()> {
        for family in ["ipv4", "ipv6"] {
            // Without backends() there is none.
            let _ = self.objects.remove("EndpointSlice", &self.namespace, &format!("{}-{family}", self.name));
        }
        self.objects.remove("Service", &self.namespace, &self.name)
    }

    fn put_slice(&self, family: &str, pods: &[(&Pod, Value)], address: impl Fn(&Pod) -> IpAddr) -> Result<()> {
        let endpoints = pods.iter().map(|(pod, fields)| {
            let mut endpoint = fields.clone();
            endpoint["addresses"] = json!([address(pod)]);
            endpoint["nodeName"] = json!(pod.node().name());
            endpoint["targetRef"] =
                json!({"kind": "Pod", "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()});
            endpoint
        });
        let ports = self
            .ports
            .iter()
            .map(|(port, target)| json!({"name": format!("p{port}"), "protocol": "TCP", "port": target}));
        self.objects.put(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{}", self.name, family.to_lowercase()), "namespace": self.namespace,
                "labels": {"kubernetes.io/service-name": self.name},
            },
            "addressType": family,
            "endpoints": endpoints.collect::<Vec<_>>(),
            "ports": ports.collect::<Vec<_>>(),
        }))
    }
}
