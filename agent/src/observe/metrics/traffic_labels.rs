//! Istio's standard labels, worked out from the two parties of a connection.
//!
//! What is not known is `unknown`, as Istio says it. A principal is given only where it was proven.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use super::label_sets::Labels;
use crate::{
    mesh::{ServiceName, SpiffeId, Workload},
    observe::{Party, Reporter, Transport},
};

/// Label names in the order of [`LabelSet::values`]; the response flag is last because it alone changes at the end.
pub(super) const TCP_LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "source_canonical_service",
    "source_canonical_revision",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "connection_security_policy",
    "response_flags",
];

const UNKNOWN: &str = "unknown";
const OTHER: &str = "other";

/// What tells one series from another. Cheap to make: it shares the workload's strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::observe) struct LabelSet {
    reporter: Reporter,
    security: &'static str,
    /// `None` is the fold of what is beyond the cap.
    who: Option<Who>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Who {
    source: PartyLabels,
    destination: PartyLabels,
    service: Option<ServiceName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PartyLabels {
    workload: Option<WorkloadLabels>,
    principal: Option<SpiffeId>,
}

/// A workload, as far as its labels tell: pods of one owner are one.
#[derive(Clone, Debug)]
struct WorkloadLabels(Arc<Workload>);

impl WorkloadLabels {
    fn texts(&self) -> [&str; 6] {
        let Workload { owner, namespace, app, version, canonical_service, canonical_revision, .. } = &*self.0;
        [owner, namespace, app, version, canonical_service, canonical_revision].map(|text| &**text)
    }
}

impl PartialEq for WorkloadLabels {
    fn eq(&self, other: &Self) -> bool {
        // Nearly always of the same pod as before.
        Arc::ptr_eq(&self.0, &other.0) || self.texts() == other.texts()
    }
}

impl Eq for WorkloadLabels {}

impl Hash for WorkloadLabels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.texts().hash(state);
    }
}

impl Labels for LabelSet {
    /// The set that stands for all sets beyond the cap.
    fn folded(self) -> Self {
        Self { who: None, ..self }
    }
}

impl LabelSet {
    pub(in crate::observe) fn new(
        reporter: Reporter,
        transport: Transport,
        client: &Party,
        server: Option<&Party>,
        service: Option<&ServiceName>,
    ) -> Self {
        let who = Who {
            source: PartyLabels::of(Some(client)),
            destination: PartyLabels::of(server),
            service: service.cloned(),
        };
        Self { reporter, security: transport.security_policy(), who: Some(who) }
    }

    /// The values of all labels but the response flag. `protocol` is the label `request_protocol`.
    pub(super) fn values(&self, cluster: &str, protocol: &str) -> Box<[String]> {
        let mut values = vec![self.reporter.as_str().to_owned()];
        match &self.who {
            Some(Who { source, destination, service }) => {
                values.extend(source.values(cluster));
                values.extend(destination.values(cluster));
                values.extend(service_values(service.as_ref()));
            }
            None => values.extend((0..8 + 8 + 3).map(|_| OTHER.to_owned())),
        }
        values.push(protocol.to_owned());
        values.push(self.security.to_owned());
        values.into_boxed_slice()
    }
}

impl PartyLabels {
    fn of(party: Option<&Party>) -> Self {
        Self {
            workload: party.and_then(|party| party.workload.clone()).map(WorkloadLabels),
            principal: party.and_then(|party| party.identity.clone()),
        }
    }

    fn values(&self, cluster: &str) -> [String; 8] {
        let known = |text: &str| if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() };
        let workload = self.workload.as_ref();
        let [owner, namespace, app, version, service, revision] =
            workload.map_or([""; 6], WorkloadLabels::texts).map(known);
        let principal = self.principal.as_ref().map_or_else(|| UNKNOWN.to_owned(), SpiffeId::to_string);
        let cluster = workload.map_or(UNKNOWN, |_| cluster).to_owned();
        [owner, namespace, principal, app, version, cluster, service, revision]
    }
}

fn service_values(service: Option<&ServiceName>) -> [String; 3] {
    match service {
        Some(service) => [service.host(), service.name.to_string(), service.namespace.to_string()],
        None => [(); 3].map(|()| UNKNOWN.to_owned()),
    }
}
