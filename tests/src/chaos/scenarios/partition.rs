//! Nodes do not reach each other for a while: everything that arrives at one of them, or at both, is dropped, and nobody is told.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::chaos::stage::Stage;

/// All of 1,000 packets.
const ALL: u32 = 1_000;
/// The longest follows from the time that there is: TCP outlives seconds, and a tunnel is dead after 20 s.
const SHORTEST: Duration = Duration::from_millis(500);

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let ways = [[ALL, ALL], [ALL, 0], [0, ALL]];
    let first = stage.rng.usize(..ways.len());
    let (mut turn, mut lost) = (first, 0);
    while stage.goes_on() {
        let ends = ways[turn % ways.len()];
        turn += 1;
        let nodes = [stage.ground.nodes[0].clone(), stage.ground.nodes[1].clone()];
        for (node, share) in nodes.iter().zip(ends) {
            node.lose_arriving(share)?;
        }
        let longest = (stage.time / 3).max(SHORTEST * 2);
        let long = SHORTEST + (longest - SHORTEST).mul_f64(stage.rng.f64());
        stage.pause(long)?;
        for (node, _) in nodes.iter().zip(ends).filter(|(_, share)| *share > 0) {
            lost += node.lost()?;
            node.lose_arriving(0)?;
        }
        stage.did(if ends == [ALL, ALL] { "partitions" } else { "partitions in one direction" }, 1);
        let healed = Duration::from_millis(stage.rng.u64(500..2_500));
        stage.pause(healed)?;
    }
    // Not of each partition: who waits longer and longer may send nothing in a short one.
    ensure!(lost > 0, "nothing was lost: there was no trouble");
    stage.did("packets lost", lost);
    Ok(())
}
