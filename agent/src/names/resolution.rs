//! The task that keeps the addresses of names up to date.
//!
//! Each wanted name is asked for in both families, again when an answer's time is over, and with growing pauses while there
//! is no answer. The last answer stays in force meanwhile: an outage of the name servers is not one of the destinations.
//! Bounds: [`MAX_LOOKUPS`] questions at a time, one of each kind; [`MAX_ADDRESSES`] of each name.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{Answer, Lookup, LookupError, Question};
use crate::{
    mesh::{AddressFamily, FollowedRules, MeshState, Names, names_to_resolve},
    observe::{LookupResult, Observer},
};

/// Asks for the names that the mesh wants.
pub struct Resolution {
    resolver: Arc<dyn Lookup>,
    observer: Observer,
    random: fastrand::Rng,
    names: BTreeMap<Arc<str>, Name>,
    lookups: FuturesUnordered<BoxFuture<'static, (Question, Result<Answer, LookupError>)>>,
    in_flight: HashSet<Question>,
    answers: watch::Sender<Names>,
}

/// A wanted name.
#[derive(Debug)]
struct Name {
    families: [Family; FAMILIES.len()],
    /// It has no address, and that was said.
    empty: bool,
    /// It has more than are used, and that was said.
    over: bool,
}

/// What is known of a name in one family.
#[derive(Debug)]
struct Family {
    addresses: BTreeSet<IpAddr>,
    answered: bool,
    failures: u32,
    due: Instant,
}

const FAMILIES: [AddressFamily; 2] = [AddressFamily::V4, AddressFamily::V6];

impl Resolution {
    /// Of names that are asked of `resolver`; `answers` gets their addresses.
    pub fn new(resolver: Arc<dyn Lookup>, observer: Observer, answers: watch::Sender<Names>) -> Self {
        let (names, lookups, in_flight) = Default::default();
        Self { resolver, observer, random: fastrand::Rng::new(), names, lookups, in_flight, answers }
    }

    /// Follows what the mesh wants, until the mesh ends.
    pub async fn run(mut self, mesh: watch::Receiver<MeshState>) {
        let mut rules = FollowedRules::of(mesh);
        self.want(&names_to_resolve(rules.get()));
        loop {
            let due = self.ask_what_is_due();
            tokio::select! {
                rules = rules.changed() => match rules {
                    Some(rules) => self.want(&names_to_resolve(rules)),
                    None => return,
                },
                Some((question, result)) = self.lookups.next() => self.settle(&question, result),
                () = sleep_until(due) => {}
            }
        }
    }

    /// These names and no others.
    fn want(&mut self, wanted: &BTreeSet<String>) {
        self.names.retain(|name, _| wanted.contains(&**name));
        for name in wanted {
            if !self.names.contains_key(name.as_str()) {
                self.names.insert(name.as_str().into(), Name::new(Instant::now()));
            }
        }
        self.observer.metrics().set_dns_names(self.names.len());
        self.tell_left_out();
        self.answers.send_if_modified(|names| {
            let before = names.len();
            names.retain(|name, _| wanted.contains(name));
            names.len() != before
        });
    }

    /// Starts lookups, and says until when nothing else can be due.
    fn ask_what_is_due(&mut self) -> Instant {
        let now = Instant::now();
        let mut next = now + LONGEST_LIFE;
        for (name, state) in &self.names {
            for (family, known) in FAMILIES.into_iter().zip(&state.families) {
                let question = Question { name: Arc::clone(name), family };
                if self.in_flight.contains(&question) {
                    continue;
                }
                if known.due > now {
                    next = next.min(known.due);
                } else if self.in_flight.len() < MAX_LOOKUPS {
                    // When all slots are taken an answer wakes the loop.
                    self.lookups.push(ask(&*self.resolver, question.clone()));
                    self.in_flight.insert(question);
                }
            }
        }
        next
    }

    fn settle(&mut self, question: &Question, result: Result<Answer, LookupError>) {
        self.in_flight.remove(question);
        self.observer.metrics().dns_lookup(match &result {
            Ok(answer) if answer.addresses.is_empty() => LookupResult::Empty,
            Ok(_) => LookupResult::Ok,
            Err(_) => LookupResult::Failed,
        });
        // Nobody may want it any more.
        let Some(name) = self.names.get_mut(&question.name) else { return };
        let Some(known) = name.family_mut(question.family) else { return };
        match result {
            Ok(answer) => {
                known.answer(question, answer);
                name.tell_if_empty(&question.name);
                name.tell_if_too_many(&question.name);
                let addresses = name.addresses();
                self.answers.send_if_modified(|names| put(names, &question.name, addresses));
                self.tell_left_out();
            }
            Err(error) => known.fail(question, &error, &mut self.random),
        }
    }

