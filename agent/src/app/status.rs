//! Puts together what `/status` shows.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::pods::pod_name;
use crate::{
    admin::{Readiness, ReadinessReport, status},
    capture::KubeletFound,
    identify::{CertificateStatus, Certificates, Revocations, Root},
    mesh::{DocumentState, DocumentStatus, MeshState, Workload},
    objects::SourceStatus,
};

/// Where the facts are.
pub(super) struct StatusSources {
    pub(super) node: Arc<str>,
    pub(super) readiness: Readiness,
    pub(super) source: SourceStatus,
    /// Empty until the first snapshot is published.
    pub(super) mesh: Arc<OnceLock<watch::Receiver<MeshState>>>,
    pub(super) certificates: Certificates,
    pub(super) revocations: Revocations,
    pub(super) kubelet: KubeletFound,
}

impl StatusSources {
    /// As of now.
    pub(super) fn status(&self) -> status::Status {
        let mesh = self.mesh.get().map(|mesh| mesh.borrow().clone());
        let report = self.readiness.report();
        let certificates = self.certificates.status().into_iter().map(certificate).collect();
        let Some(mesh) = mesh else { return self.before_the_first_snapshot(report, certificates) };
        status::Status {
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: report.ready,
            generation: mesh.snapshot.generation,
            objects: mesh.objects.iter().map(|(kind, count)| (kind.as_str().to_owned(), *count)).collect(),
            problems: mesh.problems(),
            documents: mesh.documents.iter().map(document).collect(),
            kubelet: self.kubelet.cgroup().map(|cgroup| cgroup.display().to_string()),
            pods: pods(mesh.snapshot.local_pods(), &report),
            certificates,
            source: source(&self.source),
            missing: report.missing,
            roots: self.certificates.roots().iter().map(root).collect(),
            revocation: revocation(&self.revocations),
        }
    }

    fn before_the_first_snapshot(
        &self,
        report: ReadinessReport,
        certificates: Vec<status::Certificate>,
    ) -> status::Status {
        status::Status {
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: report.ready,
            missing: report.missing,
            source: source(&self.source),
            certificates,
            roots: self.certificates.roots().iter().map(root).collect(),
            revocation: revocation(&self.revocations),
            ..status::Status::default()
        }
    }
}

fn source(status: &SourceStatus) -> status::Source {
    let report = status.report();
    let errors = report.kinds.into_iter().filter_map(|kind| Some((kind.kind.to_owned(), kind.last_error?)));
    status::Source {
        live: report.live,
        state_age_seconds: report.state_age_seconds.map(|age| age as u64),
        errors: errors.collect(),
    }
}

fn document(document: &DocumentStatus) -> status::Document {
    let is_accepted = document.state == DocumentState::Accepted;
    status::Document {
        rule: document.rule.as_ref().map(ToString::to_string),
        place: document.place(),
        line: document.position.line,
        state: document.state.as_str().to_owned(),
        message: (!is_accepted).then(|| document.to_string()),
        leaves_workloads_open: document.leaves_workloads_open(),
    }
}

/// A pod is a condition of readiness under its name.
fn pods(local: &[Arc<Workload>], report: &ReadinessReport) -> Vec<status::Pod> {
    let missing: HashMap<&str, &str> =
        report.missing.iter().map(|missing| (missing.condition.as_str(), missing.reason.as_str())).collect();
    let pod = |workload: &Arc<Workload>| status::Pod {
        name: format!("{}/{}", workload.namespace, workload.name),
        identity: workload.identity.to_string(),
        probed_ports: workload.local.as_ref().map(|local| local.rules.probed_ports.to_vec()).unwrap_or_default(),
        missing: missing.get(pod_name(workload).as_str()).map(|reason| (*reason).to_owned()),
    };
    local.iter().map(pod).collect()
}

fn certificate(held: CertificateStatus) -> status::Certificate {
    status::Certificate {
        identity: held.id.to_string(),
        state: held.state.as_str().to_owned(),
        expires_in_seconds: held.not_after.map(seconds_until),
        last_error: held.last_error,
    }
}

fn root(root: &Root) -> status::Root {
    status::Root {
        name: root.name.to_string(),
        subject: root.subject.to_string(),
        expires_in_seconds: seconds_until(root.not_after),
    }
}

fn revocation(revocations: &Revocations) -> Option<status::Revocation> {
    let status = revocations.status();
    Some(status::Revocation {
        path: status.path?.display().to_string(),
        entries: status.entries,
        next_update_in_seconds: status.next_update.map(seconds_until),
        unverified: status.unverified.iter().map(ToString::to_string).collect(),
        last_error: status.last_error,
    })
}

fn seconds_until(end: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match end.duration_since(SystemTime::now()) {
        Ok(left) => seconds(left),
        Err(past) => -seconds(past.duration()),
    }
}
