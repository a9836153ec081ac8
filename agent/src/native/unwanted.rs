//! Why the agent ends a native connection, as its record says it.

use crate::{
    authorize::{Denied, Withdrawn},
    failure::Failed,
    observe::{Failure, Observer, ResponseFlag},
};

/// Why the agent ends a native connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwanted {
    /// It was open, and is no longer permitted.
    #[error(transparent)]
    Withdrawn(Withdrawn),
    /// It was to be opened, and is not permitted any more.
    #[error(transparent)]
    Denied(Denied),
    /// Such connections are the agent's by now.
    #[error("capture.fastPath of agent.yaml leaves no such connection to the kernel any more")]
    Setting,
    /// It was to be opened, and would not go natively any more, or to another pod.
    #[error("while it was opened its way has changed: {0}; the next one is decided anew")]
    Elsewhere(String),
}

impl Unwanted {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Withdrawn(withdrawn) => Failure::from(&Failed::Withdrawn(withdrawn.clone())),
            Self::Denied(denied) => Failure::from(&Failed::Authorize(denied.clone())),
            Self::Setting => failure(ResponseFlag::Drained, &self.to_string()),
            Self::Elsewhere(_) => failure(ResponseFlag::NoRoute, &self.to_string()),
        }
    }

    pub(super) fn count(&self, observer: &Observer) {
        match self {
            Self::Withdrawn(withdrawn) => Failed::Withdrawn(withdrawn.clone()).count(observer),
            Self::Denied(denied) => denied.count(observer),
            Self::Setting | Self::Elsewhere(_) => {}
        }
    }
}

/// A failure that no document decided.
pub(super) fn failure(flag: ResponseFlag, error: &str) -> Failure {
    Failure { flag, error: error.to_owned(), denied_by: None }
}
