//! What the service over a guarded connection tells the guard, and reads of it.

use std::{sync::Arc, task::Waker};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Refused;

/// The service's side of a guard. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct GuardHandle {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    switch: Switch,
    waiting: Option<Waker>,
    refused: Option<Refused>,
    requests: usize,
    idle_since: Instant,
}

/// Whether other than HTTP follows a request that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Undecided,
    Accepted,
    Declined,
}

/// One request is being answered: drop it when its answer's body has ended. The connection is not idle until then.
#[derive(Debug)]
pub struct InFlight(GuardHandle);

impl GuardHandle {
    pub(super) fn new() -> Self {
        let inner =
            Inner { switch: Switch::Declined, waiting: None, refused: None, requests: 0, idle_since: Instant::now() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A request has reached the service.
    pub fn request(&self) -> InFlight {
        self.inner.lock().requests += 1;
        InFlight(self.clone())
    }

    /// CONNECT or an upgrade is answered with success: from here on everything passes.
    pub fn accept_switch(&self) {
        self.decide(Switch::Accepted);
    }

    /// CONNECT or a request with an Upgrade header is answered as any other: HTTP goes on. Until either is called, nothing
    /// that follows such a request is read.
    pub fn decline_switch(&self) {
        self.decide(Switch::Declined);
    }

    /// Why the guard ended the connection, if it did.
    pub fn refused(&self) -> Option<Refused> {
        self.inner.lock().refused
    }

    fn decide(&self, switch: Switch) {
        let mut inner = self.inner.lock();
        inner.switch = switch;
        let waiting = inner.waiting.take();
        drop(inner);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    pub(super) fn expect_switch(&self) {
        self.inner.lock().switch = Switch::Undecided;
    }

    /// The decision; where there is none yet, who asked is woken when there is.
    pub(super) fn switch(&self, waker: &Waker) -> Switch {
        let mut inner = self.inner.lock();
        if inner.switch == Switch::Undecided {
            inner.waiting = Some(waker.clone());
        }
        inner.switch
    }

    pub(super) fn refuse(&self, refused: Refused) {
        self.inner.lock().refused.get_or_insert(refused);
    }

    /// Since when no request is being answered.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let inner = self.inner.lock();
        (inner.requests == 0).then_some(inner.idle_since)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.requests -= 1;
        inner.idle_since = Instant::now();
    }
}
