//! What one pod does to others that share its agent: nothing. At its bounds it waits, and they do not.

use anyhow::{Context, Result};
use heddle_tests::bed::{Agent, Bed, Metrics, Pod, Process};
use heddle_tests::peer::http::report::Ask;
use heddle_tests::peer::report::{BulkReport, ConnectReport};
use serde_json::{Value, json};

use crate::http::tools::{Client, Web};
use crate::world::{SOON, World, connect, echoed, enrolled, eventually, hold, probe};

const MIB: u64 = 1 << 20;

#[test]
fn a_pod_with_all_its_connections_waits_for_one_to_end_and_its_neighbour_does_not() -> Result<()> {
    let world = World::new("fair-connections")?;
    let _server = world.far.serve("--listen 8080")?;
    share(&world.bed, &world.client, &json!({"connections": 8}))?;
    wait(&world.a, "the bound is in force", |it| of(it, "connections_limit", &world.client, &[]) == 8.0)?;
    let mut held = hold(&world.client, world.far.at(8080), 8)?;

    let beyond = probe(&world.client, world.far.at(8080), "beyond")?;
    assert_eq!((beyond.connect.as_str(), beyond.after.as_deref()), ("connected", Some("open")), "{beyond:?}");
    assert!(!echoed(&beyond, "beyond"), "it waits in the pod's own queue: {beyond:?}");
    assert!(connect(&world.near, &format!("--to {} --count 20 --concurrency 10", world.far.at(8080)))?.all_good(20));
    held.still_exchanges()?;
    let metrics = world.a.metrics()?;
    let queued = |pod| of(&metrics, "queued_connections", pod, &[("direction", "outbound")]);
    assert_eq!((queued(&world.client), queued(&world.near)), (1.0, 0.0));
    assert!(of(&metrics, "queue_limit", &world.client, &[]) >= 1024.0);
    let waits = |pod| of(&metrics, "waits_total", pod, &[("bound", "outbound_connections")]);
    assert!(waits(&world.client) >= 1.0 && waits(&world.near) == 0.0, "{}", metrics.heddle());

    assert_eq!(held.end()?.healthy, 8);
    assert!(connect(&world.client, &format!("--to {} --count 20", world.far.at(8080)))?.all_good(20));
    Ok(())
}

#[test]
fn connections_in_tunnels_to_a_full_pod_wait_and_are_refused_in_time_and_others_are_not() -> Result<()> {
    let world =
        World::with("fair-streams", |agent| agent.set("limits.dataThreads", 1).set("limits.connectTimeout", "1s"))?;
    let beside = world.far.node().pod("beside").start()?;
    enrolled(&world.b, 2)?;
    let _servers = [&world.far, &beside].map(|pod| pod.serve("--listen 8080").unwrap());
    // The tunnel and two connections in it.
    share(&world.bed, &world.far, &json!({"connections": 3}))?;
    wait(&world.b, "the bound is in force", |it| of(it, "connections_limit", &world.far, &[]) == 3.0)?;
    let held = hold(&world.client, world.far.at(8080), 2)?;
    let beyond = probe(&world.client, world.far.at(8080), "beyond")?;
    assert!(!echoed(&beyond, "beyond"), "{beyond:?}");
    assert!(connect(&world.client, &format!("--to {} --count 20 --concurrency 4", beside.at(8080)))?.all_good(20));
    let metrics = wait(&world.b, "it waited", |it| {
        of(it, "waits_total", &world.far, &[("bound", "inbound_connections")]) >= 1.0
    })?;
    assert_eq!(of(&metrics, "waits_total", &beside, &[]), 0.0);
    assert_eq!(held.end()?.healthy, 2);
    eventually("there is room again", SOON, || Ok(echoed(&probe(&world.client, world.far.at(8080), "now")?, "now")))
}

