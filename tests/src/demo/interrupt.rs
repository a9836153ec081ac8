//! Ctrl-C, SIGTERM and SIGHUP: everything in the bed is killed, so that whoever waits for it stops waiting.
//!
//! The first signal leads to an orderly clean-up by the main thread. The second ends the process at once; the next demo
//! or test run then sweeps up what it left.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::{Condvar, Mutex};
use tokio::signal::unix::{SignalKind, signal};

use super::INTERRUPTED;
use crate::bed::Cgroup;

/// Whether the user wants an end.
#[derive(Default)]
pub(super) struct Interrupt {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    came: bool,
    victims: Option<Cgroup>,
}

impl Interrupt {
    /// Listens from now on, on a thread of its own.
    pub(super) fn listen() -> Result<Arc<Self>> {
        let interrupt = Arc::new(Self::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = Arc::clone(&interrupt);
        // Signals are registered before this returns, not whenever the thread comes to run.
        let inside = runtime.enter();
        let [int, term, hup] = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        drop(inside);
        let (mut int, mut term, mut hup) = (int?, term?, hup?);
        std::thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = int.recv() => {}
                        _ = term.recv() => {}
                        _ = hup.recv() => {}
                    }
                    listener.came_now();
                }
            });
        });
        Ok(interrupt)
    }

    /// Whether a signal came.
    pub(super) fn came(&self) -> bool {
        self.state.lock().came
    }

    /// Waits for a signal, at most so long; true if one came.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.came {
            self.changed.wait_for(&mut state, at_most);
        }
        state.came
    }

    /// What a signal shall kill.
    pub(super) fn kill_when_it_comes(&self, cgroup: &Cgroup) {
        self.state.lock().victims = Some(cgroup.clone());
    }

    fn came_now(&self) {
        let mut state = self.state.lock();
        if state.came {
            std::process::exit(INTERRUPTED.into());
        }
        state.came = true;
        self.changed.notify_all();
        let victims = state.victims.clone();
        drop(state);
        // The main thread takes everything back and reports what it could not.
        let _ = victims.map(|cgroup| cgroup.kill().context("killing the bed's processes"));
    }
}
