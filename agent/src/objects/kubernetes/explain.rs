//! What a failed list or watch means, and what to do about it, in words.

use kube::{core::Status, runtime::watcher::Error};

use super::resource;
use crate::{causes::with_causes, objects::Kind, observe::RestartReason};

/// The label of a failure, and its message. `None` for the label where the watch goes on in spite of it.
pub(super) fn explain(kind: Kind, error: &Error) -> (Option<RestartReason>, String) {
    let (attempt, source) = match error {
        Error::InitialListFailed(source) => ("list", source),
        Error::WatchStartFailed(source) | Error::WatchFailed(source) => ("watch", source),
        Error::WatchError(status) => return of_status(kind, "watch", status),
        Error::NoResourceVersion => {
            let message = "the answer has no metadata.resourceVersion; is the server of the kubeconfig an API server?";
            return (Some(RestartReason::ServerError), said(kind, "list", message));
        }
    };
    if let kube::Error::Api(status) = source {
        return of_status(kind, attempt, status);
    }
    // What `kube` says first is only "service error".
    let words = with_causes(source);
    match (error, source) {
        // The connection's end was counted where it was heard (`wire`), and a line that cannot be read ends nothing.
        (Error::WatchFailed(_), _) => (None, said(kind, attempt, &words)),
        (_, kube::Error::SerdeError(_)) => {
            (Some(RestartReason::ServerError), said(kind, attempt, &format!("the answer cannot be read: {words}")))
        }
        (_, kube::Error::Auth(_)) => (
            Some(RestartReason::Refused),
            said(kind, attempt, &format!("no credentials: {words}; correct the user of the kubeconfig")),
        ),
        _ => (
            Some(RestartReason::Unreachable),
            said(kind, attempt, &format!("cannot reach the API server: {words}; the last known objects stay in force")),
        ),
    }
}

fn of_status(kind: Kind, attempt: &'static str, status: &Status) -> (Option<RestartReason>, String) {
    let (group, _, plural) = resource::path(kind);
    let found = format!("{} ({})", status.message, status.code);
    match status.code {
        401 => {
            let remedy =
                "the API server does not know us; check the service account's token or the user of the kubeconfig";
            (Some(RestartReason::Refused), said(kind, attempt, &format!("{found}: {remedy}")))
        }
        403 => {
            let remedy = format!(
                "grant the verbs list and watch on {plural} of API group {group:?} to the agent's service account by a \
                 ClusterRole and a ClusterRoleBinding"
            );
            (Some(RestartReason::Refused), said(kind, attempt, &format!("{found}: {remedy}")))
        }
        404 => {
            let remedy = format!("this server has no {plural}; Kubernetes 1.21 and later have all that the mesh reads");
            (Some(RestartReason::ServerError), said(kind, attempt, &format!("{found}: {remedy}")))
        }
        410 => (Some(RestartReason::Expired), said(kind, attempt, &format!("{found}; listing anew"))),
        _ => (Some(RestartReason::ServerError), said(kind, attempt, &found)),
    }
}

fn said(kind: Kind, attempt: &str, what: &str) -> String {
    format!("{attempt} {}: {what}", resource::path(kind).2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Box<Status> {
        Box::new(Status { code, message: message.to_owned(), ..Status::failure("", "") })
    }

    #[test]
    fn a_refusal_names_the_verbs_and_the_resource_to_grant() {
        let error = Error::InitialListFailed(kube::Error::Api(status(403, "endpointslices is forbidden")));
        let (reason, message) = explain(Kind::EndpointSlice, &error);
        assert_eq!(reason, Some(RestartReason::Refused));
        assert_eq!(
            message,
            "list endpointslices: endpointslices is forbidden (403): grant the verbs list and watch on endpointslices of \
             API group \"discovery.k8s.io\" to the agent's service account by a ClusterRole and a ClusterRoleBinding"
        );
    }

    #[test]
    fn every_status_has_its_reason() {
        let cases = [
            (401, RestartReason::Refused, "the API server does not know us"),
            (404, RestartReason::ServerError, "this server has no pods"),
            (410, RestartReason::Expired, "listing anew"),
            (429, RestartReason::ServerError, "(429)"),
            (500, RestartReason::ServerError, "(500)"),
        ];
        for (code, reason, part) in cases {
            let (found, message) = explain(Kind::Pod, &Error::WatchError(status(code, "x")));
            assert_eq!(found, Some(reason), "{code}");
            assert!(message.starts_with("watch pods: x (") && message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_server_that_cannot_be_reached_is_named_with_its_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Error::WatchStartFailed(kube::Error::Service(Box::new(refused)));
        let (reason, message) = explain(Kind::Node, &error);
        assert_eq!(reason, Some(RestartReason::Unreachable));
        assert!(message.contains("cannot reach the API server") && message.contains("connection refused"), "{message}");
    }
}
