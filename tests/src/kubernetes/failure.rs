//! A refused request: the status code and the `Status` object that goes with it.
//!
//! Codes and reasons are those of the Kubernetes API conventions; clients decide by them. The messages are our own.

use serde_json::{Value, json};

use super::rbac::Wanted;
use super::resource::Resource;

/// Why a request is refused.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) retry_after: Option<u32>,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, retry_after: None, reason, message: message.into(), details: json!({}) }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details = json!({"name": name, "group": resource.group, "kind": resource.plural});
        self
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// Nobody has given the user this right.
    pub(super) fn forbidden(user: &str, wanted: Wanted<'_>) -> Self {
        let Wanted { verb, group, resource, subresource, namespace, name } = wanted;
        let about = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let about = if name.is_empty() { about } else { format!("{about} \"{name}\"") };
        let what = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        let scope = match namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let message = format!(
            "{about} is forbidden: User \"{user}\" cannot {verb} resource \"{what}\" in API group \"{group}\" {scope}"
        );
        let mut failure = Self::new(403, "Forbidden", message);
        failure.details = json!({"name": name, "group": group, "kind": resource});
        failure
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "nothing is served at this path")
    }

    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", resource.full_name())).about(resource, name)
    }

    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.full_name());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    pub(super) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" was not changed: {why}", resource.full_name());
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// What is asked for lies before the compaction point.
    pub(super) fn expired(asked: u64, compacted: u64) -> Self {
        Self::new(410, "Expired", format!("resource version {asked} is too old: history begins at {compacted}"))
    }

    /// A page's snapshot is gone; `fresh` continues at the same place in the objects of now.
    pub(super) fn continue_expired(asked: u64, fresh: &str) -> Self {
        let mut failure = Self::new(410, "Expired", format!("the snapshot {asked} that is to be continued is gone"));
        failure.details = json!({"continue": fresh});
        failure
    }

    /// A version that is yet to come.
    pub(super) fn too_large(asked: u64, current: u64) -> Self {
        let message = format!("too large resource version: {asked}, the current one is {current}");
        let mut failure = Self::new(504, "Timeout", message);
        failure.details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        failure.retry_after = Some(1);
        failure
    }

    pub(super) fn invalid(kind: &str, name: &str, field: &str, message: &str) -> Self {
        let mut failure = Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {field}: {message}"));
        let cause = json!({"reason": "FieldValueInvalid", "message": message, "field": field});
        failure.details = json!({"name": name, "kind": kind, "causes": [cause]});
        failure
    }

    /// A webhook has refused the write, with a status of its own.
    pub(super) fn denied(webhook: &str, status: &Value) -> Self {
        let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
        let reason = if code == Some(422) { "Invalid" } else { "BadRequest" };
        let message = status["message"].as_str().unwrap_or_default();
        let message = format!("admission webhook \"{webhook}\" denied the request: {message}");
        Self::new(code.unwrap_or(400), reason, message)
    }

    /// A webhook that must be asked cannot be.
    pub(super) fn webhook_failed(webhook: &str, problem: &str) -> Self {
        Self::new(500, "InternalError", format!("failed calling webhook \"{webhook}\": {problem}"))
    }

    pub(super) fn method_not_allowed(method: &str) -> Self {
        Self::new(405, "MethodNotAllowed", format!("{method} is not allowed here"))
    }

    pub(super) fn not_acceptable(accept: &str) -> Self {
        Self::new(406, "NotAcceptable", format!("only application/json is served, not {accept}"))
    }

    pub(super) fn unsupported_media_type(found: &str, allowed: &str) -> Self {
        Self::new(415, "UnsupportedMediaType", format!("the body is {found}; taken are {allowed}"))
    }

    /// An injected fault.
    pub(super) fn injected(code: u16, retry_after: Option<u32>) -> Self {
        let reason = match code {
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            410 => "Expired",
            429 => "TooManyRequests",
            500 => "InternalError",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "",
        };
        let mut failure = Self::new(code, reason, format!("the test wants {code} here"));
        if let Some(seconds) = retry_after {
            failure.details = json!({"retryAfterSeconds": seconds});
        }
        failure.retry_after = retry_after;
        failure
    }

    /// The object that goes into the body, or into an ERROR event.
    pub(super) fn status(&self) -> Value {
        let mut details = self.details.clone();
        let mut metadata = json!({});
        // The fresh token of an expired page is list metadata, not a detail.
        if let Some(token) = details.as_object_mut().and_then(|details| details.remove("continue")) {
            metadata = json!({"continue": token});
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if details.as_object().is_some_and(|details| !details.is_empty()) {
            status["details"] = details;
        }
        status
    }
}
