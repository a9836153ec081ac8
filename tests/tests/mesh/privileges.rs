//! An agent with exactly the capabilities of SECURITY.md, in what a container that is not privileged has of a file system; and what
//! it says where one of them is missing.

use std::fs;

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::{Agent, Bed};
use rustix::process::Signal;

use crate::world::{SOON, World, connect, enrolled, eventually, hold};

/// What the DaemonSet's container has.
const ALL: [&str; 3] = ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"];

/// A line of its status in /proc.
fn status(agent: &mut Agent, field: &str) -> Result<String> {
    let path = format!("/proc/{}/status", agent.process().pid());
    let text = fs::read_to_string(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {field} in {path}"))?.trim().to_owned())
}

/// It has these capabilities and no way to others.
fn confined(agent: &mut Agent) -> Result<()> {
    // By their numbers in linux/capability.h.
    let all = format!("{:016x}", (1_u64 << 12) | (1 << 19) | (1 << 21));
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(status(agent, set)?, all, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(status(agent, set)?, format!("{:016x}", 0), "{set}");
    }
    assert_eq!(status(agent, "NoNewPrivs")?, "1");
    Ok(())
}

/// Connections each way between the nodes, of which the certificates prove who spoke, and within one.
fn carries(world: &mut World) -> Result<()> {
    for (from, to) in [(&world.client, &world.far), (&world.far, &world.near), (&world.client, &world.near)] {
        let report = connect(from, &format!("--to {} --count 10 --ident --check-local --check-peername", to.at(8080)))?;
        ensure!(report.all_good(10), "{} to {}: {report:?}", from.name(), to.name());
    }
    for (agent, from, to) in [(&mut world.b, &world.client, &world.far), (&mut world.a, &world.far, &world.near)] {
        let (address, identities) = (to.at(8080).to_string(), [from.identity(), to.identity()]);
        agent.wait_access_log(SOON, |line| {
            line["direction"] == "inbound"
                && line["destination_address"] == *address
                && [&line["source_identity"], &line["destination_identity"]] == identities.each_ref()
        })?;
    }
    Ok(())
}

#[test]
fn exactly_the_listed_capabilities_carry_traffic_enrol_release_hand_over_and_start_again() -> Result<()> {
    let bed = Bed::with_api_server("privileges")?;
    let mut world = World::on(bed, |agent| agent.with_capabilities(&ALL))?;
    confined(&mut world.a)?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    carries(&mut world)?;
    let late = world.client.node().pod("late").start()?;
    enrolled(&world.a, 3)?;
    assert!(connect(&late, &format!("--to {} --count 5 --ident", world.far.at(8080)))?.all_good(5));
    late.set_mesh(Some(false))?;
    enrolled(&world.a, 2)?;
    let _echo = world.far.serve("--listen 8081")?;
    let mut held = hold(&world.client, world.far.at(8081), 3)?;
    let mut old = world.a.upgrade()?;
    old.signal(Signal::TERM)?;
    held.still_exchanges()?;
    held.end()?;
    let finished = old.wait(SOON)?;
    assert_eq!(finished.status.code(), Some(0), "{}", finished.describe());
    carries(&mut world)?;
    world.a.restart()?;
    confined(&mut world.a)?;
    carries(&mut world)
}

#[test]
fn pods_that_are_named_by_their_namespaces_take_no_right_to_trace() -> Result<()> {
    let mut world = World::with("privileges-files", |agent| agent.with_capabilities(&["NET_ADMIN", "SYS_ADMIN"]))?;
    let _servers = [&world.near, &world.far].map(|pod| pod.serve("--listen 8080 --ident").unwrap());
    carries(&mut world)
}

/// What an agent with some capabilities fails to do: its last words, or why it is not ready.
fn complaint(agent: &mut Agent) -> Result<String> {
    let mut said = String::new();
    eventually("it complains", SOON, || {
        said = match agent.process().running()? {
            true => agent.ready().map(|answer| answer.text()).unwrap_or_default(),
            false => agent.process().stderr().join("\n"),
        };
        Ok(said.contains("not permitted") || said.contains("denied") || said.contains("Read-only"))
    })?;
    Ok(said)
}

/// The kernel refuses each of these, and not the agent.
#[test]
fn each_capability_is_needed_and_the_agent_names_the_one_that_is_missing() -> Result<()> {
    let bed = Bed::with_api_server("privileges-less")?;
    let node = bed.node("a")?;
    let _pod = node.pod("client").start()?;
    let cases: [(&[&str], _, _); 5] = [
        (&["NET_ADMIN", "SYS_PTRACE"], "load the kernel programs", "lacks SYS_ADMIN:"),
        (&["BPF", "NET_ADMIN", "SYS_PTRACE"], "kernel program", "lacks SYS_ADMIN:"),
        (&["BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE"], "enter the network namespace", "lacks SYS_ADMIN:"),
        (&["SYS_ADMIN", "SYS_PTRACE"], "route the answers of applications", "lacks NET_ADMIN:"),
        (&["NET_ADMIN", "SYS_ADMIN"], "/ns/net", "lacks SYS_PTRACE:"),
    ];
    for (capabilities, refused, missing) in cases {
        let mut agent = node.agent().with_capabilities(capabilities).start_without_waiting()?;
        let said = complaint(&mut agent)?;
        let remedy = "securityContext.capabilities.add";
        for part in [refused, missing, remedy] {
            assert!(said.contains(part), "{capabilities:?}: no `{part}` in: {said}");
        }
    }
    let mut agent = node.agent().with_capabilities(&ALL).start()?;
    confined(&mut agent)?;
    enrolled(&agent, 1)
}

#[test]
fn a_proc_that_cannot_be_written_is_named_with_the_mount_that_is_missing() -> Result<()> {
    let bed = Bed::with_api_server("privileges-proc")?;
    let node = bed.node("a")?;
    let _pod = node.pod("client").start()?;
    let mut agent = node.agent().with_capabilities(&ALL).set("capture.proc", "/proc").start_without_waiting()?;
    let said = complaint(&mut agent)?;
    for part in ["/proc/sys/net/ipv4/tcp_fwmark_accept", "hostPath", "capture.proc"] {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
    Ok(())
}
