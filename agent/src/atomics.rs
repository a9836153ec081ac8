//! The atomics of lock-free code that `models` checks: the standard library's here, and there those of loom, under whose eyes
//! the same source file is compiled again.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
