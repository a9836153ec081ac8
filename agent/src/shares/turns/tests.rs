//! Tests of whose turn it is.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Wake;
use std::time::{Duration, Instant};

use super::*;
use crate::shares::{Overload, Share};
use thread::SLICE;

const SHARE: Share = Share { weight: 100, connections: 1, handshakes: 1, buffer_bytes: 1 << 20 };

fn account(weight: u32) -> Arc<Account> {
    Account::new(Share { weight, ..SHARE }, &Overload::new(1000))
}

#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A thread whose clock the test moves.
struct Bench {
    thread: Thread,
    now: u64,
}

/// One task, and how often it was woken.
struct Task {
    seat: Seat,
    pod: usize,
    woken: Arc<Woken>,
}

impl Bench {
    fn new() -> Self {
        let mut thread = Thread::new(Instant::now());
        thread.begin();
        Self { thread, now: 0 }
    }

    fn task(&mut self, account: &Arc<Account>) -> Task {
        let pod = self.thread.enter(account);
        Task { seat: Seat::at(pod), pod, woken: Arc::default() }
    }

    /// Polls a task for so long, if it is its turn; whether it was.
    fn poll(&mut self, task: &mut Task, took: u64) -> bool {
        let turn = self.thread.is_next(&mut task.seat, &Arc::clone(&task.woken).into());
        if turn {
            self.now += took;
            self.thread.charge(task.pod, 1, took, self.now);
        }
        turn
    }

    fn let_go_on(&mut self) {
        let mut next = Vec::new();
        self.thread.let_go_on(&mut next);
        next.into_iter().for_each(Waker::wake);
    }
}

impl Task {
    fn woken(&self) -> u32 {
        self.woken.0.load(Relaxed)
    }
}

#[test]
fn a_pod_alone_is_never_put_off() {
    let mut bench = Bench::new();
    let mut task = bench.task(&account(100));
    for _ in 0..1000 {
        assert!(bench.poll(&mut task, SLICE * 3));
    }
}

#[test]
fn who_has_used_more_than_another_waits_and_the_other_does_not() {
    let mut bench = Bench::new();
    let (mut heavy, mut light) = (bench.task(&account(100)), bench.task(&account(100)));
    assert!(bench.poll(&mut light, 1000) && bench.poll(&mut heavy, 10 * SLICE));
    assert!(!bench.poll(&mut heavy, 1000), "it is put off");
    assert!(!bench.poll(&mut heavy, 1000), "whatever else wakes it");
    assert!(bench.poll(&mut light, 1000));
    bench.let_go_on();
    assert_eq!(heavy.woken(), 1);
    assert!(bench.poll(&mut heavy, SLICE), "when nobody wants the thread, it goes on");
    assert!(!bench.poll(&mut heavy, SLICE));
}

#[test]
fn who_has_used_least_goes_on_until_it_has_used_more_than_another() {
    let mut bench = Bench::new();
    let (mut heavy, mut light) = (bench.task(&account(100)), bench.task(&account(100)));
    assert!(bench.poll(&mut light, 1000) && bench.poll(&mut heavy, 25 * SLICE));
    assert!(bench.poll(&mut light, 2 * SLICE));
    assert!(bench.poll(&mut light, 25 * SLICE), "the other has used ten times as much");
    assert!(!bench.poll(&mut light, 1000));
}

#[test]
fn a_new_task_of_a_pod_that_waits_waits_behind_the_others() {
    let mut bench = Bench::new();
    let (many, other) = (account(100), account(100));
    let (mut first, mut second, mut light) = (bench.task(&many), bench.task(&many), bench.task(&other));
    assert!(bench.poll(&mut light, 1000) && bench.poll(&mut first, 10 * SLICE));
    assert!(!bench.poll(&mut first, SLICE) && !bench.poll(&mut second, SLICE));
    bench.let_go_on();
    assert_eq!((first.woken(), second.woken()), (1, 0));
    assert!(!bench.poll(&mut second, SLICE) && bench.poll(&mut first, SLICE));
}

#[test]
fn who_waits_longest_in_debt_goes_on_last_and_weights_count() {
    let mut bench = Bench::new();
    let (mut plain, mut weighty, mut light) =
        (bench.task(&account(100)), bench.task(&account(400)), bench.task(&account(100)));
    assert!(bench.poll(&mut light, 1000));
    assert!(bench.poll(&mut plain, 10 * SLICE) && bench.poll(&mut weighty, 12 * SLICE));
    assert!(!bench.poll(&mut plain, 0) && !bench.poll(&mut weighty, 0));
    bench.let_go_on();
    assert_eq!((plain.woken(), weighty.woken()), (0, 1));
}

#[test]
fn those_who_want_all_that_there_is_share_it_by_their_weights() {
    let mut bench = Bench::new();
    let mut tasks = [bench.task(&account(100)), bench.task(&account(400))];
    let mut turns = [0.0, 0.0];
    for _ in 0..10_000 {
        let mut polled = false;
        for (task, turns) in tasks.iter_mut().zip(&mut turns) {
            if bench.poll(task, SLICE) {
                *turns += 1.0;
                polled = true;
            }
        }
        // The runtime comes to it when it has nothing else to do.
        if !polled {
            bench.let_go_on();
        }
    }
    let ratio = turns[1] / turns[0];
    assert!((3.5..4.5).contains(&ratio), "{turns:?}");
}

#[test]
fn a_debt_fades() {
    let mut bench = Bench::new();
    let (mut heavy, mut light) = (bench.task(&account(100)), bench.task(&account(100)));
    assert!(bench.poll(&mut light, 1000) && bench.poll(&mut heavy, 100 * SLICE));
    bench.now += 80_000_000;
    assert!(bench.poll(&mut light, 1000));
    assert!(bench.poll(&mut heavy, 1000), "what it used 80 ms ago is forgiven");
}

