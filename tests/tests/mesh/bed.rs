//! The bed itself, without any agent: everything reaches everything, and nothing is left afterwards.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use heddle_tests::bed::{Bed, Pod, Process};
use heddle_tests::peer::report::{BulkReport, ConnectReport, PingReport, ProbeReport};

/// Two nodes with two pods each, and an identifying server in each pod.
struct Four {
    pods: Vec<Pod>,
    _servers: Vec<Process>,
}

fn four(bed: &Bed) -> Result<Four> {
    let nodes = [bed.node("a")?, bed.node("b")?];
    let mut pods = Vec::new();
    for (node, name) in [(0, "client"), (0, "one"), (1, "two"), (1, "three")] {
        pods.push(nodes[node].pod(name).start()?);
    }
    let servers = pods.iter().map(|pod| pod.serve("--listen 8080 --ident")).collect::<Result<_>>()?;
    Ok(Four { pods, _servers: servers })
}

#[test]
fn every_pod_reaches_every_pod_over_both_families_with_its_own_address() -> Result<()> {
    let bed = Bed::new("reach")?;
    let four = four(&bed)?;
    for from in &four.pods {
        for to in &four.pods {
            for (source, target) in [(from.at(0), to.at(8080)), (from.at6(0), to.at6(8080))] {
                let line = format!(
                    "connect --to {target} --ident --check-local --check-peername --expect-source {}",
                    source.ip()
                );
                let report: ConnectReport = from.ask(&line)?;
                assert!(report.all_good(1), "{} to {target}: {report:?}", from.name());
            }
        }
    }
    bed.close()
}

#[test]
fn the_client_reports_what_is_wrong_and_not_only_that_it_ran() -> Result<()> {
    let bed = Bed::new("wrong")?;
    let four = four(&bed)?;
    let [client, one, two, ..] = four.pods.as_slice() else { unreachable!() };
    let ask = |line: String| client.ask::<ConnectReport>(&line);
    let failures = |report: ConnectReport| report.failures.keys().cloned().collect::<Vec<_>>();
    let closed = ask(format!("connect --to {}", one.at(1)))?;
    assert_eq!(failures(closed), ["connect: ECONNREFUSED"]);
    let source = ask(format!("connect --to {} --ident --expect-source {}", one.at(8080), two.v4()))?;
    assert_eq!(failures(source), ["greeting: another source address"]);
    let server = ask(format!("connect --to {}=somebody-else", one.at(8080)))?;
    assert_eq!(failures(server), ["greeting: wrong server"]);
    let bytes = ask(format!("connect --to {} --bytes 10", one.at(8080)))?;
    assert_eq!(failures(bytes), ["read: wrong bytes"], "the identification was not expected");
    let _reset = two.serve("--listen 9090 --mode rst")?;
    let reset = ask(format!("connect --to {}", two.at(9090)))?;
    assert_eq!(failures(reset), ["read: ECONNRESET"]);
    two.black_hole(true)?;
    let gone = ask(format!("connect --to {} --timeout 0.2", two.at(8080)))?;
    assert_eq!(failures(gone), ["connect: timeout"]);
    two.black_hole(false)?;
    let back = ask(format!("connect --to {} --ident", two.at(8080)))?;
    assert!(back.all_good(1), "{back:?}");
    Ok(())
}

#[test]
fn a_cluster_ip_is_unreachable_without_an_agent() -> Result<()> {
    let bed = Bed::new("cluster-ip")?;
    let client = bed.node("a")?.pod("client").start()?;
    let service = bed.service("echo", &[(80, 8080)])?;
    service.backends(&[&client])?;
    for target in [service.at(80), service.at6(80)] {
        let report: ProbeReport = client.ask(&format!("probe --to {target}"))?;
        assert!(["ENETUNREACH", "EHOSTUNREACH"].contains(&report.connect.as_str()), "{target}: {report:?}");
    }
    Ok(())
}

#[test]
fn bulk_data_is_verified_in_all_directions_and_a_stalled_reader_resumes() -> Result<()> {
    let bed = Bed::new("bulk")?;
    let client = bed.node("a")?.pod("client").start()?;
    let server = bed.node("b")?.pod("server").start()?;
    for (mode, direction, port) in [("sink", "upload", 1), ("source", "download", 2), ("echo", "echo", 3)] {
        let _serving = server.serve(&format!("--listen {port} --mode {mode}"))?;
        let line = format!("bulk --to {} --direction {direction} --bytes 5000001 --streams 3", server.at(port));
        let report: BulkReport = client.ask(&line)?;
        assert_eq!((report.verified, report.failures.len(), report.bytes), (3, 0, 15_000_003), "{report:?}");
    }
    let _source = server.serve("--listen 4 --mode source")?;
    let mut stalled = client.peer(&format!("stall --to {} --bytes 20000000 --count 2", server.at(4)))?.start()?;
    stalled.wait_line(Duration::from_secs(5), |line| line.contains("stalled"))?;
    assert!(stalled.running()?);
    stalled.write_line("resume")?;
    let report: BulkReport = serde_json::from_str(stalled.wait(Duration::from_secs(30))?.stdout.last().unwrap())?;
    assert_eq!((report.verified, report.failures.len()), (2, 0), "{report:?}");
    Ok(())
}