#[test]
fn requests_of_a_pod_with_all_its_connections_to_servers_wait_and_are_refused_in_time_and_idle_ones_give_way()
-> Result<()> {
    let world =
        World::with("fair-requests", |agent| agent.set("limits.dataThreads", 1).set("limits.connectTimeout", "1s"))?;
    let mut web = Web::within(world)?;
    let (_pod, other, _server) = web.version("other")?;
    // One request at a time on each connection to the server, however many the client sends on its own.
    let of_http1 = json!([
        {"name": "p80", "protocol": "TCP", "port": 80, "targetPort": 8080, "appProtocol": "kubernetes.io/ws"},
    ]);
    web.service.specify("ports", of_http1)?;
    share(&web.world.bed, &web.world.client, &json!({"connections": 4}))?;
    let client = &web.world.client;
    wait(&web.world.a, "the bound is in force", |it| of(it, "connections_limit", client, &[]) == 4.0)?;
    web.world.settle()?;
    let url = format!("http://{}/", web.service.at(80));
    let many = format!("-n 12 -c 1 -m 12 -H x-behave:delay=2500 {url}");
    let said = client.command("h2load").words(&many).output(SOON)?;
    assert!(said.contains("status codes: 4 2xx, 0 3xx, 0 4xx, 8 5xx"), "{said}\n{}", web.said()?);
    let line = web.world.a.wait_access_log(SOON, |line| line["flag"] == "UO")?;
    assert!(line["error"].as_str().is_some_and(|error| error.contains("limits.pod.connections")), "{line}");
    let open = |it: &Metrics| of(it, "http_connections", client, &[("direction", "outbound")]);
    let metrics = web.world.a.metrics()?;
    assert_eq!(open(&metrics), 4.0, "they are kept for further requests");
    let mut asking = Client::of(client)?;
    assert_eq!(asking.ask(Ask::to(other.at(80)).host("other"))?.status, 200, "{}", web.said()?);
    assert!(open(&web.world.a.metrics()?) <= 4.0);
    Ok(())
}

#[test]
fn tunnels_that_nobody_uses_are_closed_where_a_pod_has_too_many() -> Result<()> {
    let world = World::with("fair-tunnels", |agent| agent.set("limits.dataThreads", 1))?;
    let others = ["one", "two"].map(|name| world.far.node().pod(name).start().unwrap());
    enrolled(&world.b, 3)?;
    let peers = [&world.far, &others[0], &others[1]];
    let _servers = peers.map(|pod| pod.serve("--listen 8080").unwrap());
    share(&world.bed, &world.client, &json!({"connections": 2}))?;
    wait(&world.a, "the bound is in force", |it| of(it, "connections_limit", &world.client, &[]) == 2.0)?;
    let mut held = hold(&world.client, peers[0].at(8080), 1)?;
    for peer in [peers[1], peers[2], peers[1]] {
        assert!(echoed(&probe(&world.client, peer.at(8080), "word")?, "word"));
        wait(&world.a, "only what is used and the last", |it| {
            of(it, "tunnels", &world.client, &[]) == 2.0 && it.sum("heddle_tunnel_streams_open", &[]) == 1.0
        })?;
    }
    held.still_exchanges()?;
    assert_eq!(held.end()?.healthy, 1);
    Ok(())
}

#[test]
fn a_peer_that_begins_handshakes_and_does_not_go_on_keeps_out_nobody_but_peers_of_that_pod() -> Result<()> {
    use std::io::Write;
    use std::net::TcpStream;

    const HOSTILE: usize = 20;
    let world = World::with("fair-handshakes", |agent| agent.set("limits.handshakeTimeout", "1s"))?;
    let (stranger, beside) = (world.stranger()?, world.far.node().pod("beside").start()?);
    enrolled(&world.b, 2)?;
    let _servers = [&world.far, &beside].map(|pod| pod.serve("--listen 8080").unwrap());
    share(&world.bed, &world.far, &json!({"handshakes": 4}))?;
    wait(&world.b, "the bound is in force", |it| of(it, "handshakes_limit", &world.far, &[]) == 4.0)?;
    let to = world.far.at(15008);
    let open = || -> Result<TcpStream> {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])?;
        Ok(stream)
    };
    let _half_open = stranger.netns().run(|| (0..HOSTILE).map(|_| open()).collect::<Result<Vec<_>>>())?;
    let metrics = wait(&world.b, "the pod has as many handshakes as it may have", |it| {
        of(it, "handshakes", &world.far, &[("direction", "inbound")]) == 4.0
            && of(it, "waits_total", &world.far, &[("bound", "inbound_handshakes")]) >= 1.0
    })?;
    assert_eq!(of(&metrics, "handshakes", &beside, &[]), 0.0);
    assert!(connect(&world.client, &format!("--to {} --count 20 --concurrency 4", beside.at(8080)))?.all_good(20));
    // They time out, some at a time, and never more than four are under way.
    let mut most = 0.0_f64;
    eventually("every handshake has had its time", SOON, || {
        let metrics = world.b.metrics()?;
        most = most.max(of(&metrics, "handshakes", &world.far, &[("direction", "inbound")]));
        let timeouts = [("side", "server"), ("result", "timeout")];
        Ok(metrics.sum("heddle_handshakes_total", &timeouts) == HOSTILE as f64)
    })?;
    assert!(most <= 4.0, "{most}");
    assert!(connect(&world.client, &format!("--to {} --count 5", world.far.at(8080)))?.all_good(5));
    Ok(())
}

