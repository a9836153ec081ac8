//! What one data thread knows of the pods that it works for: what each has used lately, and who waits for a turn.
//!
//! It decides; it polls nothing and wakes nobody.

use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use rustix::time::{ClockId, clock_gettime};

use crate::shares::{Account, Share};

/// How long a pod that was put off may go on, in nanoseconds: some polls of a busy connection. It is what a pod that uses little
/// waits for at most, and beside it what looking for events costs is little.
pub(super) const SLICE: u64 = 100_000;
/// Between two looks at what fades, in nanoseconds.
const TICK: u64 = 2_000_000;
/// What is left of a debt after a tick, as a share of [`PARTS`]: half of it is gone after ten milliseconds.
const LEFT: u64 = 7;
const PARTS: u64 = 8;
/// Ticks after which nothing is left of any debt.
const FADED: u64 = 128;
/// How long a pod counts as active after its last poll, in nanoseconds: a client that asks ten times a second shall not find the thread
/// at work for a hundred others.
const ACTIVE: u64 = 100_000_000;
/// Tasks that go on at once, at most, when polls seem to cost nothing.
const MOST: u64 = 64;
/// Polls of a pod that is alone between two looks at what the thread has used.
const POLLS: u32 = 64;

thread_local! {
    static THREAD: RefCell<Thread> = RefCell::new(Thread::new(Instant::now()));
}

/// The pods of this thread.
pub(super) struct Thread {
    /// Whether pods are put off here.
    on: bool,
    start: Instant,
    pods: Vec<Pod>,
    /// Whose task is being polled.
    current: Option<usize>,
    /// The pod that has had the thread to itself lately.
    alone: Option<Alone>,
    /// When debts faded last.
    ticked: u64,
    /// Pods that were active lately, and the least debts of them, as of the last tick or of who came since.
    active: usize,
    least: Least,
    /// Tasks that were put off and wait.
    waiting: usize,
    /// Woken when there is one.
    idle: Option<Waker>,
}

/// One pod on this thread.
#[derive(Default)]
pub(super) struct Pod {
    account: Option<Arc<Account>>,
    tasks: usize,
    /// Weighted nanoseconds.
    debt: u64,
    last: u64,
    is_active: bool,
    /// What one poll takes, in the middle.
    cost: u64,
    /// Not entered in the account yet.
    worked: u64,
    put_off: u64,
    /// Tickets are numbered: the queue has those from `called` to `given`.
    queue: VecDeque<Waker>,
    given: u64,
    called: u64,
}

/// The least debt and whose it is, and the least of all others: a pod is put off for what others have used less, and not for what it
/// has used itself since the last tick.
struct Least {
    debt: u64,
    pod: usize,
    of_others: u64,
}

impl Default for Least {
    fn default() -> Self {
        Self { debt: u64::MAX, pod: usize::MAX, of_others: u64::MAX }
    }
}

impl Least {
    /// One more pod, each once.
    fn enter(&mut self, pod: usize, debt: u64) {
        if debt < self.debt {
            *self = Self { debt, pod, of_others: self.debt };
        } else {
            self.of_others = self.of_others.min(debt);
        }
    }

    /// Of all pods but this one.
    fn of_others(&self, pod: usize) -> u64 {
        if pod == self.pod { self.of_others } else { self.debt }
    }
}

/// A pod that has a thread to itself, as of the last look at what the thread has used.
struct Alone {
    pod: usize,
    /// Since then.
    polls: u32,
    /// CPU time of the thread then.
    used: u64,
}

/// A poll that has begun.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    /// Whose poll it is in.
    outer: Option<usize>,
    /// Nobody looked where the pod is alone.
    at: Option<Instant>,
}

impl Begun {
    pub(super) fn is_alone(self) -> bool {
        self.at.is_none()
    }
}

/// A task's place on its thread.
pub(super) struct Seat {
    pod: usize,
    ticket: Option<u64>,
}

impl Seat {
    pub(super) fn of(account: &Arc<Account>) -> Self {
        Self { pod: Thread::with(|thread| thread.enter(account)).unwrap_or(usize::MAX), ticket: None }
    }