#[test]
fn datagrams_are_answered_connected_or_not() -> Result<()> {
    let bed = Bed::new("udp")?;
    let client = bed.node("a")?.pod("client").start()?;
    let server = bed.node("b")?.pod("server").start()?;
    for to in [server.at(53), server.at6(53)] {
        let mut echo = server.peer(&format!("udp-echo --listen {to}"))?.start()?;
        echo.wait_line(Duration::from_secs(5), |line| line.contains("listening"))?;
        for how in ["", "--connected"] {
            let report: PingReport = client.ask(&format!("udp-ping --to {to} --count 3 {how}"))?;
            assert_eq!(report, PingReport { sent: 3, answered: 3 }, "{to} {how}");
        }
    }
    let silent: PingReport = client.ask(&format!("udp-ping --to {} --count 1 --wait-ms 50", server.at(54)))?;
    assert_eq!(silent.answered, 0);
    Ok(())
}

#[test]
fn the_record_of_the_wire_has_what_crossed_it_and_nothing_else() -> Result<()> {
    let bed = Bed::new("wire")?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    let (client, near, far) = (a.pod("client").start()?, a.pod("near").start()?, b.pod("far").start()?);
    let _servers = [near.serve("--listen 80")?, far.serve("--listen 80")?];
    let capture = bed.wire_capture()?;
    let said = |to: SocketAddr, what: &str| client.ask::<ProbeReport>(&format!("probe --to {to} --send {what}"));
    assert_eq!(said(far.at(80), "needle-across-the-wire")?.data.as_deref(), Some("needle-across-the-wire\n"));
    assert_eq!(said(far.at6(80), "needle-of-the-other-family")?.after.as_deref(), Some("data"));
    assert_eq!(said(near.at(80), "needle-that-stays-on-its-node")?.after.as_deref(), Some("data"));
    let record = capture.stop()?;
    assert!(record.contains(b"needle-across-the-wire"));
    assert!(record.contains(b"needle-of-the-other-family"));
    assert!(!record.contains(b"needle-that-stays-on-its-node"));
    let there = record.flows().keys().filter(|flow| flow.tcp && flow.destination == far.at(80)).count();
    assert_eq!(there, 1, "{:?}", record.flows());
    let twice = record.packets().iter().filter(|packet| packet.payload == b"needle-across-the-wire\n").count();
    assert_eq!(twice, 2, "each direction is recorded once");
    Ok(())
}

#[test]
fn a_node_off_the_wire_is_not_reached_and_is_again_later() -> Result<()> {
    let bed = Bed::new("cut")?;
    let client = bed.node("a")?.pod("client").start()?;
    let b = bed.node("b")?;
    let server = b.pod("server").start()?;
    let _serving = server.serve("--listen 80")?;
    let reach = || client.ask::<ProbeReport>(&format!("probe --to {} --watch-ms 10 --timeout 0.3", server.at(80)));
    assert_eq!(reach()?.connect, "connected");
    b.connected(false)?;
    assert_eq!(reach()?.connect, "timeout");
    b.connected(true)?;
    // The bridge forwards again once it has seen the carrier.
    wait_until(|| reach().is_ok_and(|report| report.connect == "connected"))?;
    Ok(())
}

#[test]
fn objects_are_plain_yaml_and_follow_the_pods() -> Result<()> {
    let bed = Bed::new("objects")?;
    let node = bed.node("a")?;
    let pod = node.pod("web").namespace("shop").service_account("seller").annotation("a/b", "1").start()?;
    let service = bed.service_in("shop", "web", &[(80, 8080)])?;
    service.backends_with(&[(&pod, false)])?;
    let _hidden = node.pod("hidden").unlisted().start()?;
    let files = || -> Result<Vec<String>> {
        let entries = fs::read_dir(bed.objects().directory())?;
        let mut names: Vec<_> =
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    };
    let slices = ["endpointslice-shop-web-ipv4.yaml", "endpointslice-shop-web-ipv6.yaml"];
    assert_eq!(files()?, [slices[0], slices[1], "namespace-shop.yaml", "pod-shop-web.yaml", "service-shop-web.yaml"]);
    let read = |file: &str| -> Result<serde_json::Value> {
        Ok(serde_saphyr::from_str(&fs::read_to_string(bed.objects().directory().join(file))?)?)
    };
    pod.set_mesh(Some(false))?;
    let object = read("pod-shop-web.yaml")?;
    assert_eq!(object["metadata"]["labels"]["heddle.io/mesh"], "disabled");
    assert_eq!(object["metadata"]["annotations"]["heddle.io/netns"], pod.netns().path().to_string_lossy().as_ref());
    assert_eq!(object["spec"]["serviceAccountName"], "seller");
    assert_eq!(read(slices[1])?["endpoints"][0]["addresses"][0], pod.v6().to_string());
    assert_eq!(read("namespace-shop.yaml")?["metadata"]["labels"]["heddle.io/mesh"], "enabled");
    pod.delete()?;
    service.remove()?;
    assert_eq!(files()?, ["namespace-shop.yaml"]);
    assert!(!pod.netns().path().exists() && !pod.cgroup().path().exists());
    Ok(())
}

