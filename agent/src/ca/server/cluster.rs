//! What failed requests to the Kubernetes API mean, in words.

use crate::causes::with_causes;

/// The failure with its causes; `grant` says what to do where the API server does not let us.
pub(super) fn in_words(error: &kube::Error, grant: &str) -> String {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => {
                format!("{} (401): the API server does not know us; check the token or the kubeconfig", status.message)
            }
            403 => format!("{} (403): {grant}", status.message),
            code => format!("{} ({code})", status.message),
        },
        other => format!("cannot reach the API server: {}", with_causes(other)),
    }
}
