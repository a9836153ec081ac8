//! Who gets a request, and what is known of the way there.

use std::sync::Arc;

use super::stay::Stay;
use crate::{
    balance::{
        breaker::{Breaker, PoolSettings},
        hash_key::NewCookie,
    },
    mesh::{ServicePort, Snapshot},
    node::Node,
    route::Route,
    rules::destination_rule::PortSettings,
};

/// Who gets a request.
pub(super) struct Backend<'s> {
    /// The Service port, pod or outside address.
    pub(super) to: Route,
    /// Whether it takes over from a Service port that cannot. Then no cookie is written: the client is to come back to that one.
    pub(super) is_fallback: bool,
    /// What a DestinationRule says of the Service port.
    pub(super) settings: Option<Arc<PortSettings>>,
    /// How much is under way to it.
    pub(super) breaker: Option<Arc<Breaker>>,
    /// What requests of this one's kind have in common.
    pub(super) hash: Option<u64>,
    /// The cookie that the client is to have from now on, for its hash.
    pub(super) hash_cookie: Option<NewCookie>,
    /// How the client stays with one endpoint.
    pub(super) stay: Option<Stay<'s>>,
}

impl Backend<'_> {
    /// Of which nothing is known.
    pub(super) fn new(to: Route) -> Self {
        Self { to, is_fallback: false, settings: None, breaker: None, hash: None, hash_cookie: None, stay: None }
    }

    /// A Service port that takes over.
    pub(super) fn fallback(port: Arc<ServicePort>) -> Self {
        Self { is_fallback: true, ..Self::new(Route::Service(port)) }
    }

    /// The Service port, if it is one.
    pub(super) fn port(&self) -> Option<&Arc<ServicePort>> {
        match &self.to {
            Route::Service(port) => Some(port),
            Route::Workload(..) | Route::External(..) => None,
        }
    }

    /// What a document says about connections to it.
    pub(super) fn pool(&self) -> PoolSettings<'_> {
        PoolSettings::of(self.settings.as_deref())
    }

    /// Looks up what is known of a Service port, for a client of a namespace.
    pub(super) fn look_up(&mut self, node: &Node, snapshot: &Snapshot, client_namespace: &str) {
        let Some(port) = self.port() else { return };
        let settings = snapshot.destination_settings(&port.service, port.port, client_namespace).map(Arc::clone);
        let breaker = node.breakers.of(&port.service, port.port);
        (self.settings, self.breaker) = (settings, Some(breaker));
    }
}
