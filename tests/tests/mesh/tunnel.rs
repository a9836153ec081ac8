//! The tunnels between nodes: what they negotiate, that they are shared, and that no peer can stop the others.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use heddle_tests::peer::report::{BulkReport, ConnectReport};

use crate::world::{SOON, World, connect, echoed, eventually, failures, hold, lines_to, probe};

const MIB: u64 = 1 << 20;

#[test]
fn tls_1_3_with_a_post_quantum_group_shows_in_metrics_and_access_log() -> Result<()> {
    let mut world = World::new("tls")?;
    let _server = world.far.serve("--listen 8080")?;
    assert!(connect(&world.client, &format!("--to {} --count 3", world.far.at(8080)))?.all_good(3));
    for (side, agent) in [("client", &world.a), ("server", &world.b)] {
        let good = [("side", side), ("result", "ok"), ("version", "TLSv1.3"), ("group", "X25519MLKEM768")];
        let metrics = agent.metrics()?;
        let handshakes = metrics.sum("heddle_handshakes_total", &good);
        assert!(handshakes >= 1.0, "{side}");
        assert_eq!(metrics.sum("heddle_handshakes_total", &[]), handshakes, "{side}: no others");
    }
    let logs = [(world.log_of_a()?, "outbound"), (world.log_of_b()?, "inbound")];
    for (log, direction) in logs {
        let lines = lines_to(&log, world.far.at(8080), direction);
        assert_eq!(lines.len(), 3, "{direction}");
        for line in lines {
            assert_eq!((&line["tls_version"], &line["tls_group"]), (&"TLSv1.3".into(), &"X25519MLKEM768".into()));
        }
    }
    Ok(())
}

#[test]
fn many_connections_share_a_few_tunnels() -> Result<()> {
    let world = World::new("pool")?;
    let _server = world.far.serve("--listen 8080")?;
    let mut held = hold(&world.client, world.far.at(8080), 60)?;
    held.still_exchanges()?;
    let metrics = world.a.metrics()?;
    let tunnels = metrics.sum("heddle_tunnels_open", &[("side", "client")]);
    assert!((2.0..=16.0).contains(&tunnels), "{tunnels} tunnels for 60 connections: a hot pair has several, not 60");
    assert_eq!(metrics.sum("heddle_tunnel_streams_open", &[]), 60.0);
    assert_eq!(world.b.metrics()?.sum("heddle_tunnels_open", &[("side", "server")]), tunnels);
    held.end()?;
    world.a.wait_metrics("no stream is left", SOON, |metrics| {
        metrics.sum("heddle_tunnel_streams_open", &[]) == 0.0 && metrics.sum("heddle_open_connections", &[]) == 0.0
    })?;
    let report = connect(&world.client, &format!("--to {} --count 50", world.far.at(8080)))?;
    assert!(report.all_good(50), "{report:?}");
    let handshakes = world.a.metrics()?.sum("heddle_handshakes_total", &[]);
    assert_eq!(handshakes, tunnels, "later connections use the tunnels that are there");
    // A look every ten seconds finds them unused twice.
    let threads = std::thread::available_parallelism()?.get() as f64;
    world.a.wait_metrics("one is left on each data thread", Duration::from_secs(40), |metrics| {
        (1.0..=threads).contains(&metrics.sum("heddle_tunnels_open", &[("side", "client")]))
    })?;
    Ok(())
}

#[test]
fn a_burst_of_connections_that_stay_gets_as_many_tunnels_as_it_needs() -> Result<()> {
    let world = World::new("burst")?;
    let _source = world.far.serve("--listen 8080 --mode source")?;
    let line = format!("stall --to {} --bytes 100 --count 300", world.far.at(8080));
    let mut bursts: Vec<_> = (0..4).map(|_| world.client.peer(&line)?.start()).collect::<Result<_>>()?;
    for burst in &mut bursts {
        burst.wait_line(SOON, |line| line.contains("stalled"))?;
    }
    world.b.wait_metrics("all connections reached the server", SOON, |metrics| {
        metrics.sum("istio_tcp_connections_opened_total", &[("reporter", "destination")]) == 1200.0
    })?;
    for mut burst in bursts {
        burst.write_line("resume")?;
        let report: BulkReport = serde_json::from_str(burst.wait(SOON)?.stdout.last().unwrap())?;
        let told = failures(&[&world.a, &world.b])?;
        assert_eq!((report.verified, report.failures.len()), (300, 0), "{told}");
    }
    Ok(())
}

#[test]
fn stalled_streams_do_not_disturb_healthy_ones() -> Result<()> {
    let mut world = World::new("stalled")?;
    let _source = world.far.serve("--listen 8081 --mode source")?;
    let _stall = world.far.serve("--listen 8082 --mode stall")?;
    let _echo = world.far.serve("--listen 8080")?;
    let _sink = world.far.serve("--listen 8083 --mode sink")?;
    // Four downloads that nobody reads, and four uploads that nobody reads, all much larger than any window.
    let line = format!("stall --to {} --bytes {} --count 4 --timeout 60", world.far.at(8081), 64 * MIB);
    let mut stalled = world.client.peer(&line)?.start()?;
    stalled.wait_line(SOON, |line| line.contains("stalled"))?;
    let line = format!("bulk --to {} --bytes {} --direction upload --streams 4", world.far.at(8082), 64 * MIB);
    let _uploads = world.client.peer(&format!("{line} --timeout 100"))?.start()?;
    // Until nothing moves any more: then all windows are full.
    settled(&world)?;
    let memory = [world.a.process().resident_bytes()?, world.b.process().resident_bytes()?];

    let report = connect(&world.client, &format!("--to {} --count 200 --concurrency 4", world.far.at(8080)))?;
    assert!(report.all_good(200), "{report:?}");
    assert!(report.total_us.p50 < 500_000, "{report:?}");
    let line = format!("bulk --to {} --bytes {} --direction upload --timeout 60", world.far.at(8083), 16 * MIB);
    let bulk: BulkReport = world.client.ask(&line)?;
    assert_eq!((bulk.verified, bulk.failures.len()), (1, 0), "{bulk:?}");
    for (which, bytes) in ["a", "b"].iter().zip(memory) {
        assert!(bytes < 192 * MIB, "agent {which} holds {} MiB while 512 MiB wait to be read", bytes / MIB);
    }

    stalled.write_line("resume")?;
    let finished = stalled.wait(Duration::from_secs(60))?;
    let resumed: BulkReport = serde_json::from_str(finished.stdout.last().unwrap())?;
    assert_eq!((resumed.verified, resumed.failures.len()), (4, 0), "{resumed:?}");
    Ok(())
}

