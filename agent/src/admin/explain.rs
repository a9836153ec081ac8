//! `/explain` and `/connections`: why something goes where it goes, and what is open now.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    answer::refused,
    query,
    routes::{Page, Sources},
    simulate::SimulateError,
};
use crate::{
    explain::{BadQuestion, Report, Unanswerable},
    observe::OpenView,
    simulate::{Forecast, Proposal},
};

pub(super) const EXPLAIN: Page =
    ("/explain", "?from=NAMESPACE/POD&to=HOST:PORT, ?connection=ID or ?trace=ID: every decision and why, JSON");
pub(super) const CONNECTIONS: Page = ("/connections", "open connections, JSON; ?most=NUMBER for more than 1000");

/// Connections that are listed where nobody asks for more.
const LISTED: usize = 1000;

/// Who can be asked.
pub trait Questions: Send + Sync {
    /// Explains what a query asks for.
    ///
    /// # Errors
    /// There is nothing to explain it from, or the question is none.
    fn explain(&self, query: &str) -> Result<Report, ExplainError>;

    /// The open connections, so many of the oldest.
    fn connections(&self, most: usize) -> OpenView;

    /// Tells what new policies would change. It may take a while: to be called where nobody waits for other things.
    ///
    /// # Errors
    /// There is nothing to judge by, or the policies are none.
    fn simulate(&self, proposal: &Proposal) -> Result<Forecast, SimulateError>;
}

/// Why there is no explanation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The agent knows nothing of the mesh yet.
    #[error("this agent has no snapshot of the mesh yet; /healthz/ready says what it waits for")]
    NotYet,
    /// There is no answer to that.
    #[error(transparent)]
    Unanswerable(#[from] Unanswerable),
}

impl ExplainError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotYet => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unanswerable(Unanswerable::Question(_) | Unanswerable::NoId(_)) => StatusCode::BAD_REQUEST,
            Self::Unanswerable(
                Unanswerable::Pod { .. }
                | Unanswerable::PodWithoutAddress(_)
                | Unanswerable::Name { .. }
                | Unanswerable::NoAddress { .. }
                | Unanswerable::ExternalName { .. }
                | Unanswerable::NoConnection(_)
                | Unanswerable::NoTrace { .. }
                | Unanswerable::NothingKept,
            ) => StatusCode::NOT_FOUND,
        }
    }
}

pub(super) async fn explain(State(sources): State<Sources>, RawQuery(query): RawQuery) -> Response {
    match sources.questions.explain(&query.unwrap_or_default()) {
        Ok(report) => Json(report).into_response(),
        Err(error) => refused(error.status(), error),
    }
}

pub(super) async fn connections(State(sources): State<Sources>, RawQuery(query): RawQuery) -> Response {
    match most(query.as_deref().unwrap_or_default()) {
        Some(most) => Json(sources.questions.connections(most)).into_response(),
        None => {
            let bad = "the only parameter is most, a number of connections, such as /connections?most=5000";
            refused(StatusCode::BAD_REQUEST, bad)
        }
    }
}

/// How many a query asks for.
fn most(query: &str) -> Option<usize> {
    match query::pairs(query).as_slice() {
        [] => Some(LISTED),
        [(key, most)] if key == "most" => most.parse().ok(),
        _ => None,
    }
}

impl From<BadQuestion> for ExplainError {
    fn from(bad: BadQuestion) -> Self {
        Self::Unanswerable(bad.into())
    }
}
