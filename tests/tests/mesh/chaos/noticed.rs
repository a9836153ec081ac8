//! What must hold is broken on purpose, and must be told.

use anyhow::{Result, ensure};
use heddle_tests::chaos::{Sabotage, sabotage};

fn tells(how: Sabotage, what: &str) -> Result<()> {
    let told = sabotage(how)?;
    ensure!(told.contains(what), "{how:?} is told as: {told}");
    Ok(())
}

#[test]
fn a_marker_in_the_clear_is_noticed() -> Result<()> {
    tells(Sabotage::Plaintext, "plaintext is on the wire")
}

#[test]
fn a_byte_for_whom_it_is_not_is_noticed() -> Result<()> {
    tells(Sabotage::Deliver, "a client that may not has had an answer")
}

#[test]
fn a_byte_that_is_changed_is_noticed() -> Result<()> {
    tells(Sabotage::Flip, "a client got wrong bytes on an open stream")
}
