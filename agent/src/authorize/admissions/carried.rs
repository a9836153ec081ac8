//! Whether an open connection carries requests or bytes, for who decides over it again.
//!
//! Two meet here: a connection turns out to carry bytes, and then reads the snapshot that decides over them; somebody has put
//! a snapshot in force, and then looks what the connection carries. At least one of them has to see what the other did: else
//! the connection goes on by the old snapshot, and is looked at by the new one as if it carried requests. The two fences see
//! to that, whatever the orderings of the snapshot's own atomics are. `models` tries every interleaving.

use crate::atomics::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
    fence,
};

/// Requests in the beginning, and then, perhaps, bytes.
#[derive(Debug)]
pub(super) struct Carried(AtomicBool);

impl Carried {
    /// Requests, as far as is known.
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Bytes. The snapshot that decides over them has to be read after this.
    pub(super) fn turn_to_bytes(&self) {
        self.0.store(true, Relaxed);
        fence(SeqCst);
    }

    /// To be asked after the snapshot in question was put in force.
    pub(super) fn is_bytes(&self) -> bool {
        fence(SeqCst);
        self.0.load(Relaxed)
    }
}
