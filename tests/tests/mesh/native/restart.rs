//! What holds of native connections while no agent runs, and after one is back.

use anyhow::Result;

use super::{FROM_CLIENT, counted, policy, warm, world};
use crate::world::{SOON, enrolled, eventually, hold, lines_to, probe};

#[test]
fn open_native_connections_outlive_the_agent_and_no_new_one_is_opened_without_it() -> Result<()> {
    let mut world = world("native-killed")?;
    let stranger = world.stranger()?;
    let _servers = [&world.near, &stranger].map(|pod| pod.serve("--listen 8080").unwrap());
    let targets = [world.near.at(8080), stranger.at(8080)];
    for to in targets {
        warm(&world, &world.client, to)?;
    }
    let mut held = [hold(&world.client, targets[0], 3)?, hold(&world.client, targets[1], 3)?];
    world.a.kill()?;
    for to in targets {
        assert_eq!(probe(&world.client, to, "word")?.connect, "ECONNREFUSED", "{to}");
    }
    for held in &mut held {
        held.still_exchanges()?;
    }
    let [to_near, to_stranger] = held;
    // Its end falls into the time without an agent, and is accounted by the next.
    assert_eq!(to_stranger.end()?.healthy, 3);
    world.a.restart()?;
    enrolled(&world.a, 2)?;
    eventually("they are found again", SOON, || {
        let all = world.a.get_json("/connections")?["connections"].as_array().cloned().unwrap_or_default();
        Ok(all.iter().filter(|one| one["security"] == "native").count() == 6)
    })?;
    let mut to_near = to_near;
    to_near.still_exchanges()?;
    assert_eq!(to_near.end()?.healthy, 3);
    eventually("the ends of all are accounted", SOON, || {
        let log = world.a.access_log();
        let count = |to, direction| lines_to(&log, to, direction).len();
        Ok((count(targets[1], "outbound"), count(targets[0], "inbound")) == (3, 3))
    })
}

#[test]
fn what_is_forbidden_when_the_agent_comes_back_is_ended() -> Result<()> {
    let mut world = world("native-back")?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    warm(&world, &world.client, to)?;
    let mut held = hold(&world.client, to, 3)?;
    world.a.kill()?;
    world.bed.objects().put_text("documents.yaml", &policy("DENY", FROM_CLIENT))?;
    world.a.restart()?;
    eventually("they are ended", SOON, || Ok(held.report()?.healthy == 0))?;
    Ok(())
}

#[test]
fn no_verdict_of_an_agent_holds_for_the_next() -> Result<()> {
    let mut world = world("native-next")?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    warm(&world, &world.client, to)?;
    world.a.restart()?;
    enrolled(&world.a, 2)?;
    let before = counted(&world, "outbound_native")?;
    assert!(crate::world::echoed(&probe(&world.client, to, "word")?, "word"));
    assert_eq!(counted(&world, "outbound_native")?, before, "the new agent has decided nothing yet");
    warm(&world, &world.client, to)
}

#[test]
fn what_is_to_be_encrypted_on_the_node_from_now_on_is_ended() -> Result<()> {
    let mut world = world("native-encrypted")?;
    let _server = world.near.serve("--listen 8080")?;
    warm(&world, &world.client, world.near.at(8080))?;
    let mut held = hold(&world.client, world.near.at(8080), 3)?;
    let file = world.a.config_file().to_owned();
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, text.replace("capture:\n", "capture:\n  fastPath: outsideMesh\n"))?;
    world.a.restart()?;
    eventually("they are ended", SOON, || Ok(held.report()?.healthy == 0))?;
    Ok(())
}
