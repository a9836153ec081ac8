//! `AdmissionReview` of `admission.k8s.io/v1`: what an API server asks, and the answer that it gets.
//!
//! Only what matters of the objects is read, so that what else they carry costs no memory.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::json;

use super::judge::{Refusal, Verdict};
use crate::{
    objects::{CONFIGURATION_LABEL, ConfigMap, ObjectName},
    observe::AdmissionResult,
};

/// A question.
#[derive(Debug)]
pub(super) struct Review {
    /// Comes back with the answer.
    pub(super) uid: String,
    pub(super) asked: Asked,
}

/// What it is about.
#[derive(Debug)]
pub(super) enum Asked {
    /// A ConfigMap of mesh configuration.
    ConfigMap { map: ConfigMap, about: About },
    /// Nothing of the mesh, or it is going away.
    NothingToJudge,
    /// A review of this shape makes no sense; why.
    Unusable(Cow<'static, str>),
}

/// How it came about, for the log.
#[derive(Debug)]
pub(super) struct About {
    pub(super) operation: String,
    pub(super) user: String,
    pub(super) dry_run: bool,
    /// Whether the same texts were in force for the mesh already.
    pub(super) was_so_before: bool,
}

/// What is not a review at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadReview {
    #[error("the body is not the JSON of an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the body is {0}, and must be admission.k8s.io/v1 AdmissionReview with a request")]
    Other(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReview {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<RawRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRequest {
    uid: String,
    kind: RawKind,
    operation: String,
    dry_run: Option<bool>,
    user_info: Option<RawUser>,
    object: Option<RawObject>,
    old_object: Option<RawObject>,
}

#[derive(Deserialize)]
struct RawKind {
    #[serde(default)]
    group: String,
    kind: String,
}

#[derive(Deserialize)]
struct RawUser {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize)]
struct RawObject {
    #[serde(default)]
    metadata: RawMetadata,
    data: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawMetadata {
    name: String,
    namespace: String,
    labels: Option<BTreeMap<String, String>>,
    deletion_timestamp: Option<String>,
}

impl Review {
    pub(super) fn read(body: &[u8]) -> Result<Self, BadReview> {
        let raw: RawReview = serde_json::from_slice(body)?;
        let (version, kind) = (&*raw.api_version, &*raw.kind);
        match (version, kind, raw.request) {
            ("admission.k8s.io/v1", "AdmissionReview", Some(request)) => {
                Ok(Self { uid: request.uid.clone(), asked: request.asked() })
            }
            _ => Err(BadReview::Other(format!("{version:?} {kind:?}"))),
        }
    }
}

impl RawRequest {
    fn asked(self) -> Asked {
        let is_config_map = self.kind.group.is_empty() && self.kind.kind == "ConfigMap";
        if !is_config_map || !matches!(&*self.operation, "CREATE" | "UPDATE") {
            return Asked::NothingToJudge;
        }
        let Some(object) = self.object else {
            return Asked::Unusable(format!("the review of operation {:?} has no object", self.operation).into());
        };
        // Whoever takes the last finalizer from a bad ConfigMap must not be stopped.
        if !object.is_mesh_configuration() || object.metadata.deletion_timestamp.is_some() {
            return Asked::NothingToJudge;
        }
        let RawMetadata { name, namespace, .. } = object.metadata;
        // With generateName there is no name yet where the API server leaves it open.
        let name = if name.is_empty() { "(unnamed)".to_owned() } else { name };
        if namespace.is_empty() || [&name, &namespace].iter().any(|text| text.len() > LONGEST_NAME) {
            return Asked::Unusable("the ConfigMap has no namespace, or a name that no object can have".into());
        }
        let data = object.data.unwrap_or_default();
        if data.iter().map(|(key, text)| key.len() + text.len()).sum::<usize>() > MOST_TEXT {
            return Asked::Unusable(
                format!("the ConfigMap has more than {MOST_TEXT} bytes, which none can have").into(),
            );
        }
        let before = self.old_object.filter(RawObject::is_mesh_configuration);
        let about = About {
            was_so_before: before.is_some_and(|before| before.data.unwrap_or_default() == data),
            operation: self.operation,
            user: self.user_info.map(|user| user.username).unwrap_or_default(),
            dry_run: self.dry_run.unwrap_or(false),
        };
        let data = data.into_iter().map(|(key, text)| (key, text.into())).collect();
        let map = ConfigMap { name: ObjectName::new(&namespace, &name), uid: None, created: None, data };
        Asked::ConfigMap { map, about }
    }
}

impl RawObject {
    fn is_mesh_configuration(&self) -> bool {
        let (key, value) = CONFIGURATION_LABEL;
        self.metadata.labels.as_ref().and_then(|labels| labels.get(key)).is_some_and(|found| found == value)
    }
}

/// Of any object (RFC 1123, as Kubernetes has it).
const LONGEST_NAME: usize = 253;

/// Of any ConfigMap; API servers have refused a larger one before they ask.
const MOST_TEXT: usize = 1 << 20;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    uid: String,
    result: AdmissionResult,
    refused: Option<(u16, &'static str, String)>,
    warnings: Vec<String>,
}

impl Answer {
    pub(super) fn not_judged(uid: String) -> Self {
        Self { uid, result: AdmissionResult::NotJudged, refused: None, warnings: Vec::new() }
    }

    pub(super) fn unusable(uid: String, problem: &str) -> Self {
        let refused = Some((400, "BadRequest", problem.to_owned()));
        Self { uid, result: AdmissionResult::BadReview, refused, warnings: Vec::new() }
    }

    pub(super) fn of(uid: String, verdict: Verdict) -> Self {
        let Verdict { refusal, warnings } = verdict;
        let result = match (&refusal, warnings.is_empty()) {
            (Some(_), _) => AdmissionResult::Refused,
            (None, false) => AdmissionResult::Warned,
            (None, true) => AdmissionResult::Allowed,
        };
        let refused = refusal.map(|Refusal { message, .. }| (422, "Invalid", message));
        Self { uid, result, refused, warnings }
    }

    pub(super) fn result(&self) -> AdmissionResult {
        self.result
    }

    pub(super) fn into_json(self) -> String {
        let mut response = json!({"uid": self.uid, "allowed": self.refused.is_none()});
        if let Some((code, reason, message)) = self.refused {
            response["status"] = json!({"status": "Failure", "code": code, "reason": reason, "message": message});
        }
        if !self.warnings.is_empty() {
            response["warnings"] = self.warnings.into();
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}).to_string()
    }
}
