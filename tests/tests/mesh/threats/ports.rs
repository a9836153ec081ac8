//! A pod that has the agent's ports before the agent comes: it must not stay outside the mesh by that.

use anyhow::Result;
use heddle_tests::bed::{Bed, Pod};

use crate::world::{SOON, World, connect, echoed, enrolled, probe, refused};

/// A pod with a server on one of the agent's ports, which the mesh hears of only then.
fn with_port_taken(world: &World, listen: &str) -> Result<(Pod, heddle_tests::bed::Process)> {
    let pod = world.client.node().pod("taker").unlisted().start()?;
    let server = pod.serve(&format!("--listen {listen}"))?;
    pod.publish()?;
    let reason = format!("{listen} is taken: the pod is not ready");
    crate::world::eventually(&reason, SOON, || {
        Ok(world.a.ready()?.text().contains("until when the pod's connections are refused"))
    })?;
    Ok((pod, server))
}

#[test]
fn a_pod_that_holds_the_agents_ports_is_cut_off_and_not_set_free() -> Result<()> {
    let bed = Bed::new("ports")?;
    let world = World::on(bed, |agent| agent)?;
    let stranger = world.stranger()?;
    let _server = stranger.serve("--listen 8080 --greet the-stranger")?;
    let (pod, mut holder) = with_port_taken(&world, "127.0.0.1:15001")?;
    let _inside = pod.serve("--listen 8080")?;
    let capture = world.bed.wire_capture()?;
    for to in [stranger.at(8080), stranger.at6(8080), world.far.at(8080)] {
        let report = probe(&pod, to, "needle")?;
        // What it reaches is itself, on the port that it took, or nobody.
        assert!(!report.data.is_some_and(|data| data.contains("the-stranger")), "{to}");
    }
    assert!(!capture.stop()?.contains(b"needle"), "nothing leaves the pod");
    for to in [pod.at(8080), pod.at6(8080)] {
        let report = stranger.ask(&format!("probe --to {to} --send hello --timeout 1.5"))?;
        assert!(!echoed(&report, "hello"), "from outside to {to}: {report:?}");
    }
    let no_listener = [("event", "inbound_no_listener")];
    assert!(world.a.metrics()?.sum("heddle_kernel_events_total", &no_listener) >= 2.0, "and that is counted");
    assert_eq!(world.a.metrics()?.get("heddle_enrolled_pods", &[]), Some(2.0));

    holder.kill()?;
    enrolled(&world.a, 3)?;
    let report = connect(&pod, &format!("--to {}=the-stranger --bytes 0", stranger.at(8080)))?;
    assert!(report.all_good(1), "as soon as the port is free: {report:?}");
    Ok(())
}

#[test]
fn a_pod_that_was_refused_for_its_ports_is_free_when_it_leaves_the_mesh() -> Result<()> {
    let world = World::new("ports-leave")?;
    let stranger = world.stranger()?;
    let _server = stranger.serve("--listen 8080")?;
    let (pod, _holder) = with_port_taken(&world, "15008")?;
    assert!(refused(&probe(&pod, stranger.at(8080), "hello")?), "nobody listens on 15001");
    pod.set_mesh(Some(false))?;
    crate::world::eventually("it is free", SOON, || Ok(echoed(&probe(&pod, stranger.at(8080), "hello")?, "hello")))
}
