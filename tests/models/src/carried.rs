//! A connection that turns to bytes while a snapshot is put in force: it is decided by the new one, or found to carry bytes.

use loom::{
    sync::{
        Arc,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
};

use self::source::Carried;

#[path = "../../../agent/src/authorize/admissions/carried.rs"]
mod source;

#[test]
fn bytes_are_decided_by_the_new_snapshot_or_found_by_who_put_it_in_force() {
    loom::model(|| {
        let (carried, snapshot) = (Arc::new(Carried::new()), Arc::new(AtomicUsize::new(1)));
        let connection = {
            let (carried, snapshot) = (Arc::clone(&carried), Arc::clone(&snapshot));
            thread::spawn(move || {
                carried.turn_to_bytes();
                snapshot.load(Acquire)
            })
        };
        snapshot.store(2, Release);
        // Another thread than the one that publishes: it is told of it, and so after it.
        let walk = {
            let (carried, snapshot) = (Arc::clone(&carried), Arc::clone(&snapshot));
            thread::spawn(move || (snapshot.load(Relaxed), carried.is_bytes()))
        };
        let (walked_by, found) = walk.join().unwrap_or_else(|_| unreachable!("it does not panic"));
        let decided_by = connection.join().unwrap_or_else(|_| unreachable!("it does not panic"));
        assert_eq!(walked_by, 2);
        assert!(found || decided_by == 2, "decided by the old snapshot, and taken for requests by the new one");
    });
}
