//! The list of things to take back: every step that changes the machine first says here how to undo itself.
//!
//! Steps run in reverse order, each exactly once. A step that fails does not stop the others; the failures come out
//! together. A step must succeed when its object is already gone, because tests delete things on their own.

use anyhow::{Result, bail};
use parking_lot::Mutex;

type Step = Box<dyn FnOnce() -> Result<()> + Send>;

/// Undo steps, in the order in which they were added.
#[derive(Default)]
pub(super) struct Undo {
    steps: Mutex<Vec<(String, Step)>>,
}

impl Undo {
    /// Adds a step; `what` names the object for the failure message.
    pub(super) fn push(&self, what: impl Into<String>, step: impl FnOnce() -> Result<()> + Send + 'static) {
        self.steps.lock().push((what.into(), Box::new(step)));
    }

    /// Runs every step, the youngest first.
    pub(super) fn run(&self) -> Result<()> {
        let mut failures = Vec::new();
        loop {
            // The lock is not held while a step runs: steps may take seconds.
            let next = self.steps.lock().pop();
            let Some((what, step)) = next else { break };
            if let Err(error) = step() {
                failures.push(format!("{what}: {error:#}"));
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        bail!("could not take back {} thing(s): {}", failures.len(), failures.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn steps_run_youngest_first_and_a_failure_does_not_stop_the_others() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let undo = Undo::default();
        for n in 1..=3 {
            let order = Arc::clone(&order);
            undo.push(format!("step {n}"), move || {
                order.lock().push(n);
                if n == 2 { bail!("stuck") } else { Ok(()) }
            });
        }
        let error = undo.run().map_err(|e| e.to_string());
        assert_eq!(error, Err("could not take back 1 thing(s): step 2: stuck".to_owned()));
        assert_eq!(*order.lock(), [3, 2, 1]);
        assert!(undo.run().is_ok(), "nothing is left to do the second time");
    }
}