/// Waits until no byte passes any more.
fn settled(world: &World) -> Result<()> {
    let sum = || -> Result<f64> {
        let metrics = world.a.metrics()?;
        Ok(metrics.sum("istio_tcp_sent_bytes_total", &[]) + metrics.sum("istio_tcp_received_bytes_total", &[]))
    };
    let mut last = -1.0;
    eventually("the stalled streams come to rest", SOON * 2, || {
        let now = sum()?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(std::mem::replace(&mut last, now) == now && now > 0.0)
    })
}

#[test]
fn silent_connections_are_closed_within_the_handshake_timeout() -> Result<()> {
    let world = World::with("silent", |agent| agent.set("limits.handshakeTimeout", "1s"))?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let begin = Instant::now();
    let silent = open_silent(&stranger, world.far.at(15008), 50)?;
    assert!(echoed(&probe(&world.client, world.far.at(8080), "meanwhile")?, "meanwhile"));
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(8)))?;
        // An alert may come first.
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        let closed = end.as_ref().err().is_none_or(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(closed, "after {:?}: {end:?}", begin.elapsed());
    }
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    let timeouts = [("side", "server"), ("result", "timeout")];
    world.b.wait_metrics("50 timeouts are counted", SOON, |metrics| {
        metrics.sum("heddle_handshakes_total", &timeouts) == 50.0
    })?;
    Ok(())
}

fn open_silent(from: &heddle_tests::bed::Pod, to: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    from.netns().run(|| Ok((0..count).map(|_| TcpStream::connect(to)).collect::<Result<_, _>>()?))
}

#[test]
fn connections_to_a_dead_peer_fail_together_within_the_connect_timeout() -> Result<()> {
    let world = World::with("dead", |agent| agent.set("limits.connectTimeout", "2s"))?;
    world.far.black_hole(true)?;
    let report = six_fail(&world)?;
    assert!(report.seconds < 5.0, "one after the other they would take 12 s: {report:?}");
    Ok(())
}

#[test]
fn a_peer_that_dies_under_an_open_tunnel_fails_connections_within_the_connect_timeout() -> Result<()> {
    let world = World::with("dies", |agent| agent.set("limits.connectTimeout", "2s"))?;
    let _server = world.far.serve("--listen 8080")?;
    assert!(connect(&world.client, &format!("--to {} --count 20 --concurrency 4", world.far.at(8080)))?.all_good(20));
    world.far.black_hole(true)?;
    let report = six_fail(&world)?;
    assert!(report.seconds < 5.0, "{report:?}");
    world.far.black_hole(false)?;
    eventually("the peer is reached again", SOON * 2, || {
        Ok(echoed(&probe(&world.client, world.far.at(8080), "again")?, "again"))
    })
}

fn six_fail(world: &World) -> Result<ConnectReport> {
    let line = format!("--to {} --count 6 --concurrency 6 --timeout 20", world.far.at(8080));
    let report = connect(&world.client, &line)?;
    assert_eq!((report.attempted, report.succeeded), (6, 0), "{report:?}");
    assert!(report.failures.keys().all(|failure| !failure.contains("timeout")), "told, and not left alone: {report:?}");
    Ok(report)
}

#[test]
fn several_hundred_mebibytes_arrive_unchanged_in_both_directions() -> Result<()> {
    let world = World::new("bulk")?;
    let _sink = world.far.serve("--listen 8081 --mode sink")?;
    let _source = world.far.serve("--listen 8082 --mode source")?;
    let _echo = world.far.serve("--listen 8083")?;
    let bulk = |to: SocketAddr, mib: u64, more: &str| -> Result<()> {
        let line = format!("bulk --to {to} --bytes {} --timeout 60 {more}", mib * MIB);
        let report: BulkReport = world.client.ask(&line)?;
        assert!(report.failures.is_empty() && report.verified > 0, "{more}: {report:?}");
        Ok(())
    };
    std::thread::scope(|scope| {
        let up = scope.spawn(|| bulk(world.far.at(8081), 160, "--direction upload --streams 2"));
        let down = scope.spawn(|| bulk(world.far.at6(8082), 160, "--direction download --streams 2"));
        up.join().unwrap().and(down.join().unwrap())
    })?;
    bulk(world.far.at(8083), 32, "--direction echo")?;
    let metrics = world.a.wait_metrics("the bytes are counted", SOON, |metrics| {
        metrics.sum("istio_tcp_connections_closed_total", &[("reporter", "source")]) == 5.0
    })?;
    let sent = metrics.sum("istio_tcp_sent_bytes_total", &[("reporter", "source")]) as u64;
    assert!((352 * MIB..352 * MIB + 1000).contains(&sent), "{sent}");
    Ok(())
}
