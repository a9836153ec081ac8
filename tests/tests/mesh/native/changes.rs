//! What changes while native connections are there: no verdict outlives what it was decided on.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    FROM_CLIENT, OPAQUE_PORTS, counted, in_force, natively, policy, stays_refused, warm, went_natively, world,
};
use crate::world::{Hold, SOON, World, echoed, eventually, hold, lines_to, probe, refused};

/// Held connections that go natively.
fn native_hold(world: &World, count: u64) -> Result<Hold> {
    warm(world, &world.client, world.near.at(8080))?;
    let before = counted(world, "outbound_native")?;
    let held = hold(&world.client, world.near.at(8080), count)?;
    assert_eq!(counted(world, "outbound_native")?, before + count as f64);
    Ok(held)
}

fn all_ended(held: &mut Hold) -> Result<()> {
    eventually("every connection is ended", SOON, || Ok(held.report()?.healthy == 0))
}

#[test]
fn a_deny_policy_ends_open_native_connections_and_refuses_new_ones() -> Result<()> {
    let mut world = world("native-deny")?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    let mut held = native_hold(&world, 20)?;
    in_force(&world, "")?;
    held.still_exchanges()?;
    in_force(&world, &policy("DENY", FROM_CLIENT))?;
    stays_refused(&world.client, to)?;
    all_ended(&mut held)?;
    let metrics = world.a.wait_metrics("all ends are counted", SOON, |metrics| {
        metrics.sum("heddle_withdrawn_connections_total", &[("reason", "policy_denies")]) == 20.0
    })?;
    let hits = [("policy", "AuthorizationPolicy default/near"), ("effect", "withdrawn")];
    assert_eq!(metrics.sum("heddle_policy_hits_total", &hits), 20.0);
    let log = world.log_of_a()?;
    let denied = |direction: &str| {
        let lines = lines_to(&log, to, direction);
        let is_ended =
            |line: &&serde_json::Value| line["error"].as_str().is_some_and(|error| error.contains("it was open"));
        lines.iter().filter(is_ended).filter(|line| line["policy"] == "AuthorizationPolicy default/near").count()
    };
    assert_eq!((denied("outbound"), denied("inbound")), (20, 20), "{log:?}");
    in_force(&world, "")?;
    warm(&world, &world.client, to)
}

#[test]
fn an_allow_policy_for_others_or_for_requests_ends_them_too() -> Result<()> {
    let world = world("native-allow")?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    let others = "[{from: [{source: {principals: [cluster.local/ns/default/sa/far]}}]}]";
    let requests = "[{to: [{operation: {methods: [GET]}}]}]";
    for rules in [others, requests] {
        let mut held = native_hold(&world, 3)?;
        in_force(&world, &policy("ALLOW", rules))?;
        assert!(refused(&probe(&world.client, to, "word")?), "{rules}");
        all_ended(&mut held)?;
        in_force(&world, "")?;
    }
    in_force(&world, &policy("ALLOW", FROM_CLIENT))?;
    warm(&world, &world.client, to)
}

#[test]
fn strict_is_met_by_what_the_kernel_proves_and_a_stranger_is_refused() -> Result<()> {
    let world = world("native-strict")?;
    let stranger = world.stranger()?;
    let _server = world.near.serve("--listen 8080")?;
    let strict = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: all, namespace: default}\n\
                  spec: {mtls: {mode: STRICT}}\n";
    let mut held = native_hold(&world, 3)?;
    in_force(&world, strict)?;
    held.still_exchanges()?;
    warm(&world, &world.client, world.near.at(8080))?;
    assert!(refused(&probe(&stranger, world.near.at(8080), "word")?));
    Ok(())
}

#[test]
fn a_port_that_may_carry_requests_goes_back_to_the_agent() -> Result<()> {
    let world = world("native-requests")?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    warm(&world, &world.client, to)?;
    world.near.annotate(OPAQUE_PORTS, None)?;
    world.settle()?;
    for _ in 0..3 {
        assert!(!went_natively(&world, &world.client, to)?);
    }
    Ok(())
}

