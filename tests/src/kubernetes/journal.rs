//! What the server was asked, in order, so that a test can say "it resumed and did not list again".

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::ask::{Asked, Verb};

/// All requests so far; a copy that does not change.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The requests, the oldest first.
    pub requests: Vec<Asked>,
}

impl Journal {
    /// The requests with this verb for this resource, given by its plural.
    #[must_use]
    pub fn of(&self, verb: Verb, resource: &str) -> Vec<&Asked> {
        self.requests.iter().filter(|asked| asked.verb == verb && asked.resource == resource).collect()
    }

    /// The latest of them.
    #[must_use]
    pub fn last(&self, verb: Verb, resource: &str) -> Option<&Asked> {
        self.of(verb, resource).pop()
    }

    /// One line per request, for failure messages.
    #[must_use]
    pub fn describe(&self) -> String {
        let line = |asked: &Asked| {
            let status = asked.status.map_or("unanswered".to_owned(), |status| status.to_string());
            format!("{} {} {:?}: {status}\n", asked.verb, asked.path, asked.query)
        };
        self.requests.iter().map(line).collect()
    }
}

/// The place of a request in the journal.
#[derive(Clone, Copy)]
pub(super) struct Line {
    number: usize,
    /// Lines of a journal that was forgotten meanwhile get no answer.
    volume: usize,
}

/// The journal that the server writes.
#[derive(Clone, Default)]
pub(super) struct Writer(Arc<(Mutex<Pages>, Condvar)>);

#[derive(Default)]
struct Pages {
    journal: Journal,
    volume: usize,
}

impl Writer {
    pub(super) fn asked(&self, asked: &Asked) -> Line {
        let mut pages = self.0.0.lock();
        pages.journal.requests.push(asked.clone());
        self.0.1.notify_all();
        Line { number: pages.journal.requests.len() - 1, volume: pages.volume }
    }

    pub(super) fn answered(&self, line: Line, status: u16) {
        let mut pages = self.0.0.lock();
        if pages.volume == line.volume
            && let Some(asked) = pages.journal.requests.get_mut(line.number)
        {
            asked.status = Some(status);
        }
        self.0.1.notify_all();
    }

    pub(super) fn copy(&self) -> Journal {
        self.0.0.lock().journal.clone()
    }

    pub(super) fn forget(&self) {
        let mut pages = self.0.0.lock();
        pages.journal = Journal::default();
        pages.volume += 1;
    }

    /// Waits until the journal satisfies `wanted`; gives it back in any case.
    pub(super) fn wait(&self, within: Duration, wanted: &dyn Fn(&Journal) -> bool) -> (bool, Journal) {
        let deadline = Instant::now() + within;
        let mut pages = self.0.0.lock();
        loop {
            let holds = wanted(&pages.journal);
            if holds || self.0.1.wait_until(&mut pages, deadline).timed_out() {
                // What came together with the end of the wait counts, too.
                return (holds || wanted(&pages.journal), pages.journal.clone());
            }
        }
    }
}
