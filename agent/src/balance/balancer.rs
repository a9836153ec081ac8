//! Stand-in until the branch `balance` lands.
#![expect(missing_docs, reason = "stand-in")]
use super::{Answered, NoEndpoint, random};
use crate::{
    mesh::ServicePort,
    rules::destination_rule::{LoadBalancer, OutlierDetection},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};
#[derive(Default)]
pub struct Balancer;
pub struct Ask<'a> {
    pub port: &'a Arc<ServicePort>,
    pub load_balancer: Option<&'a LoadBalancer>,
    pub outliers: Option<&'a OutlierDetection>,
    pub hash: Option<u64>,
    pub client: IpAddr,
    pub sticky: Option<SocketAddr>,
    pub excluded: &'a [SocketAddr],
    pub now: Instant,
}
pub struct Lease(SocketAddr);
impl Balancer {
    pub fn pick(&self, ask: &Ask<'_>) -> Result<Lease, NoEndpoint> {
        let picked = random::pick(&ask.port.ready);
        let first = picked.iter().find(|a| !ask.excluded.contains(a)).or(picked.first());
        first.map(|a| Lease(*a)).ok_or_else(|| NoEndpoint { service: ask.port.service.clone(), port: ask.port.port })
    }
}
impl Lease {
    pub fn address(&self) -> SocketAddr {
        self.0
    }
    pub fn responded(&self, _: Answered) {}
}
