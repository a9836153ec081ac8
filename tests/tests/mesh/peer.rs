//! The servers and clients of `heddle-peer` against each other, without any agent.

use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::Bed;
use heddle_tests::peer::report::{ConnectReport, HboneReport, HoldReport, HttpReport, ProbeReport};
use heddle_tests::rogue::{Leaf, Root};

use crate::world::pair;

#[test]
fn every_way_to_connect_reaches_the_server() -> Result<()> {
    let (_bed, client, server) = pair("ways")?;
    let _serving = server.serve("--listen 8000-8007 --ident")?;
    let targets: Vec<String> = (8000..8008).map(|port| server.at(port).to_string()).collect();
    let targets = targets.join(",");
    for how in ["", "--nonblocking", "--mapped-v6", "--bind-device eth0", &format!("--bind {}", client.v4()), "--reset"]
    {
        let line =
            format!("connect --to {targets} --count 64 --concurrency 4 --ident --check-local --check-peername {how}");
        let report: ConnectReport = client.ask(&line)?;
        assert!(report.all_good(64), "{how}: {report:?}");
        assert_eq!(report.bytes, 64 * 64);
        assert_eq!(report.sources.into_iter().collect::<Vec<_>>(), [(client.v4().to_string(), 64)]);
    }
    let fixed = format!("connect --to {} --ident --bind {}:4000 --reset --count 20", server.at(8000), client.v4());
    let report: ConnectReport = client.ask(&fixed)?;
    assert!(report.all_good(20), "one port, used again after each reset: {report:?}");
    Ok(())
}

#[test]
fn greetings_tell_the_servers_apart() -> Result<()> {
    let (_bed, client, server) = pair("greetings")?;
    let _one = server.serve("--listen 1 --greet one")?;
    let _two = server.serve("--listen 2 --greet two")?;
    let line = format!("connect --to {}=one,{}=two --count 10 --bytes 100000", server.at(1), server.at(2));
    let report: ConnectReport = client.ask(&line)?;
    assert!(report.all_good(10), "{report:?}");
    assert_eq!(report.servers.into_iter().collect::<Vec<_>>(), [("one".to_owned(), 5), ("two".to_owned(), 5)]);
    Ok(())
}

#[test]
fn a_probe_tells_the_fates_of_a_connection_apart() -> Result<()> {
    let (_bed, client, server) = pair("fates")?;
    let modes = [("stall", 1), ("rst", 2), ("fin-first", 3), ("echo", 4)];
    let _serving = modes.map(|(mode, port)| server.serve(&format!("--listen {port} --mode {mode}")).unwrap());
    let fates =
        [(1, "connected", "open"), (2, "connected", "ECONNRESET"), (3, "connected", "eof"), (4, "connected", "data")];
    for (port, connect, after) in fates {
        let report: ProbeReport = client.ask(&format!("probe --to {} --send hello --watch-ms 200", server.at(port)))?;
        assert_eq!((report.connect.as_str(), report.after.as_deref()), (connect, Some(after)), "port {port}");
    }
    let refused: ProbeReport = client.ask(&format!("probe --to {}", server.at(5)))?;
    assert_eq!((refused.connect.as_str(), refused.after), ("ECONNREFUSED", None));
    Ok(())
}

#[test]
fn held_connections_are_healthy_until_their_server_dies() -> Result<()> {
    let (_bed, client, server) = pair("hold")?;
    let mut serving = server.serve("--listen 80")?;
    let mut hold = client.peer(&format!("hold --to {} --count 20 --interval-ms 5", server.at(80)))?.start()?;
    let report = |line: &str| serde_json::from_str::<HoldReport>(line).unwrap_or_default();
    hold.wait_line(Duration::from_secs(5), |line| report(line).opened == 20)?;
    std::thread::sleep(Duration::from_millis(50));
    hold.write_line("report")?;
    hold.wait_line(Duration::from_secs(5), |line| report(line).healthy == 20 && report(line).exchanges >= 20)?;
    serving.kill()?;
    std::thread::sleep(Duration::from_millis(100));
    hold.close_stdin();
    let last = hold.wait(Duration::from_secs(5))?.stdout.pop().unwrap();
    assert_eq!((report(&last).opened, report(&last).healthy), (20, 0), "{last}");
    assert_eq!(report(&last).broken.values().sum::<u64>(), 20, "{last}");
    Ok(())
}

#[test]
fn http_is_served_and_asked_for() -> Result<()> {
    let (_bed, client, server) = pair("http")?;
    let _serving = server.serve("--listen 80 --mode http --greet hello")?;
    let mut get = client.peer(&format!("http-get http://{}/x --timeout 1", server.at(80)))?.start()?;
    let finished = get.wait(Duration::from_secs(5))?;
    let report: HttpReport = serde_json::from_str(finished.stdout.last().unwrap())?;
    assert_eq!(report, HttpReport { status: 200, body: "hello\n".to_owned() });
    Ok(())
}

#[test]
fn an_hbone_client_with_a_minted_certificate_says_where_it_failed() -> Result<()> {
    let (bed, client, server) = pair("hbone")?;
    let leaf = Leaf::of("spiffe://cluster.local/ns/default/sa/client").expired();
    let minted = Root::stranger()?.mint(&leaf, bed.directory(), "stranger")?;
    let files = format!("--cert {} --key {}", minted.cert.display(), minted.key.display());
    let ask =
        || client.ask::<HboneReport>(&format!("hbone --to {} --authority {} {files}", server.at(15008), server.at(80)));
    let refused = ask()?;
    assert!(!refused.connected && refused.error.as_deref().is_some_and(|e| e.starts_with("connect")), "{refused:?}");
    let _no_tls = server.serve("--listen 15008 --mode rst")?;
    let reset = ask()?;
    assert!(reset.connected && reset.error.as_deref().is_some_and(|e| e.starts_with("handshake")), "{reset:?}");
    Ok(())
}

#[test]
fn an_agent_that_ends_at_once_is_reported_with_its_output() -> Result<()> {
    let bed = Bed::new("no-agent")?;
    let node = bed.node("a")?;
    // A key that no agent.yaml has: refused by any build of the agent.
    let error = node.agent().set("noSuchKey", 1).start().err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("the agent of node-a ended before it was ready"), "{error}");
    Ok(())
}
