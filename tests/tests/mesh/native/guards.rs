//! That nobody else gets by where a native connection may pass.

use anyhow::Result;
use heddle_tests::peer::report::{ProbeReport, RawReport};

use super::{counted, in_force, policy, warm, world};
use crate::world::{SOON, echoed, eventually, hold, probe, refused};

const OTHERS: &str = "[{from: [{source: {notPrincipals: [cluster.local/ns/default/sa/client]}}]}]";

#[test]
fn a_pod_that_forges_the_ends_of_a_native_connection_gets_nothing() -> Result<()> {
    let world = world("native-forged")?;
    let forger = world.client.node().pod("forger").start()?;
    crate::world::enrolled(&world.a, 3)?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    in_force(&world, &policy("DENY", OTHERS))?;
    warm(&world, &world.client, to)?;
    let mut held = hold(&world.client, to, 1)?;
    let port = {
        let shown = || -> Result<Option<String>> {
            let all = world.a.get_json("/connections")?["connections"].as_array().cloned().unwrap_or_default();
            let native = all.into_iter().find(|one| one["security"] == "native" && one["direction"] == "outbound");
            Ok(native.and_then(|one| one["source"]["address"].as_str().map(str::to_owned)))
        };
        eventually("it is shown", SOON, || Ok(shown()?.is_some()))?;
        shown()?.and_then(|address| address.parse::<std::net::SocketAddr>().ok()).unwrap().port()
    };
    let escaped = counted(&world, "wire_escape")?;
    for from in [world.client.at(port), world.client.at(port + 1), forger.at(port)] {
        let line = format!("raw-syn --from {from} --to {to} --data needle --count 3");
        let report: RawReport = forger.ask(&line)?;
        assert!(!report.answered, "{from}: {report:?}");
    }
    assert!(counted(&world, "wire_escape")? >= escaped + 9.0);
    // Its own namespace's raw packets open nothing either: the connection is open already, and no other is entered.
    let line = format!("raw-syn --from {} --to {to} --data needle --count 3", world.client.at(port + 1));
    let report: RawReport = world.client.ask(&line)?;
    assert!(!report.answered, "{report:?}");
    assert!(refused(&probe(&forger, to, "word")?), "nor does its own connection");
    held.still_exchanges()?;
    Ok(())
}

#[test]
fn a_pod_that_takes_the_address_of_another_is_not_taken_for_it() -> Result<()> {
    let world = world("native-address")?;
    let forger = world.client.node().pod("forger").start()?;
    crate::world::enrolled(&world.a, 3)?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    warm(&world, &world.client, to)?;
    warm(&world, &forger, to)?;
    in_force(&world, &policy("DENY", OTHERS))?;
    warm(&world, &world.client, to)?;
    forger.netns().ip(&format!("addr add {}/32 dev eth0\n", world.client.v4()))?;
    let line = format!("probe --to {to} --send word --bind {} --timeout 2 --watch-ms 500", world.client.v4());
    let report: ProbeReport = forger.ask(&line)?;
    assert!(!echoed(&report, "word"), "{report:?}");
    // Nor where the kernel chooses that address, once the connection goes natively.
    in_force(&world, "")?;
    warm(&world, &forger, to)?;
    forger.netns().ip(&format!("route add {}/32 dev eth0 src {}\n", world.near.v4(), world.client.v4()))?;
    let report = probe(&forger, to, "word")?;
    assert!(report.data.is_none() && report.connect != "timeout", "{report:?}");
    assert_eq!(counted(&world, "native_cut_off")?, 1.0);
    Ok(())
}

#[test]
fn a_connection_that_somebody_else_answers_is_cut_off_before_it_says_anything() -> Result<()> {
    let world = world("native-astray")?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    warm(&world, &world.client, to)?;
    // The address leads to another machine by now, and no object says so yet.
    let stranger = world.client.node().pod("stranger").unlisted().start()?;
    let _other = stranger.serve("--listen 8080 --greet greeting")?;
    world.near.netns().ip("link set eth0 down\n")?;
    stranger.netns().ip(&format!("addr add {}/24 dev eth0\n", world.near.v4()))?;
    world.client.netns().ip("neigh flush all\n")?;
    let report: ProbeReport =
        world.client.ask(&format!("probe --to {to} --send needle --watch-ms 3000 --timeout 10"))?;
    assert!(report.data.is_none(), "{report:?}");
    assert_ne!(report.after.as_deref(), Some("open"), "it is ended, and not left alone: {report:?}");
    assert_eq!(counted(&world, "native_cut_off")?, 1.0);
    Ok(())
}