#[test]
fn a_bed_of_two_nodes_and_four_pods_stands_within_a_second() -> Result<()> {
    let begin = Instant::now();
    let bed = Bed::new("fast")?;
    for node in [bed.node("a")?, bed.node("b")?] {
        node.pod("x").namespace(node.name()).start()?;
        node.pod("y").namespace(node.name()).start()?;
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(1), "building took {took:?}");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_bed_that_was_in_use() -> Result<()> {
    let bed = Bed::new("clean")?;
    let four = four(&bed)?;
    let hold = four.pods[0].peer(&format!("hold --to {} --count 3", four.pods[2].at(8080)))?.start()?;
    let capture = bed.wire_capture()?;
    let id = bed.id().to_owned();
    let pids = pids_below(bed.cgroup().path());
    // Four servers, the client, tcpdump.
    assert_eq!(pids.len(), 6);
    assert!(!traces(&id)?.is_empty(), "the search for traces finds a live bed");
    // The handles live on: the bed must not wait for them to be dropped.
    bed.close()?;
    assert_eq!(traces(&id)?, Vec::<String>::new());
    drop((hold, capture, four));
    let alive: Vec<_> = pids.iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert_eq!(alive, Vec::<&u32>::new());
    Ok(())
}

#[test]
fn nothing_is_left_after_a_panic() -> Result<()> {
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let bed = Bed::new("panic").unwrap();
        let four = four(&bed).unwrap();
        send.send((bed.id().to_owned(), pids_below(bed.cgroup().path()))).unwrap();
        assert!(four.pods.is_empty(), "on purpose");
    });
    let (id, pids) = receive.recv()?;
    assert!(panicked.join().is_err());
    assert_eq!(traces(&id)?, Vec::<String>::new());
    assert_eq!(pids.len(), 4);
    assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    Ok(())
}

#[test]
fn nothing_is_left_of_a_killed_test_process_after_the_next_one() -> Result<()> {
    // This very binary, told to build a bed and hang, then killed without a chance to clean up.
    let run = |test: &str| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--exact", test, "--ignored", "--nocapture"]).stdout(std::process::Stdio::piped());
        Ok::<_, anyhow::Error>(command.spawn()?)
    };
    let mut victim = run("bed::helper_hangs_with_a_bed")?;
    let output = victim.stdout.take().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(output));
    let mut lines = lines.map_while(Result::ok);
    let id = lines.find_map(|line| line.split_once("the bed is ").map(|(_, id)| id.to_owned())).unwrap();
    let pids = pids_below(&heddle_tests::bed::machine()?.cgroup2.join(&id));
    // While it lives: once it is dead, whoever builds a bed next sweeps, in another run on this machine too.
    assert!(!traces(&id)?.is_empty(), "there is something to be left");
    victim.kill()?;
    victim.wait()?;
    assert_eq!(pids.len(), 1, "its server");
    // Processes die with their parent even before anyone sweeps.
    wait_until(|| pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()))?;
    let status = run("bed::helper_builds_a_bed")?.wait()?;
    assert!(status.success());
    assert_eq!(traces(&id)?, Vec::<String>::new());
    Ok(())
}

#[test]
#[ignore = "not a test: the victim of nothing_is_left_of_a_killed_test_process_after_the_next_one"]
fn helper_hangs_with_a_bed() -> Result<()> {
    let bed = Bed::new("victim")?;
    let _server = bed.node("a")?.pod("server").start()?.serve("--listen 80")?;
    std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("the bed is {}\n", bed.id()))?;
    std::thread::sleep(Duration::from_secs(60));
    anyhow::bail!("nobody killed the victim")
}

#[test]
#[ignore = "not a test: the successor in nothing_is_left_of_a_killed_test_process_after_the_next_one"]
fn helper_builds_a_bed() -> Result<()> {
    Bed::new("successor")?.close()
}

/// Everything on the machine that has the bed's id in its name.
fn traces(id: &str) -> Result<Vec<String>> {
    let cgroup2 = heddle_tests::bed::machine()?.cgroup2;
    let mut traces = Vec::new();
    for directory in [PathBuf::from("/run/netns"), cgroup2, std::env::temp_dir()] {
        let names = fs::read_dir(directory)?.flatten().map(|entry| entry.path().display().to_string());
        traces.extend(names.filter(|name| is_of(name, id)));
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    traces.extend(mounts.lines().filter(|line| is_of(line, id)).map(str::to_owned));
    Ok(traces)
}

/// Whether the text names the bed, and not one whose id only begins the same.
fn is_of(text: &str, id: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| word == id)
}

fn pids_below(cgroup: &Path) -> Vec<u32> {
    let mut pids = Vec::new();
    let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    pids.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            pids.extend(pids_below(&entry.path()));
        }
    }
    pids
}

fn wait_until(holds: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !holds() {
        ensure!(Instant::now() < deadline, "it did not come true within 5 s");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
