//! What was decided about a request before it is sent for the first time.

use std::time::Duration;

use super::backend::Backend;
use crate::route::{
    Route,
    backend::Resolved,
    http::{Forward, Matched, Mirror, RequestEdits, ResponseEdits},
    retry::RetryPolicy,
    timeouts,
};

/// Where a request goes, and how.
pub(super) struct Plan<'s> {
    /// Who gets it.
    pub(super) backend: Backend<'s>,
    /// Who gets it where that one cannot.
    pub(super) fallback: Option<Backend<'s>>,
    /// The path and query that it gets, where they are not as they were sent.
    pub(super) target: Option<String>,
    /// What else is changed in the request.
    pub(super) request: RequestEdits<'s>,
    /// What is changed in the answer.
    pub(super) response: ResponseEdits<'s>,
    /// Who gets a copy.
    pub(super) mirrors: Vec<Mirror<'s>>,
    /// What is tried again.
    pub(super) retry: RetryPolicy,
    /// How long it may take.
    pub(super) limits: timeouts::Limits,
    /// How long it waits first, on purpose.
    pub(super) delay: Option<Duration>,
}

impl<'s> Plan<'s> {
    /// To somewhere that is no Service.
    pub(super) fn to(route: Route, target: Option<String>) -> Self {
        Self {
            backend: Backend::new(route),
            fallback: None,
            target,
            request: RequestEdits::default(),
            response: ResponseEdits::default(),
            mirrors: Vec::new(),
            retry: RetryPolicy::default(),
            limits: timeouts::Limits::default(),
            delay: None,
        }
    }

    /// To a Service port, as no rule says.
    pub(super) fn to_service(resolved: Resolved, target: Option<String>) -> Self {
        let Resolved { port, is_fallback, fallback } = resolved;
        let plan = Self::to(Route::Service(port), target);
        let backend = Backend { is_fallback, ..plan.backend };
        Self { backend, fallback: fallback.map(Backend::fallback), ..plan }
    }

    /// As a rule says.
    pub(super) fn of_rule(matched: &Matched<'s>, forward: Forward<'s>, target: Option<String>) -> Self {
        let Forward { backend: _, to, request, response, mirrors } = forward;
        Self {
            target: request.target().map(ToOwned::to_owned).or(target),
            request,
            response,
            mirrors,
            retry: RetryPolicy::new(matched.retry()),
            ..Self::to_service(to, None)
        }
    }

    /// Whether somebody may need the body after the first try has read it.
    pub(super) fn keeps_body(&self) -> bool {
        self.retry != RetryPolicy::default() || self.fallback.is_some() || !self.mirrors.is_empty()
    }
}
