//! `heddle-peer pause`: does nothing until it is killed, as the first process of a real pod's sandbox does.

use anyhow::Result;

pub(super) fn run() -> Result<()> {
    loop {
        // It may wake up for no reason.
        std::thread::park();
    }
}
