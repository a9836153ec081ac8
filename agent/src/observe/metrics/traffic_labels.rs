//! Istio's standard labels, worked out from the two parties of a connection.
//!
//! What is not known is `unknown`, as Istio says it. A principal is given only where it was proven.

use std::sync::Arc;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct WorkloadLabels {
    owner: Arc<str>,
    namespace: Arc<str>,
    app: Arc<str>,
    version: Arc<str>,
    canonical_service: Arc<str>,
    canonical_revision: Arc<str>,
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
            workload: party.and_then(|party| party.workload.as_deref()).map(WorkloadLabels::of),
            principal: party.and_then(|party| party.identity.clone()),
        }
    }

    fn values(&self, cluster: &str) -> [String; 8] {
        let workload = self.workload.as_ref();
        let text = |field: fn(&WorkloadLabels) -> &Arc<str>| match workload.map(field) {
            Some(value) if !value.is_empty() => value.to_string(),
            _ => UNKNOWN.to_owned(),
        };
        [
            text(|w| &w.owner),
            text(|w| &w.namespace),
            self.principal.as_ref().map_or_else(|| UNKNOWN.to_owned(), SpiffeId::to_string),
            text(|w| &w.app),
            text(|w| &w.version),
            workload.map_or(UNKNOWN, |_| cluster).to_owned(),
            text(|w| &w.canonical_service),
            text(|w| &w.canonical_revision),
        ]
    }
}

impl WorkloadLabels {
    fn of(workload: &Workload) -> Self {
        Self {
            owner: Arc::clone(&workload.owner),
            namespace: Arc::clone(&workload.namespace),
            app: Arc::clone(&workload.app),
            version: Arc::clone(&workload.version),
            canonical_service: Arc::clone(&workload.canonical_service),
            canonical_revision: Arc::clone(&workload.canonical_revision),
        }
    }
}

fn service_values(service: Option<&ServiceName>) -> [String; 3] {
    match service {
        Some(service) => [service.host(), service.name.to_string(), service.namespace.to_string()],
        None => [(); 3].map(|()| UNKNOWN.to_owned()),
    }
}

/// All label values: those of the set, and the flag.
pub(super) fn with_flag<'a>(values: &'a [String], flag: &'a str) -> Vec<&'a str> {
    values.iter().map(String::as_str).chain([flag]).collect()
}
