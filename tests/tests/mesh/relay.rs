//! What passes through the agent besides bytes: ends, resets, and the pace of the slower side.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::Process;
use heddle_tests::peer::report::{BulkReport, ServerEvent};

use crate::world::{SOON, World, connect, echoed, hold, lines_to, probe};

const MIB: u64 = 1 << 20;

/// The ways that a connection can take: by a tunnel to another node, by one on the same node, and outside.
fn ways(world: &World, stranger: &heddle_tests::bed::Pod, port: u16) -> [SocketAddr; 4] {
    [world.far.at(port), world.far.at6(port), world.near.at(port), stranger.at(port)]
}

#[test]
fn half_closed_connections_go_on_in_the_other_direction() -> Result<()> {
    let world = World::new("half-close")?;
    let stranger = world.stranger()?;
    let servers = [&world.far, &world.near, &stranger];
    let _sinks = servers.map(|pod| pod.serve("--listen 8081 --mode sink").unwrap());
    let mut first = servers.map(|pod| pod.serve("--listen 8082 --mode fin-first --stats").unwrap());
    for to in ways(&world, &stranger, 8081) {
        // The receipt comes after the client has closed its side.
        let line = format!("bulk --to {to} --bytes {} --direction upload --streams 2", 2 * MIB);
        let report: BulkReport = world.client.ask(&line)?;
        assert_eq!((report.verified, report.failures.len()), (2, 0), "{to}: {report:?}");
    }
    for (to, server) in [world.far.at(8082), world.near.at(8082), stranger.at(8082)].into_iter().zip(&mut first) {
        // The server closes its side first, and then still gets everything.
        let _no_receipt: BulkReport = world.client.ask(&format!("bulk --to {to} --bytes {MIB} --direction upload"))?;
        let (received, error) = ended(server)?;
        assert_eq!((received, error), (MIB, None), "{to}");
    }
    Ok(())
}

#[test]
fn a_reset_by_the_server_reaches_the_client() -> Result<()> {
    let world = World::new("server-reset")?;
    let stranger = world.stranger()?;
    let _servers = [&world.far, &world.near, &stranger].map(|pod| pod.serve("--listen 8080 --mode rst").unwrap());
    for to in ways(&world, &stranger, 8080) {
        let report = probe(&world.client, to, "hello")?;
        assert_eq!((report.connect.as_str(), report.after.as_deref()), ("connected", Some("ECONNRESET")), "{to}");
    }
    Ok(())
}

#[test]
fn an_application_that_has_heard_nothing_does_not_take_a_broken_tunnel_for_the_end() -> Result<()> {
    let mut world = World::new("broken-silent")?;
    let mut server = world.far.serve("--listen 8080 --stats")?;
    let line = format!("probe --to {} --watch-ms 20000", world.far.at(8080));
    let _silent = world.client.peer(&line)?.start()?;
    server.wait_line(SOON, |line| line.contains("accepted"))?;
    world.a.kill()?;
    assert_eq!(ended(&mut server)?, (0, Some("ECONNRESET".to_owned())));
    Ok(())
}

#[test]
fn a_reset_by_the_client_reaches_the_server() -> Result<()> {
    let mut world = World::new("client-reset")?;
    let stranger = world.stranger()?;
    let mut servers = [&world.far, &world.near, &stranger].map(|pod| pod.serve("--listen 8080 --stats").unwrap());
    for (to, server) in [world.far.at(8080), world.near.at(8080), stranger.at(8080)].into_iter().zip(&mut servers) {
        let report = connect(&world.client, &format!("--to {to} --bytes 100 --reset"))?;
        assert!(report.all_good(1), "{to}: {report:?}");
        assert_eq!(ended(server)?, (100, Some("ECONNRESET".to_owned())), "{to}");
    }
    let log = world.log_of_a()?;
    let line = lines_to(&log, world.far.at(8080), "outbound").pop().unwrap();
    assert_eq!((&line["flag"], &line["sent_bytes"]), (&"DC".into(), &100.into()), "{line}");
    Ok(())
}

