//! What was decided about a request before it is sent for the first time.

use std::{sync::Arc, time::Duration};

use crate::{
    balance::{
        hash_key::NewCookie,
        session::{Session, Sessions},
    },
    mesh::{ServicePort, Snapshot},
    route::{
        Route,
        http::{Forward, Matched, Mirror, RequestEdits, ResponseEdits},
        retry::RetryPolicy,
        timeouts,
    },
    rules::destination_rule::PortSettings,
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
    pub(super) retry: RetryPolicy,
    /// How long it may take.
    pub(super) limits: timeouts::Limits,
    /// What a DestinationRule says of the Service port that gets it.
    pub(super) settings: Option<Arc<PortSettings>>,
    /// What requests of its kind have in common.
    pub(super) hash: Option<u64>,
    /// The cookie that it is to have from now on, for its hash.
    pub(super) hash_cookie: Option<NewCookie>,
    /// How its client stays with one endpoint, and the session that it came with.
    pub(super) session: Option<(Sessions<'s>, Option<Session>)>,
    /// How long it waits first, on purpose.
    pub(super) delay: Option<Duration>,
}

impl<'s> Plan<'s> {
    /// To what was dialled, without a rule.
    pub(super) fn to(to: Route, target: &RequestTarget<'_>) -> Self {
        Self::plain(to, normal(target))
    }

    /// To somewhere, as it is.
    pub(super) fn plain(to: Route, target: String) -> Self {
        Self {
            to,
            target,
            request: RequestEdits::default(),
            response: ResponseEdits::default(),
            mirrors: Vec::new(),
            retry: RetryPolicy::default(),
            limits: timeouts::Limits::default(),
            settings: None,
            hash: None,
            hash_cookie: None,
            session: None,
            delay: None,
        }
    }

    /// As a rule says.
    pub(super) fn of_rule(matched: &Matched<'s>, forward: Forward<'s>, target: &RequestTarget<'_>) -> Self {
        let Forward { backend: _, port, request, response, mirrors } = forward;
        Self {
            target: request.target().map_or_else(|| normal(target), ToOwned::to_owned),
            request,
            response,
            mirrors,
            retry: RetryPolicy::new(matched.retry()),
            ..Self::to(Route::Service(port), target)
        }
    }

    /// The Service port that gets it, if one does.
    pub(super) fn port(&self) -> Option<&Arc<ServicePort>> {
        match &self.to {
            Route::Service(port) => Some(port),
            Route::Workload(..) | Route::External(..) => None,
        }
    }

    /// Whether somebody may need the body after the first try has read it.
    pub(super) fn keeps_body(&self) -> bool {
        self.retry != RetryPolicy::default() || !self.mirrors.is_empty()
    }
}

/// The settings of a Service port for clients of a namespace.
pub(super) fn settings(snapshot: &Snapshot, port: &ServicePort, client_namespace: &str) -> Option<Arc<PortSettings>> {
    snapshot.destination_settings(&port.service, port.port, client_namespace).map(Arc::clone)
}

/// The target that the backend sees is the one that was decided on.
fn normal(target: &RequestTarget<'_>) -> String {
    match target.query() {
        Some(query) => format!("{}?{query}", target.path()),
        None => target.path().to_owned(),
    }
}