#[test]
fn a_pod_that_never_reads_has_bounded_memory_and_others_go_on() -> Result<()> {
    const STREAMS: u64 = 12;
    let world = World::new("fair-unread")?;
    let _servers = ["--listen 8080 --mode source", "--listen 8081"].map(|line| world.far.serve(line).unwrap());
    share(&world.bed, &world.client, &json!({"bufferBytes": 4 * MIB}))?;
    wait(&world.a, "the bound is in force", |it| of(it, "buffer_limit_bytes", &world.client, &[]) == (4 * MIB) as f64)?;
    // More than sockets hold, and a mebibyte on each stream that its peer may send unasked.
    let line = format!("stall --to {} --bytes {} --count {STREAMS} --timeout 60", world.far.at(8080), 16 * MIB);
    let mut stalled = world.client.peer(&line)?.start()?;
    let unread = |metrics: &Metrics| of(metrics, "buffer_bytes", &world.client, &[("direction", "inbound")]);
    wait(&world.a, "nobody reads", |metrics| unread(metrics) >= (2 * MIB) as f64)?;
    let report = connect(&world.near, &format!("--to {} --count 200 --concurrency 4", world.far.at(8081)))?;
    assert!(report.all_good(200), "{report:?}");
    let metrics = world.a.metrics()?;
    // A read for each tunnel is what may come on top.
    assert!(unread(&metrics) < (4 * MIB) as f64, "{} MiB", unread(&metrics) / MIB as f64);
    assert!(of(&metrics, "waits_total", &world.client, &[("bound", "received_bytes")]) >= 1.0, "{}", metrics.heddle());
    assert_eq!(of(&metrics, "waits_total", &world.near, &[]), 0.0);

    stalled.write_line("go on")?;
    let finished = stalled.wait(SOON * 6)?;
    let report: BulkReport = serde_json::from_str(finished.stdout.last().context("no report")?)?;
    assert_eq!((report.verified, report.failures.len()), (STREAMS, 0), "{report:?}");
    wait(&world.a, "all is read", |metrics| unread(metrics) == 0.0)?;
    Ok(())
}

#[test]
fn a_pod_that_sends_to_who_never_reads_has_bounded_memory_and_its_other_connections_go_on() -> Result<()> {
    const STREAMS: u64 = 24;
    let world = World::new("fair-unsent")?;
    let _servers = ["--listen 8080 --mode stall", "--listen 8081"].map(|line| world.far.serve(line).unwrap());
    share(&world.bed, &world.client, &json!({"bufferBytes": MIB}))?;
    wait(&world.a, "the bound is in force", |it| of(it, "buffer_limit_bytes", &world.client, &[]) == MIB as f64)?;
    let to = world.far.at(8080);
    let line = format!("bulk --to {to} --bytes {} --direction upload --streams {STREAMS} --timeout 60", 256 * MIB);
    let mut sender = world.client.peer(&line)?.start()?;
    let unsent = |metrics: &Metrics| of(metrics, "buffer_bytes", &world.client, &[("direction", "outbound")]);
    wait(&world.a, "nobody takes it", |metrics| unsent(metrics) >= (MIB / 2) as f64)?;
    for pod in [&world.client, &world.near] {
        let report = connect(pod, &format!("--to {} --count 50 --bytes 20000", world.far.at(8081)))?;
        assert!(report.all_good(50), "{}: {report:?}", pod.name());
    }
    let metrics = world.a.metrics()?;
    assert!(unsent(&metrics) < MIB as f64, "{} KiB", unsent(&metrics) / 1024.0);
    assert!(of(&metrics, "waits_total", &world.client, &[("bound", "sent_bytes")]) >= 1.0, "{}", metrics.heddle());
    sender.kill()?;
    wait(&world.a, "what is not sent goes with its connection", |metrics| unsent(metrics) == 0.0)?;
    Ok(())
}

