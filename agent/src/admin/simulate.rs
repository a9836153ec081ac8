//! `/simulate`: what new policies would change here. It is asked by POST, since what is asked has no room in a query, and
//! changes nothing.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{
    answer::refused,
    routes::{Page, Sources},
};
use crate::simulate::{BadPolicies, Proposal};

pub(super) const SIMULATE: Page = (
    "/simulate",
    "on the socket POST {\"documents\": [], \"flows\": []}: what new policies would change, JSON; heddle simulate asks for it",
);

/// Bytes of a proposal. Its flows have 2 KiB each at most, and all documents of a mesh are seldom larger than that.
pub(super) const LONGEST_PROPOSAL: usize = 4 << 20;

/// Held while flows are judged, which takes a CPU.
pub(super) static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Why there is no forecast.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The agent knows nothing of the mesh yet.
    #[error("this agent has no snapshot of the mesh yet; /healthz/ready says what it waits for")]
    NotYet,
    /// What is to be new cannot be.
    #[error(transparent)]
    Policies(#[from] BadPolicies),
}

pub(super) async fn simulate(State(sources): State<Sources>, body: Result<Bytes, BytesRejection>) -> Response {
    let Ok(body) = body else {
        let long = format!("a proposal has {LONGEST_PROPOSAL} bytes at most, of policies and flows together");
        return refused(StatusCode::PAYLOAD_TOO_LARGE, long);
    };
    let proposal: Proposal = match serde_json::from_slice(&body) {
        Ok(proposal) => proposal,
        Err(error) => return refused(StatusCode::BAD_REQUEST, format!("the proposal is not understood: {error}")),
    };
    let Ok(turn) = ONE_AT_A_TIME.try_lock() else {
        return refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "another simulation is under way on this agent; try again when it has ended",
        );
    };
    let questions = Arc::clone(&sources.questions);
    // Many flows and policies take time, which the control thread has not. It takes as long if nobody waits for it any more.
    let judged = spawn_blocking(move || {
        let _turn = turn;
        questions.simulate(&proposal)
    });
    match judged.await {
        Ok(Ok(forecast)) => Json(forecast).into_response(),
        Ok(Err(error @ SimulateError::NotYet)) => refused(StatusCode::SERVICE_UNAVAILABLE, error),
        Ok(Err(error @ SimulateError::Policies(_))) => refused(StatusCode::BAD_REQUEST, error),
        Err(broken) => refused(StatusCode::INTERNAL_SERVER_ERROR, format!("judging the flows failed: {broken}")),
    }
}
