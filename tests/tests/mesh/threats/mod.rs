//! The attacker's side: what SECURITY.md says that somebody cannot do, tried over real agents and the real kernel.
//!
//! One file for each place to attack from. Where an attack is expected to fail, the test shows first, or beside it, that
//! the same attack works where nothing defends: else it would prove nothing.

mod agent;
mod deputy;
mod escape;
mod headers;
mod identities;
mod inbound;
mod ports;

use std::path::PathBuf;

use anyhow::Result;
use heddle_tests::bed::Pod;
use heddle_tests::peer::report::{HboneReport, ProbeReport};
use heddle_tests::rogue::{Leaf, Minted, Root};

use crate::world::World;

/// A good identity that no pod of the tests has.
const SOMEBODY: &str = "spiffe://cluster.local/ns/default/sa/somebody";

/// A certificate of the mesh's own authority, as somebody has it who has stolen one or runs another agent.
fn good_certificate(world: &World, identity: &str, name: &str) -> Result<Minted> {
    Root::of_agents(&world.bed.ca_directory())?.mint(&Leaf::of(identity), world.bed.directory(), name)
}

/// A tunnel with that certificate, and a CONNECT in it.
fn tunnel(from: &Pod, to: &Pod, authority: &str, shown: &Minted, more: &str) -> Result<HboneReport> {
    let file = |path: &PathBuf| path.display().to_string();
    let shown = format!("--cert {} --key {}", file(&shown.cert), file(&shown.key));
    from.ask(&format!("hbone --to {} --authority {authority} --send hello --limit 5 {shown} {more}", to.at(15008)))
}

/// Whether a connection ended without anybody having answered what was said.
fn leads_nowhere(report: &ProbeReport, word: &str) -> bool {
    let said_back = report.data.as_deref().is_some_and(|data| data.contains(word));
    !said_back && report.after.as_deref() != Some("open")
}