    #[cfg(test)]
    pub(super) fn at(pod: usize) -> Self {
        Self { pod, ticket: None }
    }

    /// Begins a poll of the task, if it is its turn. If not, its waker is called when it is.
    pub(super) fn begin(&mut self, waker: &Waker) -> Option<Begun> {
        let nowhere = Some(Begun { outer: None, at: None });
        Thread::with(|thread| thread.begin_poll(self, waker)).unwrap_or(nowhere)
    }

    /// The poll has ended.
    pub(super) fn end(&self, begun: Begun) {
        Thread::with(|thread| thread.end_poll(self.pod, begun));
    }

    pub(super) fn leave(self) {
        // Dropped here, and not while the thread is borrowed: wakers own tasks.
        drop(Thread::with(|thread| thread.leave(self.pod)));
    }
}

impl Thread {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            on: false,
            start,
            pods: Vec::new(),
            current: None,
            alone: None,
            ticked: 0,
            active: 0,
            least: Least::default(),
            waiting: 0,
            idle: None,
        }
    }

    /// This thread's. `None` while the thread ends, when nobody waits for anything.
    pub(super) fn with<T>(act: impl FnOnce(&mut Self) -> T) -> Option<T> {
        THREAD.try_with(|thread| thread.try_borrow_mut().ok().map(|mut thread| act(&mut thread))).ok().flatten()
    }

    /// From now on pods are put off here.
    pub(super) fn begin(&mut self) {
        self.on = true;
    }

    /// Whose task is being polled.
    pub(super) fn current(&mut self) -> Option<Arc<Account>> {
        self.pods.get(self.current?)?.account.clone()
    }

    pub(super) fn enter(&mut self, account: &Arc<Account>) -> usize {
        let same = |pod: &Pod| pod.account.as_ref().is_some_and(|own| Arc::ptr_eq(own, account));
        let known = self.pods.iter().position(same);
        let index = known.or_else(|| self.pods.iter().position(|pod| pod.account.is_none())).unwrap_or_else(|| {
            self.pods.push(Pod::default());
            self.pods.len() - 1
        });
        if let Some(pod) = self.pods.get_mut(index) {
            pod.account.get_or_insert_with(|| Arc::clone(account));
            pod.tasks += 1;
        }
        index
    }

    /// One task less. Wakers of tasks that are gone, to be dropped by the caller, with the account.
    pub(super) fn leave(&mut self, index: usize) -> Option<Pod> {
        let pod = self.pods.get_mut(index)?;
        pod.tasks = pod.tasks.saturating_sub(1);
        if pod.tasks > 0 {
            return None;
        }
        if self.alone.as_ref().is_some_and(|alone| alone.pod == index) {
            self.end_alone();
        }
        let pod = self.pods.get_mut(index)?;
        pod.flush();
        self.waiting -= pod.queue.len();
        self.active -= usize::from(pod.is_active);
        Some(std::mem::take(pod))
    }

    pub(super) fn begin_poll(&mut self, seat: &mut Seat, waker: &Waker) -> Option<Begun> {
        let is_alone = self.alone.as_ref().is_some_and(|alone| alone.pod == seat.pod);
        if !is_alone {
            self.end_alone();
            if !self.is_next(seat, waker) {
                return None;
            }
        }
        Some(Begun { outer: self.current.replace(seat.pod), at: (!is_alone).then(Instant::now) })
    }

    pub(super) fn end_poll(&mut self, pod: usize, begun: Begun) {
        self.current = begun.outer;
        match begun.at {
            Some(began) => {
                let now = Instant::now();
                self.charge(pod, 1, nanos(began, now), nanos(self.start, now));
                if self.on && self.active == 1 && self.waiting == 0 && self.alone.is_none() {
                    self.alone = Some(Alone { pod, polls: 0, used: used_by_thread() });
                }
            }
            None => {
                let Some(alone) = self.alone.as_mut().filter(|alone| alone.pod == pod) else { return };
                alone.polls += 1;
                if alone.polls == POLLS {
                    self.charge_alone();
                }
            }
        }
    }

    /// Charges the pod that is alone for what the thread has used.
    fn charge_alone(&mut self) {
        let Some(alone) = &mut self.alone else { return };
        let now = used_by_thread();
        let (pod, polls, took) = (alone.pod, alone.polls, now.saturating_sub(alone.used));
        (alone.used, alone.polls) = (now, 0);
        self.charge(pod, polls, took, nanos(self.start, Instant::now()));
    }

    /// Another pod comes, or this one goes.
    fn end_alone(&mut self) {
        self.charge_alone();
        self.alone = None;
    }

    pub(super) fn is_next(&mut self, seat: &mut Seat, waker: &Waker) -> bool {
        let Some(pod) = self.pods.get_mut(seat.pod) else { return true };
        if let Some(ticket) = seat.ticket {
            let called = ticket < pod.called;
            if called {
                seat.ticket = None;
            }
            // Else something has woken the task that it will find when it is called.
            return called;
        }
        let others = self.least.of_others(seat.pod);
        let is_ahead = self.active > usize::from(pod.is_active) && pod.debt > others.saturating_add(SLICE);
        if !self.on || (!is_ahead && pod.queue.is_empty()) {
            return true;
        }
        seat.ticket = Some(pod.given);
        pod.given += 1;
        pod.put_off += 1;
        pod.queue.push_back(waker.clone());
        self.waiting += 1;
        if let Some(idle) = self.idle.take() {
            idle.wake();
        }
        false
    }

    /// Enters so many polls of a pod.
    pub(super) fn charge(&mut self, index: usize, polls: u32, took: u64, now: u64) {
        let Some(pod) = self.pods.get_mut(index) else { return };
        let weight = pod.account.as_ref().map_or(Share::WEIGHT, |account| account.weight());
        pod.debt += took * u64::from(Share::WEIGHT) / u64::from(weight.max(1));
        pod.worked += took;
        pod.cost = (pod.cost * 7 + took / u64::from(polls.max(1))) / 8;
        pod.last = now;
        if !pod.is_active {
            pod.is_active = true;
            self.active += 1;
            self.least.enter(index, pod.debt);
        }
        if now.saturating_sub(self.ticked) >= TICK {
            self.tick(now);
        }
    }

    /// Debts fade, and what was done is entered in the accounts.
    fn tick(&mut self, now: u64) {
        let ticks = (now.saturating_sub(self.ticked) / TICK).min(FADED);
        self.ticked = now;
        (self.active, self.least) = (0, Least::default());
        for (index, pod) in self.pods.iter_mut().enumerate() {
            pod.debt = (0..ticks).fold(pod.debt, |debt, _| debt * LEFT / PARTS);
            pod.is_active = pod.tasks > 0 && now.saturating_sub(pod.last) < ACTIVE;
            pod.flush();
            if pod.is_active {
                self.active += 1;
                self.least.enter(index, pod.debt);
            }
        }
    }

    pub(super) fn poll_anyone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.waiting > 0 {
            return Poll::Ready(());
        }
        self.idle = Some(context.waker().clone());
        Poll::Pending
    }

    /// Gives those a turn who may go on: of the pod with the least debt, for a slice.
    pub(super) fn let_go_on(&mut self, next: &mut Vec<Waker>) {
        let waiting = self.pods.iter_mut().filter(|pod| !pod.queue.is_empty());
        let Some(pod) = waiting.min_by_key(|pod| pod.debt) else { return };
        let count = (SLICE / pod.cost.max(1)).clamp(1, MOST).min(pod.queue.len() as u64);
        pod.called += count;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        next.extend(pod.queue.drain(..count));
        self.waiting -= count;
    }
}

impl Pod {
    fn flush(&mut self) {
        let (worked, put_off) = (std::mem::take(&mut self.worked), std::mem::take(&mut self.put_off));
        if let Some(account) = self.account.as_ref().filter(|_| worked > 0 || put_off > 0) {
            account.add_work(worked, put_off);
        }
    }
}

/// CPU time of this thread, in nanoseconds.
fn used_by_thread() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}

fn nanos(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_nanos()).unwrap_or(u64::MAX)
}
