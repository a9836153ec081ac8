//! What documents say about a destination, its clients and its requests: the questions of the data path to a snapshot.

use std::sync::Arc;

use super::{AppliedLimits, DestinationSettings, ServiceName, Snapshot, Workload};
use crate::{
    objects::ObjectName,
    rules::{
        RuleKey, RuleKind, Spec, backend_traffic_policy::BackendTrafficPolicy, destination_rule::PortSettings,
        fault_injection::FaultInjection,
    },
};

impl Snapshot {
    /// What a DestinationRule says of a port of a Service, or of a destination outside, for clients of a namespace.
    pub fn destination_settings(
        &self,
        service: &ServiceName,
        port: u16,
        client_namespace: &str,
    ) -> Option<&Arc<PortSettings>> {
        self.destination_rule(service, client_namespace).map(|settings| settings.of_port(port))
    }

    /// The DestinationRule that says it.
    pub fn destination_rule(&self, service: &ServiceName, client_namespace: &str) -> Option<&Arc<DestinationSettings>> {
        self.destinations.find(service, client_namespace)
    }

    /// Whether there is any XBackendTrafficPolicy.
    pub fn has_backend_policies(&self) -> bool {
        !self.backend_policies.is_empty()
    }

    /// The XBackendTrafficPolicy for a Service.
    pub fn backend_policy(&self, service: &ServiceName) -> Option<&Arc<BackendTrafficPolicy>> {
        self.backend_policies.of(service)
    }

    /// The name of that policy.
    pub(super) fn backend_policy_name(&self, service: &ServiceName) -> Option<&ObjectName> {
        self.backend_policies.winner(service)
    }

    /// The RateLimits that select a pod: those for the whole mesh first, then by name. A request must keep all of them.
    pub fn rate_limits_of_workload(&self, workload: &Workload) -> Vec<&AppliedLimits> {
        self.rate_limits.of_workload(workload)
    }

    /// The RateLimits that name a Service, by name. A request must keep all of them.
    pub fn rate_limits_of_service(&self, service: &ServiceName) -> Vec<&AppliedLimits> {
        self.rate_limits.of_service(service).collect()
    }

    /// The RateLimit that a filter of a route of a namespace names, whatever else it is for.
    pub fn rate_limit(&self, namespace: &Arc<str>, name: &str) -> Option<&AppliedLimits> {
        self.rate_limits.named(&object_name(namespace, name))
    }

    /// The FaultInjection that a filter of a route of a namespace names.
    pub fn fault(&self, namespace: &Arc<str>, name: &str) -> Option<&FaultInjection> {
        let key = RuleKey { kind: RuleKind::FaultInjection, name: object_name(namespace, name) };
        match &self.rules.get(&key)?.spec {
            Spec::FaultInjection(fault) => Some(fault),
            _ => None,
        }
    }
}

fn object_name(namespace: &Arc<str>, name: &str) -> ObjectName {
    ObjectName { namespace: Arc::clone(namespace), name: name.into() }
}