#[test]
fn a_pod_that_opens_connections_as_fast_as_it_can_is_put_off_and_another_is_served() -> Result<()> {
    let world = World::with("fair-storm", |agent| agent.set("limits.dataThreads", 1))?;
    let _server = world.far.serve("--listen 8080,8081")?;
    let mut storm = Storm::start(&world.near, &format!("--to {} --concurrency 64", world.far.at(8080)))?;
    let mut light = hold(&world.client, world.far.at(8081), 4)?;
    light.still_exchanges()?;
    let report = connect(&world.client, &format!("--to {} --count 100", world.far.at(8081)))?;
    assert!(report.all_good(100), "{report:?}");
    let metrics = wait(&world.a, "the one is put off", |it| of(it, "turns_put_off_total", &world.near, &[]) > 100.0)?;
    let put_off = of(&metrics, "turns_put_off_total", &world.client, &[]);
    assert!(put_off < of(&metrics, "turns_put_off_total", &world.near, &[]) / 10.0, "{put_off}: {}", metrics.heddle());
    let worked = |pod| of(&metrics, "cpu_seconds_total", pod, &[]);
    assert!(worked(&world.near) > worked(&world.client) && worked(&world.client) > 0.0, "{}", metrics.heddle());
    assert!(storm.process.running()?);
    let report = storm.end()?;
    assert!(report.all_good(report.attempted) && report.attempted > 100, "it was slower, and nothing else: {report:?}");
    assert_eq!(light.end()?.healthy, 4);
    Ok(())
}

#[test]
fn a_pod_that_is_gone_has_no_series() -> Result<()> {
    let world = World::new("fair-gone")?;
    let series = |metrics: &Metrics| {
        metrics.samples().iter().filter(|it| it.labels.get("pod").is_some_and(|pod| pod == "near")).count()
    };
    assert!(series(&world.a.metrics()?) > 10);
    world.near.unpublish()?;
    wait(&world.a, "nothing is told of the pod", |metrics| series(metrics) == 0)?;
    Ok(())
}

/// Connections that are opened one after the other, many at a time, until it is told to end.
struct Storm {
    process: Process,
}

impl Storm {
    fn start(pod: &Pod, line: &str) -> Result<Self> {
        Ok(Self { process: pod.peer(&format!("connect {line} --count 1000000000 --until-eof"))?.start()? })
    }

    fn end(mut self) -> Result<ConnectReport> {
        self.process.close_stdin();
        let finished = self.process.wait(SOON * 2)?;
        Ok(serde_json::from_str(finished.stdout.last().map_or("", String::as_str))?)
    }
}

/// Has a Capture document of the root namespace say what a pod may have.
fn share(bed: &Bed, pod: &Pod, share: &Value) -> Result<()> {
    let capture = json!({
        "apiVersion": "heddle.io/v1alpha1", "kind": "Capture", "metadata": {"name": pod.name()},
        "spec": {"selector": {"matchLabels": {"app": pod.name()}}, "share": share},
    });
    bed.objects().put(&json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": pod.name(), "namespace": "heddle-system", "labels": {"heddle.io/config": "true"}},
        "data": {"capture.yaml": capture.to_string()},
    }))
}

/// The sum of a metric of a pod.
fn of(metrics: &Metrics, name: &str, pod: &Pod, labels: &[(&str, &str)]) -> f64 {
    let all: Vec<_> = [("pod", pod.name())].iter().chain(labels).copied().collect();
    metrics.sum(&format!("heddle_pod_{name}"), &all)
}

fn wait(agent: &Agent, what: &str, holds: impl Fn(&Metrics) -> bool) -> Result<Metrics> {
    agent.wait_metrics(what, SOON, holds)
}
