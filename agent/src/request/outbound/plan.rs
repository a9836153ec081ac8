//! What was decided about a request before it is sent for the first time.

use std::{sync::Arc, time::Duration};

use super::stay::Stay;
use crate::{
    balance::{
        breaker::{Breaker, PoolSettings},
        hash_key::NewCookie,
    },
    mesh::{ServicePort, Snapshot},
    node::Node,
    route::{
        Route,
        http::{Forward, Matched, Mirror, RequestEdits, ResponseEdits},
        retry::RetryPolicy,
        timeouts,
    },
    rules::destination_rule::PortSettings,
};

/// Where a request goes, and how.
pub(super) struct Plan<'s> {
    /// The Service port or pod that gets it.
    pub(super) to: Route,
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
    /// What a DestinationRule says of the Service port that gets it.
    pub(super) settings: Option<Arc<PortSettings>>,
    /// How much is under way to it.
    pub(super) breaker: Option<Arc<Breaker>>,
    /// What requests of its kind have in common.
    pub(super) hash: Option<u64>,
    /// The cookie that it is to have from now on, for its hash.
    pub(super) hash_cookie: Option<NewCookie>,
    /// How its client stays with one endpoint.
    pub(super) stay: Option<Stay<'s>>,
    /// How long it waits first, on purpose.
    pub(super) delay: Option<Duration>,
}

impl<'s> Plan<'s> {
    /// To somewhere, as no rule says.
    pub(super) fn to(to: Route, target: Option<String>) -> Self {
        Self {
            to,
            target,
            request: RequestEdits::default(),
            response: ResponseEdits::default(),
            mirrors: Vec::new(),
            retry: RetryPolicy::default(),
            limits: timeouts::Limits::default(),
            settings: None,
            breaker: None,
            hash: None,
            hash_cookie: None,
            stay: None,
            delay: None,
        }
    }

    /// As a rule says.
    pub(super) fn of_rule(matched: &Matched<'s>, forward: Forward<'s>, target: Option<String>) -> Self {
        let Forward { backend: _, port, request, response, mirrors } = forward;
        Self {
            target: request.target().map(ToOwned::to_owned).or(target),
            request,
            response,
            mirrors,
            retry: RetryPolicy::new(matched.retry()),
            ..Self::to(Route::Service(port), None)
        }
    }

    /// The Service port that gets it, if one does.
    pub(super) fn port(&self) -> Option<&Arc<ServicePort>> {
        match &self.to {
            Route::Service(port) => Some(port),
            Route::Workload(..) | Route::External(..) => None,
        }
    }

    /// What a document says about connections to where it goes.
    pub(super) fn pool(&self) -> PoolSettings<'_> {
        PoolSettings::of(self.settings.as_deref())
    }

    /// Looks up what is known of the Service port that gets it, for a client of a namespace.
    pub(super) fn look_up(&mut self, node: &Node, snapshot: &Snapshot, client_namespace: &str) {
        let Some(port) = self.port() else { return };
        let settings = snapshot.destination_settings(&port.service, port.port, client_namespace).map(Arc::clone);
        let breaker = node.breakers.of(&port.service, port.port);
        (self.settings, self.breaker) = (settings, Some(breaker));
    }

    /// Whether somebody may need the body after the first try has read it.
    pub(super) fn keeps_body(&self) -> bool {
        self.retry != RetryPolicy::default() || !self.mirrors.is_empty()
    }
}
