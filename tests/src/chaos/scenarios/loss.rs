//! Packets between the nodes are lost by chance, by nftables at the receiving end: a few, then more, in one direction or both.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::chaos::stage::Stage;

/// Of 1,000 packets.
const SHARES: [u32; 5] = [50, 100, 150, 200, 300];

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let mut lost = 0;
    while stage.goes_on() {
        let share = *stage.rng.choice(&SHARES).unwrap_or(&SHARES[0]);
        let ends = match stage.rng.u8(0..4) {
            0 => [share, 0],
            1 => [0, share],
            _ => [share, share],
        };
        let nodes = [stage.ground.nodes[0].clone(), stage.ground.nodes[1].clone()];
        for (node, share) in nodes.iter().zip(ends) {
            node.lose_arriving(share)?;
        }
        let phase = stage.time / 4;
        let phase = phase.clamp(Duration::from_secs(1), stage.left().max(Duration::from_secs(1)));
        stage.pause(phase)?;
        for (node, _) in nodes.iter().zip(ends).filter(|(_, share)| *share > 0) {
            lost += node.lost()?;
            node.lose_arriving(0)?;
        }
        stage.did("phases of 5 to 30 %", 1);
    }
    ensure!(lost > 0, "nothing was lost: there was no trouble");
    stage.did("packets lost", lost);
    Ok(())
}
