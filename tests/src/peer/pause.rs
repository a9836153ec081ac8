//! `heddle-peer pause`: says that it runs, and then does nothing until it is killed, as the first process of a real pod's
//! sandbox does.

use anyhow::Result;

use super::print;

pub(super) fn run() -> Result<()> {
    print(&"paused")?;
    loop {
        // It may wake up for no reason.
        std::thread::park();
    }
}