#[test]
fn a_pod_that_joins_the_mesh_is_not_reached_past_its_agent() -> Result<()> {
    let world = world("native-joins")?;
    let joining = world.client.node().pod("joining").outside_mesh().annotation(OPAQUE_PORTS, "8080").start()?;
    let _server = joining.serve("--listen 8080")?;
    let to = joining.at(8080);
    world.settle()?;
    warm(&world, &world.client, to)?;
    in_force(&world, &policy("DENY", FROM_CLIENT).replace("app: near", "app: joining"))?;
    assert!(echoed(&probe(&world.client, to, "word")?, "word"), "no policy protects what is not in the mesh");
    joining.set_mesh(Some(true))?;
    crate::world::enrolled(&world.a, 3)?;
    stays_refused(&world.client, to)
}

#[test]
fn an_address_that_another_pod_has_by_now_is_decided_anew() -> Result<()> {
    let world = world("native-reuse")?;
    let old = world.client.node().pod("old").annotation(OPAQUE_PORTS, "8080").start()?;
    crate::world::enrolled(&world.a, 3)?;
    let _server = old.serve("--listen 8080")?;
    let to = old.at(8080);
    warm(&world, &world.client, to)?;
    in_force(&world, &policy("DENY", FROM_CLIENT).replace("app: near", "app: new"))?;
    warm(&world, &world.client, to)?;
    // The same namespace and address, as another pod: what a runtime does that has only one address left.
    old.unpublish()?;
    crate::world::enrolled(&world.a, 2)?;
    world.bed.objects().put(&serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "new", "namespace": "default", "uid": "another", "labels": {"app": "new"},
            "annotations": {"heddle.io/netns": old.netns().path().display().to_string(), OPAQUE_PORTS: "8080"},
        },
        "spec": {"nodeName": old.node().name(), "serviceAccountName": "new", "containers": [{"name": "app", "image": "x"}]},
        "status": {"phase": "Running", "podIP": old.v4(), "podIPs": [{"ip": old.v4()}, {"ip": old.v6()}]},
    }))?;
    crate::world::enrolled(&world.a, 3)?;
    stays_refused(&world.client, to)
}

#[test]
fn a_change_in_the_middle_of_connect_is_decided_over_before_the_connection_is_open() -> Result<()> {
    let world = world("native-middle")?;
    let _server = world.near.serve("--listen 8080")?;
    let to = world.near.at(8080);
    let begin = |forbidden: bool| -> Result<heddle_tests::peer::report::ProbeReport> {
        in_force(&world, "")?;
        warm(&world, &world.client, to)?;
        world.near.plug(false)?;
        let launch = world.client.peer(&format!("probe --to {to} --send word --watch-ms 2000 --timeout 20"))?;
        let (before, mut probe) = (counted(&world, "outbound_native")?, launch.start()?);
        eventually("connect() has gone natively", SOON, || Ok(counted(&world, "outbound_native")? > before))?;
        let documents = if forbidden { policy("DENY", FROM_CLIENT) } else { String::new() };
        in_force(&world, &documents)?;
        world.near.plug(true)?;
        let finished = probe.wait(SOON * 3)?;
        Ok(serde_json::from_str(finished.stdout.last().map_or("", String::as_str))?)
    };
    let began = Instant::now();
    let report = begin(false)?;
    assert!(echoed(&report, "word"), "what is decided alike goes on: {report:?}");
    assert!(counted(&world, "native_stale")? >= 1.0, "it was held up");
    assert!(began.elapsed() < Duration::from_secs(30));
    let report = begin(true)?;
    assert!(report.data.is_none() && report.connect != "connected" && report.connect != "timeout", "{report:?}");
    Ok(())
}

#[test]
fn no_connection_fails_while_generations_pass() -> Result<()> {
    let world = world("native-load")?;
    let _server = world.near.serve("--listen 8080 --ident")?;
    let to = world.near.at(8080);
    warm_ident(&world)?;
    let load = crate::load::Load::start(&world.client, &to.to_string())?;
    for _ in 0..20 {
        world.settle()?;
    }
    assert!(counted(&world, "outbound_native")? > 50.0);
    load.end_without_failure(&[&world.a])
}

fn warm_ident(world: &World) -> Result<()> {
    let line = format!("--to {} --ident", world.near.at(8080));
    eventually("a connection goes natively", SOON, || {
        natively(world, || {
            assert!(crate::world::connect(&world.client, &line)?.all_good(1));
            Ok(())
        })
    })
}
