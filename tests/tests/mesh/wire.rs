//! What can be read on the wire between the nodes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Result;

use crate::world::{World, echoed, probe};

/// The agents' port for tunnels.
const HBONE: u16 = 15008;

#[test]
fn nothing_of_what_enrolled_pods_say_can_be_read_on_the_wire() -> Result<()> {
    let world = World::new("wire")?;
    let _servers =
        [&world.client, &world.far].map(|pod| pod.serve("--listen 8080 --greet needle-of-the-server").unwrap());
    let service = world.bed.service("far", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    let capture = world.bed.wire_capture()?;
    for (from, to) in [
        (&world.client, world.far.at(8080)),
        (&world.client, world.far.at6(8080)),
        (&world.client, service.at(80)),
        (&world.client, service.at6(80)),
        (&world.far, world.client.at(8080)),
        (&world.far, world.client.at6(8080)),
    ] {
        let report = probe(from, to, "needle-of-the-client")?;
        assert!(
            report.data.as_deref().is_some_and(|data| data.starts_with("needle-of-the-server\n")),
            "to {to}: {report:?}"
        );
    }
    let record = capture.stop()?;
    for needle in ["needle-of-the-client", "needle-of-the-server", "needle"] {
        assert!(!record.contains(needle.as_bytes()), "{needle} is on the wire: {:?}", record.flows());
    }
    let pods: [IpAddr; 4] =
        [world.client.v4().into(), world.client.v6().into(), world.far.v4().into(), world.far.v6().into()];
    let of_pods = |ip: IpAddr| pods.contains(&ip);
    let flows: Vec<_> =
        record.flows().into_keys().filter(|f| of_pods(f.source.ip()) || of_pods(f.destination.ip())).collect();
    let strays: Vec<_> =
        flows.iter().filter(|f| !f.tcp || (f.source.port() != HBONE && f.destination.port() != HBONE)).collect();
    assert!(strays.is_empty(), "not in a tunnel: {strays:?}");
    let dialled: BTreeSet<IpAddr> =
        flows.iter().filter(|f| f.destination.port() == HBONE).map(|f| f.destination.ip()).collect();
    assert_eq!(dialled, BTreeSet::from(pods), "tunnels go from pod to pod, in both families and directions");
    Ok(())
}

#[test]
fn a_pod_outside_the_mesh_can_be_read_on_the_wire() -> Result<()> {
    // The control: the same search finds what is not protected.
    let world = World::new("readable")?;
    let outside = world.client.node().pod("outside").outside_mesh().start()?;
    let _server = world.far.serve("--listen 8080")?;
    world.settle()?;
    let capture = world.bed.wire_capture()?;
    let report = probe(&outside, world.far.at(8080), "needle-of-the-client")?;
    assert!(echoed(&report, "needle-of-the-client"), "{report:?}");
    let record = capture.stop()?;
    assert!(record.contains(b"needle-of-the-client"));
    assert!(record.flows().keys().any(|flow| flow.destination == world.far.at(8080)));
    Ok(())
}
