//! What several endpoints share: reading what form a client wants, and saying no.

use std::fmt::Display;

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

/// Whether a client names a form among those that it takes. `*/*` names none.
pub(super) fn accepts(headers: &HeaderMap, form: &str) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|accept| accept.to_str().is_ok_and(|accept| accept.contains(form)))
}

/// The status, and why in one line.
pub(super) fn refused(status: StatusCode, why: impl Display) -> Response {
    (status, format!("{why}\n")).into_response()
}
