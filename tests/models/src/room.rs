//! Two who ask for the one place there is, at the same time.

use loom::{sync::Arc, thread};

use self::source::Room;

#[path = "../../../agent/src/balance/room.rs"]
mod source;

#[test]
fn no_more_are_taken_than_there_may_be_and_all_are_given_back() {
    loom::model(|| {
        let room = Arc::new(Room::default());
        let ask = |room: Arc<Room>| {
            move || {
                let taken = room.take(1);
                assert!(room.taken() <= 1);
                if taken {
                    room.give_back();
                }
                taken
            }
        };
        let other = thread::spawn(ask(Arc::clone(&room)));
        let mine = ask(Arc::clone(&room))();
        let theirs = other.join().unwrap_or_else(|_| unreachable!("it does not panic"));
        assert!(mine || theirs, "both are turned away from an empty room");
        assert_eq!((room.taken(), room.is_full()), (0, false));
        // Whoever was turned away meanwhile is forgotten with the next who is not.
        assert!(room.take(1));
        assert!(!room.is_full());
        assert!(!room.take(1));
        assert!(room.is_full());
    });
}