#[test]
fn what_was_done_for_a_pod_is_entered_in_its_account() {
    let mut bench = Bench::new();
    let (pod, other) = (account(100), account(100));
    let (mut heavy, mut light) = (bench.task(&pod), bench.task(&other));
    assert!(bench.poll(&mut light, 1000) && bench.poll(&mut heavy, 5_000_000));
    assert!(!bench.poll(&mut heavy, 1000));
    drop(bench.thread.leave(heavy.pod));
    assert_eq!((pod.worked(), pod.put_off()), (Duration::from_millis(5), 1));
    assert!(bench.poll(&mut light, 1000), "the place of the one that left is free");
    let mut next = bench.task(&account(100));
    assert!(next.pod == heavy.pod && bench.poll(&mut next, 1000));
}

#[test]
fn a_pod_that_is_alone_has_the_threads_time_without_a_look_for_each_poll() {
    let mut bench = Bench::new();
    let (own, other) = (account(100), account(100));
    let (mut alone, mut second) = (bench.task(&own), bench.task(&other));
    let poll = |bench: &mut Bench, task: &mut Task, took| {
        let begun = bench.thread.begin_poll(&mut task.seat, &Arc::clone(&task.woken).into())?;
        let until = Instant::now() + took;
        while Instant::now() < until {}
        bench.thread.end_poll(task.pod, begun);
        Some(begun.is_alone())
    };
    assert_eq!(poll(&mut bench, &mut alone, Duration::ZERO), Some(false), "the first is not known to be");
    for _ in 0..200 {
        assert_eq!(poll(&mut bench, &mut alone, Duration::from_micros(100)), Some(true));
    }
    assert!(own.worked() > Duration::from_millis(2), "{:?}", own.worked());
    assert_eq!(poll(&mut bench, &mut second, Duration::ZERO), Some(false));
    assert_eq!(poll(&mut bench, &mut alone, Duration::ZERO), None, "what it used alone is in its debt");
    bench.let_go_on();
    assert_eq!(poll(&mut bench, &mut alone, Duration::ZERO), Some(false), "it is not alone any more");
}

/// With a task that takes turns out, as data threads have it.
fn on_a_data_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::spawn(take_turns());
        test.await;
    });
}

/// Works for a while and wakes itself, until it was polled so often.
async fn work(polls: u32, took: Duration, order: Arc<parking_lot::Mutex<Vec<u8>>>, name: u8) {
    let mut left = polls;
    poll_fn(|context| {
        let until = Instant::now() + took;
        while Instant::now() < until {}
        order.lock().push(name);
        left -= 1;
        if left == 0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn one_task_of_a_light_pod_does_not_wait_for_a_hundred_of_a_busy_one() {
    let order = Arc::<parking_lot::Mutex<Vec<u8>>>::default();
    on_a_data_thread(async {
        let (busy, light) = (account(100), account(100));
        let work_of = |polls, micros, name| work(polls, Duration::from_micros(micros), Arc::clone(&order), name);
        // Both are active, and the busy one has its debt.
        let _kept = spawn_for(&light, std::future::pending::<()>());
        spawn_for(&light, work_of(1, 1, b'-')).await.unwrap();
        spawn_for(&busy, work_of(1, 4000, b'-')).await.unwrap();
        let many: Vec<_> = (0..100).map(|_| spawn_for(&busy, work_of(10, 50, b'b'))).collect();
        spawn_for(&light, work_of(1, 1, b'l')).await.unwrap();
        for one in many {
            one.await.unwrap();
        }
    });
    let order = order.lock();
    let before = order.iter().take_while(|name| **name != b'l').filter(|name| **name == b'b').count();
    assert!(before < 20, "{before} polls of the busy pod came first");
    assert_eq!(order.iter().filter(|name| **name == b'b').count(), 1000, "and all of its work was done");
}

#[test]
fn tasks_started_in_a_pods_task_are_the_pods() {
    on_a_data_thread(async {
        let pod = account(100);
        spawn_for(&pod, async {
            spawn(work(1, Duration::from_millis(20), Arc::default(), b'x')).await.unwrap();
        })
        .await
        .unwrap();
        // A thread that has to wait for a CPU uses less than passes.
        assert!(pod.worked() >= Duration::from_millis(2), "{:?}", pod.worked());
    });
}

#[test]
fn a_poll_that_moves_much_ends_and_goes_on_at_once() {
    on_a_data_thread(async {
        let polls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&polls);
        let moving = async move {
            for _ in 0..4 {
                poll_fn(poll_pace).await;
                moved(BYTES / 2);
            }
        };
        let mut moving = Box::pin(moving);
        let future = poll_fn(move |context| {
            counted.fetch_add(1, Relaxed);
            moving.as_mut().poll(context)
        });
        spawn_for(&account(100), future).await.unwrap();
        assert_eq!(polls.load(Relaxed), 2);
    });
}

#[test]
fn a_task_that_panics_leaves_its_thread_in_order() {
    on_a_data_thread(async {
        let pod = account(100);
        let panicked = spawn_for(&pod, async {
            moved(BYTES);
            assert!(Instant::now() < Instant::now() - Duration::from_secs(1), "on purpose");
        });
        assert!(panicked.await.is_err());
        assert_eq!(LEFT.get(), usize::MAX);
        assert!(Thread::with(Thread::current).flatten().is_none(), "nobody's poll is under way");
    });
}