    fn tell_left_out(&self) {
        self.observer.metrics().set_dns_left_out(self.names.values().map(Name::left_out).sum());
    }
}

impl Name {
    fn new(due: Instant) -> Self {
        let family = || Family { addresses: BTreeSet::new(), answered: false, failures: 0, due };
        Self { families: FAMILIES.map(|_| family()), empty: false, over: false }
    }

    fn family_mut(&mut self, family: AddressFamily) -> Option<&mut Family> {
        FAMILIES.into_iter().zip(&mut self.families).find_map(|(own, known)| (own == family).then_some(known))
    }

    /// The same ones, where there are too many, whatever the order in which the server gave them.
    fn addresses(&self) -> BTreeSet<IpAddr> {
        self.families.iter().flat_map(|family| &family.addresses).copied().take(MAX_ADDRESSES).collect()
    }

    fn left_out(&self) -> usize {
        let all: usize = self.families.iter().map(|family| family.addresses.len()).sum();
        all.saturating_sub(MAX_ADDRESSES)
    }

    fn tell_if_too_many(&mut self, name: &str) {
        let left_out = self.left_out();
        if left_out > 0 && !self.over {
            tracing::warn!(
                name,
                left_out,
                "a name of a ServiceEntry has more than {MAX_ADDRESSES} addresses; the first in order are used"
            );
        }
        self.over = left_out > 0;
    }

    fn tell_if_empty(&mut self, name: &str) {
        let empty = self.families.iter().all(|family| family.answered && family.addresses.is_empty());
        if empty && !self.empty {
            tracing::warn!(name, "a name of a ServiceEntry has no address");
        }
        self.empty = empty;
    }
}

impl Family {
    fn answer(&mut self, question: &Question, answer: Answer) {
        if self.failures > 0 {
            tracing::info!(%question, failures = self.failures, "a name of a ServiceEntry is resolved again");
        }
        let due = Instant::now() + answer.time_to_live.clamp(SHORTEST_LIFE, LONGEST_LIFE);
        *self = Self { addresses: answer.addresses, answered: true, failures: 0, due };
    }

    fn fail(&mut self, question: &Question, error: &LookupError, random: &mut fastrand::Rng) {
        if self.failures == 0 {
            let kept = self.addresses.len();
            tracing::warn!(%question, %error, kept, "resolve a name of a ServiceEntry; will ask again");
        }
        self.failures = self.failures.saturating_add(1);
        self.due = Instant::now() + retry_pause(self.failures, random);
    }
}

fn ask(resolver: &dyn Lookup, question: Question) -> BoxFuture<'static, (Question, Result<Answer, LookupError>)> {
    let lookup = resolver.lookup(&question);
    Box::pin(async move {
        let result = timeout(LOOKUP_TIMEOUT, lookup).await.unwrap_or(Err(LookupError::TimedOut(LOOKUP_TIMEOUT)));
        (question, result)
    })
}

/// Whether that changed anything.
fn put(names: &mut Names, name: &str, addresses: BTreeSet<IpAddr>) -> bool {
    match names.get(name) {
        Some(before) if *before == addresses => false,
        None if addresses.is_empty() => false,
        _ => {
            names.insert(name.to_owned(), addresses);
            true
        }
    }
}

/// 1 s, 2 s, 4 s ... 60 s; each but the first shortened by up to half, and none below a second.
fn retry_pause(failures: u32, random: &mut fastrand::Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(MAX_PAUSE);
    pause.mul_f64(0.5 + 0.5 * random.f64()).max(FIRST_PAUSE)
}

/// A time to live of zero must not become a flood of questions.
pub(super) const SHORTEST_LIFE: Duration = Duration::from_secs(5);
/// A destination that moves although its records said a day is followed within five minutes.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(300);
/// What a caching server on the node bears without notice; a thousand names are through in a second or two.
pub(super) const MAX_LOOKUPS: usize = 16;
/// More than any answer over UDP holds, and what a pick among endpoints can look at for each connection.
pub(super) const MAX_ADDRESSES: usize = 64;
/// Two tries of five seconds, as resolv.conf has them by default, with two servers.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// After a long outage of the name servers, recovery takes no longer than this.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(60);
