//! Values that other parts keep, read when the metrics are.

use std::sync::Arc;

use heddle_common::KernelEvent;
use tokio::{runtime::Handle, sync::watch};

use super::data_threads::DataThreads;
use crate::{
    balance::Memory,
    capture::{KernelCounters, TableSizes},
    identify::{self, Certificates},
    mesh::MeshState,
    node::Node,
    objects::SourceStatus,
    observe::{
        BypassReason, CertificateState, ClosedLabel, DocumentLabel, Metrics, Observer, OverflowLimit, Remembered,
        Resource,
    },
    shares::Overloaded,
};

/// Registers what is to be read before each scrape.
pub(super) fn register(
    observer: &Observer,
    (counters, tables): (KernelCounters, TableSizes),
    certificates: Certificates,
    mesh: watch::Receiver<MeshState>,
    status: SourceStatus,
) {
    let counters = Arc::new(counters);
    observer.before_scrape(move |metrics| {
        kernel(metrics, &counters);
        tables.read().for_each(|(map, entries, most)| metrics.set_map_entries(map, entries, most));
        tables.read_recent().for_each(|(map, entries)| metrics.set_map_recent_entries(map, entries));
        certificate_states(metrics, &certificates);
        objects(metrics, &mesh.borrow());
        source(metrics, &status);
    });
}

/// The same for what data threads share, and for the threads themselves. To be called on the control thread.
pub(super) fn register_threads(observer: &Observer, node: &Arc<Node>, threads: &DataThreads) {
    // What is observed holds the observer: it must not be held by it.
    let node = Arc::downgrade(node);
    let control = ("control".to_owned(), Handle::current().metrics());
    let runtimes: Vec<_> = std::iter::once(control).chain(threads.runtimes()).collect();
    observer.before_scrape(move |metrics| {
        for (thread, runtime) in &runtimes {
            // Each is a runtime of one thread.
            metrics.set_runtime(thread, runtime.worker_total_busy_duration(0), runtime.global_queue_depth());
        }
        let Some(node) = node.upgrade() else { return };
        metrics.set_ejected_endpoints(node.balancer.ejected());
        for limit in OverflowLimit::ALL {
            metrics.set_open_breakers(*limit, node.breakers.open(*limit));
        }
        overload(metrics, &node);
        remembered(metrics, &node);
    });
}

fn overload(metrics: &Metrics, node: &Node) {
    metrics.set_node_connections(node.overload.connections());
    metrics.set_memory_limit(node.limits.memory);
    for why in Overloaded::ALL {
        metrics.set_overload(resource(why), node.overload.is(why), node.overload.refused(why));
    }
}

fn remembered(metrics: &Metrics, node: &Node) {
    let Memory { endpoints, of_sets, tables } = node.balancer.memory();
    for (what, size) in [
        (Remembered::Protocols, node.learned.size()),
        (Remembered::Endpoints, (endpoints, 0)),
        (Remembered::Affinity, of_sets),
        (Remembered::HashTables, tables),
        (Remembered::RateLimitKeys, node.rate_limiter.size()),
        (Remembered::OtherAddresses, (node.native.declined(), 0)),
    ] {
        metrics.set_remembered(what, size);
    }
}

fn resource(why: Overloaded) -> Resource {
    match why {
        Overloaded::Connections => Resource::Connections,
        Overloaded::Descriptors => Resource::Descriptors,
        Overloaded::Memory => Resource::Memory,
    }
}

fn kernel(metrics: &Metrics, counters: &KernelCounters) {
    let counts = counters.read();
    for (event, count) in &counts {
        metrics.set_kernel_events(event.name(), *count);
    }
    let sum = |wanted: &[KernelEvent]| counts.iter().filter(|(e, _)| wanted.contains(e)).map(|(_, count)| count).sum();
    let ports = sum(&[KernelEvent::OutboundExcludedPort, KernelEvent::InboundExcludedPort]);
    metrics.set_bypassed(BypassReason::ExcludedPort, ports);
    metrics.set_bypassed(BypassReason::KubeletProbe, sum(&[KernelEvent::InboundKubeletProbe]));
    metrics.set_bypassed(BypassReason::ExcludedNetwork, sum(&[KernelEvent::OutboundExcludedNetwork]));
}

fn certificate_states(metrics: &Metrics, certificates: &Certificates) {
    let status = certificates.status();
    for state in CertificateState::ALL {
        let count = status.iter().filter(|certificate| label(certificate.state) == *state).count();
        metrics.set_certificates(*state, count);
    }
    let roots = certificates.roots();
    metrics.set_trusted_roots(roots.len());
    metrics.set_first_root_expiry(roots.iter().map(|root| root.not_after).min());
    metrics.set_first_certificate_expiry(status.iter().filter_map(|certificate| certificate.not_after).min());
}

fn label(state: identify::CertificateState) -> CertificateState {
    use identify::CertificateState as State;
    match state {
        State::Pending => CertificateState::Pending,
        State::Valid => CertificateState::Valid,
        State::RenewalFailing | State::Failing => CertificateState::Failed,
        State::Expired => CertificateState::Expired,
    }
}

fn objects(metrics: &Metrics, mesh: &MeshState) {
    for (kind, count) in mesh.objects {
        metrics.set_objects(kind.as_str(), count);
    }
    metrics.set_object_problems(mesh.problem_count());
    for state in DocumentLabel::ALL {
        let count = mesh.documents.iter().filter(|document| document.state.as_str() == state.as_str()).count();
        metrics.set_documents(*state, count);
    }
    metrics.set_open_workloads(mesh.documents.iter().filter(|document| document.leaves_workloads_open()).count());
    metrics.set_snapshot(mesh.snapshot.generation, mesh.published);
    metrics.set_compiles(mesh.compiling.batches, mesh.compiling.took);
}

fn source(metrics: &Metrics, status: &SourceStatus) {
    let report = status.report();
    for kind in report.kinds {
        metrics.set_source_kind(kind.kind, kind.connected, kind.last_word_seconds, kind.relists);
    }
    for (reason, total) in report.restarts {
        metrics.set_source_restarts(reason, total);
    }
    metrics.set_source_state_age(report.state_age_seconds);
}