#[test]
fn a_server_that_dies_breaks_its_connections_and_no_others() -> Result<()> {
    let world = World::new("server-dies")?;
    let mut dying = world.far.serve("--listen 8080")?;
    let _living = world.far.serve("--listen 8081")?;
    let doomed = hold(&world.client, world.far.at(8080), 5)?;
    let mut others = hold(&world.client, world.far.at(8081), 5)?;
    dying.kill()?;
    std::thread::sleep(Duration::from_millis(200));
    let report = doomed.end()?;
    assert_eq!((report.healthy, report.broken.values().sum::<u64>()), (0, 5), "{report:?}");
    assert!(!report.broken.contains_key("timeout"), "told, and not left alone: {report:?}");
    others.still_exchanges()
}

#[test]
fn an_application_that_refuses_refuses_the_client() -> Result<()> {
    let mut world = World::new("app-refuses")?;
    for to in [world.far.at(8080), world.near.at(8080)] {
        let report = probe(&world.client, to, "hello")?;
        assert_eq!((report.connect.as_str(), report.after.as_deref()), ("connected", Some("ECONNRESET")), "{to}");
        let line = lines_to(&world.log_of_a()?, to, "outbound").pop().unwrap();
        assert_eq!(line["flag"], "CONNECT", "{line}");
    }
    let line = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound").pop().unwrap();
    assert_eq!(line["flag"], "UF", "{line}");
    Ok(())
}

#[test]
fn servers_that_speak_first_are_heard() -> Result<()> {
    let world = World::new("server-first")?;
    let stranger = world.stranger()?;
    let _servers = [&world.far, &world.near, &stranger].map(|pod| pod.serve("--listen 8080 --greet hello").unwrap());
    for to in ways(&world, &stranger, 8080) {
        let report = connect(&world.client, &format!("--to {to}=hello --count 3 --bytes 0"))?;
        assert!(report.all_good(3), "{to}: {report:?}");
    }
    Ok(())
}

#[test]
fn a_server_that_does_not_read_stops_its_client_and_not_the_agents_memory() -> Result<()> {
    let mut world = World::new("slow-server")?;
    let stranger = world.stranger()?;
    let _servers = [&world.far, &world.near, &stranger].map(|pod| pod.serve("--listen 8080 --mode stall").unwrap());
    let _echo = world.far.serve("--listen 8081")?;
    let before = [world.a.process().resident_bytes()?, world.b.process().resident_bytes()?];
    for to in [world.far.at(8080), world.near.at(8080), stranger.at(8080)] {
        let line = format!("bulk --to {to} --bytes {} --direction upload --streams 2 --timeout 1.5", 256 * MIB);
        let report: BulkReport = world.client.ask(&line)?;
        assert_eq!((report.verified, report.failures.len()), (0, 2), "{to}: {report:?}");
        for failure in &report.failures {
            let taken: u64 = failure.split(' ').find_map(|word| word.parse().ok()).unwrap();
            assert!(taken < 32 * MIB, "{to}: the client could send {} MiB to nobody: {failure}", taken / MIB);
        }
    }
    let after = [world.a.process().resident_bytes()?, world.b.process().resident_bytes()?];
    for (before, after) in before.iter().zip(after) {
        assert!(after < before + 64 * MIB, "grew from {} to {} MiB", before / MIB, after / MIB);
    }
    assert!(echoed(&probe(&world.client, world.far.at(8081), "alive")?, "alive"));
    Ok(())
}

#[test]
fn a_slow_reader_gets_every_byte_at_its_own_pace() -> Result<()> {
    let world = World::new("slow-reader")?;
    let stranger = world.stranger()?;
    let _servers = [&world.far, &world.near, &stranger].map(|pod| pod.serve("--listen 8080 --mode source").unwrap());
    for to in ways(&world, &stranger, 8080) {
        let line = format!("bulk --to {to} --bytes {} --direction download --slow-read-ms 5 --timeout 30", 8 * MIB);
        let report: BulkReport = world.client.ask(&line)?;
        assert_eq!((report.verified, report.failures.len()), (1, 0), "{to}: {report:?}");
    }
    Ok(())
}

/// How a server's first connection ended: bytes received, and the error.
fn ended(server: &mut Process) -> Result<(u64, Option<String>)> {
    let line = server.wait_line(SOON, |line| matches!(serde_json::from_str(line), Ok(ServerEvent::Ended { .. })))?;
    match serde_json::from_str(&line)? {
        ServerEvent::Ended { received, error, .. } => Ok((received, error)),
        other => anyhow::bail!("{other:?}"),
    }
}
