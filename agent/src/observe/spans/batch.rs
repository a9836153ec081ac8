//! From stories to one request of OTLP: spans by the pod that they are of, so that a collector shows the mesh by its services
//! and not one service that is the mesh.
//!
//! A pod's `service.name` is its canonical service, with `service.namespace` beside it: as the libraries in its application
//! name it, so that both are one service of the trace.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    attributes::{attributes, name, text},
    protocol::{
        ExportTraceServiceRequest, InstrumentationScope, KeyValue, PARENT_IS_KNOWN, PARENT_IS_REMOTE, Resource,
        ResourceSpans, SAMPLED, ScopeSpans, Span, SpanKind, Status, StatusCode,
    },
    status,
};
use crate::{
    mesh::{Workload, WorkloadUid},
    observe::{Reporter, access_log::Story, trace_context::SpanIds},
};

/// A request that has ended, and the span that is recorded of it.
pub(super) struct Finished {
    pub(super) ids: Box<SpanIds>,
    pub(super) story: Arc<Story>,
}

/// Where this agent runs.
pub(super) struct Place {
    pub(super) node: Arc<str>,
    pub(super) cluster: Arc<str>,
}

/// One request with all of these spans.
pub(super) fn request(finished: &[Finished], place: &Place) -> ExportTraceServiceRequest {
    let mut pods: HashMap<Option<&WorkloadUid>, ResourceSpans> = HashMap::new();
    for Finished { ids, story } in finished {
        let pod = own_pod(story);
        let spans = pods.entry(pod.map(|pod| &pod.uid)).or_insert_with(|| empty(pod, place));
        spans.scope_spans.iter_mut().for_each(|scope| scope.spans.push(span(ids, story)));
    }
    ExportTraceServiceRequest { resource_spans: pods.into_values().collect() }
}

/// The pod of this node.
fn own_pod(story: &Story) -> Option<&Workload> {
    let party = match story.start.reporter {
        Reporter::Source => Some(&story.start.client),
        Reporter::Destination => story.server.as_ref(),
    };
    party?.workload.as_deref()
}

fn empty(pod: Option<&Workload>, place: &Place) -> ResourceSpans {
    let version = env!("CARGO_PKG_VERSION");
    let scope = InstrumentationScope { name: "heddle".to_owned(), version: version.to_owned() };
    let mut attributes = vec![
        text("k8s.cluster.name", &place.cluster),
        text("k8s.node.name", &place.node),
        text("telemetry.sdk.name", "heddle"),
        text("telemetry.sdk.language", "rust"),
        text("telemetry.sdk.version", version),
    ];
    attributes.extend(of_pod(pod));
    ResourceSpans {
        resource: Some(Resource { attributes }),
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans: Vec::new() }],
    }
}

fn of_pod(pod: Option<&Workload>) -> Vec<KeyValue> {
    // What conventions call a service that has no name.
    let Some(pod) = pod else { return vec![text("service.name", "unknown_service")] };
    vec![
        text("service.name", &pod.canonical_service),
        text("service.namespace", &pod.namespace),
        text("service.version", &pod.canonical_revision),
        text("service.instance.id", &pod.uid.0),
        text("k8s.namespace.name", &pod.namespace),
        text("k8s.pod.name", &pod.name),
    ]
}

fn span(ids: &SpanIds, story: &Story) -> Span {
    let fault = status::of(story);
    let parent_is_remote = if ids.parent.is_some() { PARENT_IS_REMOTE } else { 0 };
    let kind = match story.start.reporter {
        Reporter::Source => SpanKind::Client,
        Reporter::Destination => SpanKind::Server,
    };
    Span {
        trace_id: ids.trace_id.to_bytes().to_vec(),
        span_id: ids.span_id.to_bytes().to_vec(),
        trace_state: ids.state.as_deref().unwrap_or_default().to_owned(),
        parent_span_id: ids.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
        name: story.request.as_deref().map_or_else(|| "HTTP".to_owned(), name),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(story.started),
        end_time_unix_nano: nanoseconds(story.started + story.duration),
        attributes: attributes(story, fault),
        status: fault.map(|_| Status {
            message: story.failure.as_ref().map(|failure| failure.error.clone()).unwrap_or_default(),
            code: StatusCode::Error.into(),
        }),
        flags: SAMPLED | PARENT_IS_KNOWN | parent_is_remote,
    }
}

fn nanoseconds(at: SystemTime) -> u64 {
    // A clock before 1970 is past helping.
    let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
