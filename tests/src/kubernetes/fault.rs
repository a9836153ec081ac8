//! Faults that a test orders: which requests they hit, how many, and what happens to those.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::ask::{Asked, Verb};

/// A fault; without further limits it hits every request until it is cleared.
#[derive(Clone, Debug)]
#[must_use]
pub struct Fault {
    effect: Effect,
    verb: Option<Verb>,
    resource: Option<String>,
    left: Option<u32>,
}

/// What happens to a request that is hit.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// Answered with this code.
    Status { code: u16, retry_after: Option<u32> },
    /// Answered later.
    Delay(Duration),
    /// The connection is closed instead of an answer.
    HangUp,
}

impl Fault {
    /// Answers with a `Status` of this code.
    pub fn status(code: u16) -> Self {
        Self::new(Effect::Status { code, retry_after: None })
    }

    /// Answers with 429 and `Retry-After`.
    pub fn too_many_requests(retry_after_seconds: u32) -> Self {
        Self::new(Effect::Status { code: 429, retry_after: Some(retry_after_seconds) })
    }

    /// Answers as always, but later.
    pub fn delay(by: Duration) -> Self {
        Self::new(Effect::Delay(by))
    }

    /// Closes the connection instead of an answer.
    pub fn hang_up() -> Self {
        Self::new(Effect::HangUp)
    }

    /// Adds `Retry-After` to the answer with a status code.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        if let Effect::Status { retry_after, .. } = &mut self.effect {
            *retry_after = Some(seconds);
        }
        self
    }

    /// Hits only this verb.
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Hits only this resource, given by its plural.
    pub fn resource(mut self, plural: &str) -> Self {
        self.resource = Some(plural.to_owned());
        self
    }

    /// Hits only the next so many.
    pub fn times(mut self, count: u32) -> Self {
        self.left = Some(count);
        self
    }

    fn new(effect: Effect) -> Self {
        Self { effect, verb: None, resource: None, left: None }
    }

    fn hits(&self, asked: &Asked) -> bool {
        self.verb.is_none_or(|verb| verb == asked.verb)
            && self.resource.as_ref().is_none_or(|resource| *resource == asked.resource)
    }
}

/// The faults in force, the oldest first.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        self.0.lock().push(fault);
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Everything that happens to a request, each counted: delays up to the first fault that answers it.
    pub(super) fn strike(&self, asked: &Asked) -> Vec<Effect> {
        let mut faults = self.0.lock();
        let mut effects = Vec::new();
        for fault in faults.iter_mut().filter(|fault| fault.hits(asked)) {
            if let Some(left) = &mut fault.left {
                *left = left.saturating_sub(1);
            }
            effects.push(fault.effect.clone());
            if !matches!(fault.effect, Effect::Delay(_)) {
                break;
            }
        }
        faults.retain(|fault| fault.left != Some(0));
        effects
    }
}
