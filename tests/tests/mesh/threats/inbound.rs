//! Into an enrolled pod past the agent, where STRICT is in force.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use anyhow::{Context, Result};
use heddle_tests::bed::Pod;
use heddle_tests::peer::report::{PingReport, ProbeReport, RawReport};

use crate::world::{SOON, World, connect, echoed, enrolled, eventually, probe};

/// The pod's address on its own cable.
fn link_local(pod: &Pod) -> Result<Ipv6Addr> {
    let table = pod.netns().run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/if_inet6")?))?;
    let line = table.lines().find(|line| line.starts_with("fe80") && line.ends_with("eth0"));
    let digits = line.and_then(|line| line.split(' ').next()).context("no link-local address")?;
    Ok(Ipv6Addr::from(u128::from_str_radix(digits, 16)?))
}

/// The number of a pod's `eth0`.
fn device(pod: &Pod) -> Result<u32> {
    let table = pod.netns().run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/if_inet6")?))?;
    let line = table.lines().find(|line| line.ends_with("eth0")).context("no eth0")?;
    Ok(u32::from_str_radix(line.split(' ').nth(1).context("no number")?, 16)?)
}

fn counted(world: &World, event: &str) -> Result<f64> {
    Ok(world.b.metrics()?.sum("heddle_kernel_events_total", &[("event", event)]))
}

/// A short wait: what is dropped is answered by nobody.
fn knock(from: &Pod, to: SocketAddr, how: &str) -> Result<ProbeReport> {
    from.ask(&format!("probe --to {to} --send hello --watch-ms 1500 --timeout 1.5 {how}"))
}

#[test]
fn an_application_is_not_reached_at_addresses_that_the_mesh_does_not_know() -> Result<()> {
    let world = World::with("addresses", |agent| agent.strict())?;
    let stranger = world.stranger()?;
    let _server = world.far.serve("--listen 8080")?;
    let outside = world.far.node().pod("outside").outside_mesh().start()?;
    let _open = outside.serve("--listen 8080")?;
    let from_stranger = |pod: &Pod| -> Result<SocketAddr> {
        Ok(SocketAddrV6::new(link_local(pod)?, 8080, 0, device(&stranger)?).into())
    };
    let control = knock(&stranger, from_stranger(&outside)?, "")?;
    assert!(echoed(&control, "hello"), "the control, to a pod outside the mesh: {control:?}");
    assert!(!echoed(&knock(&stranger, from_stranger(&world.far)?, "")?, "hello"), "by the link-local address");
    assert!(counted(&world, "inbound_unknown_address")? >= 1.0);

    let [a, b, c, _] = world.far.v4().octets();
    let second = SocketAddr::from(([a, b, c, 240], 8080));
    world.far.netns().ip(&format!(
        "addr add {}/24 dev eth0\nlink add extra type veth peer name other\nlink set other up\nlink set extra up\n",
        second.ip()
    ))?;
    let third = SocketAddr::from(([a, b, c, 241], 8080));
    world.far.netns().ip(&format!("addr add {}/32 dev extra\n", third.ip()))?;
    let before = counted(&world, "inbound_unknown_address")?;
    for to in [second, third] {
        assert!(!echoed(&knock(&stranger, to, "")?, "hello"), "by an address that the pod gave itself: {to}");
    }
    assert!(counted(&world, "inbound_unknown_address")? > before);
    assert!(connect(&world.client, &format!("--to {}", world.far.at(8080)))?.all_good(1), "the mesh still reaches it");
    Ok(())
}

#[test]
fn strict_holds_for_every_kind_of_tcp() -> Result<()> {
    let world = World::with("strict-kinds", |agent| agent.strict())?;
    let stranger = world.stranger()?;
    // Bound before the pod is enrolled, and once more beside it afterwards.
    let early = world.far.node().pod("early").unlisted().start()?;
    let _before = early.serve("--listen 8080,127.0.0.1:8081")?;
    assert!(echoed(&probe(&stranger, early.at(8080), "hello")?, "hello"), "the control: before it is enrolled");
    early.publish()?;
    enrolled(&world.b, 2)?;
    eventually("the pod is captured", SOON, || Ok(!echoed(&probe(&stranger, early.at(8080), "hello")?, "hello")))?;
    for how in ["", "--mptcp", "--mark 1337", "--nonblocking", "--bind-device eth0", "--transparent"] {
        for to in [early.at(8080), early.at6(8080)] {
            let report = knock(&stranger, to, how)?;
            assert!(!echoed(&report, "hello"), "{how} to {to}: {report:?}");
        }
    }
    // The handshake with the agent is all that a packet made by hand gets, and the data in it goes nowhere.
    let line = format!("raw-syn --from {} --to {} --data hello --count 3", stranger.at(4242), early.at(8080));
    assert!(stranger.ask::<RawReport>(&line)?.answered, "the agent answers, to refuse");
    // An address of the pod itself as the source does not come in by a wire.
    let line = format!("raw-syn --from {} --to {} --data hello --count 3", early.at(4242), early.at(8080));
    assert!(!stranger.ask::<RawReport>(&line)?.answered);
    let own = probe(&early, "127.0.0.1:8081".parse()?, "inside")?;
    assert!(echoed(&own, "inside"), "inside the pod nothing changes: {own:?}");
    Ok(())
}

#[test]
fn strict_does_not_hold_for_udp() -> Result<()> {
    // What SECURITY.md says that the mesh does not do; the day it does, that text has to change with this test.
    let world = World::with("strict-udp", |agent| agent.strict())?;
    let stranger = world.stranger()?;
    let mut server = world.far.peer(&format!("udp-echo --listen {}", world.far.at(9000)))?.start()?;
    server.wait_line(Duration::from_secs(5), |line| line.contains("listening"))?;
    let report: PingReport = stranger.ask(&format!("udp-ping --to {} --count 3", world.far.at(9000)))?;
    assert_eq!(report, PingReport { sent: 3, answered: 3 });
    Ok(())
}
