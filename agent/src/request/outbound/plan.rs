//! What was decided about a request before it is sent for the first time.

use std::{borrow::Cow, time::Duration};

use crate::{
    route::{
        Route,
        http::{Forward, Matched, Mirror, RequestEdits, ResponseEdits},
    },
    rules::{
        gateway::SessionPersistence,
        http_route::{Retry, Timeouts},
    },
    target::RequestTarget,
};

/// Where a request goes, and how.
pub(super) struct Plan<'s> {
    /// The Service port or pod that gets it.
    pub(super) to: Route,
    /// The path and query that it gets.
    pub(super) target: String,
    /// What else is changed in the request.
    pub(super) request: RequestEdits<'s>,
    /// What is changed in the answer.
    pub(super) response: ResponseEdits<'s>,
    /// Who gets a copy.
    pub(super) mirrors: Vec<Mirror<'s>>,
    /// What is tried again.
    pub(super) retry: Option<&'s Retry>,
    /// How a client stays with one endpoint.
    pub(super) session: Option<&'s SessionPersistence>,
    timeouts: Timeouts,
}

impl<'s> Plan<'s> {
    /// To what was dialled, without a rule.
    pub(super) fn to(to: Route, target: &RequestTarget<'_>) -> Self {
        Self {
            to,
            target: normal(target),
            request: RequestEdits::default(),
            response: ResponseEdits::default(),
            mirrors: Vec::new(),
            retry: None,
            session: None,
            timeouts: Timeouts { request: None, backend_request: None },
        }
    }

    /// As a rule says.
    pub(super) fn of_rule(matched: &Matched<'s>, forward: Forward<'s>, target: &RequestTarget<'_>) -> Self {
        let Forward { backend: _, port, request, response, mirrors } = forward;
        Self {
            to: Route::Service(port),
            target: request.target().map_or_else(|| normal(target), ToOwned::to_owned),
            request,
            response,
            mirrors,
            retry: matched.retry(),
            session: matched.session(),
            timeouts: matched.timeouts().unwrap_or(Timeouts { request: None, backend_request: None }),
        }
    }

    /// Of the request with all its tries.
    pub(super) fn request_timeout(&self) -> Option<Duration> {
        self.timeouts.request.filter(|timeout| !timeout.is_zero())
    }

    /// Of one try.
    pub(super) fn try_timeout(&self) -> Option<Duration> {
        self.timeouts.backend_request.filter(|timeout| !timeout.is_zero())
    }
}

/// The target that the backend sees is the one that was decided on.
fn normal(target: &RequestTarget<'_>) -> String {
    let path: Cow<'_, str> = target.path().into();
    match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    }
}
