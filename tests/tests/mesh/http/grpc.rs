//! gRPC through two nodes, by tonic: each kind of method, status, deadlines, one connection for many calls.

use std::time::Duration;

use anyhow::{Context, Result};
use heddle_tests::bed::{Process, Service};
use heddle_tests::peer::grpc::{GrpcCall, GrpcReport};
use serde_json::Value;

use super::tools::{document, in_force, listening};
use crate::world::World;

struct Calls {
    world: World,
    service: Service,
    server: Process,
}

impl Calls {
    fn new(name: &str) -> Result<Self> {
        Self::within(World::new(name)?)
    }

    fn within(world: World) -> Result<Self> {
        let server = listening(&world.far, "grpc-serve --listen 9000 --name far")?;
        let service = world.bed.service("calls", &[(80, 9000)])?;
        service.backends(&[&world.far])?;
        world.settle()?;
        Ok(Self { world, service, server })
    }

    fn ask(&self, line: &str) -> Result<Vec<GrpcCall>> {
        let report: GrpcReport = self.world.client.ask(&format!("grpc --to {} {line}", self.service.at(80)))?;
        Ok(report.calls)
    }
}

#[test]
fn calls_of_each_kind_pass_and_messages_are_not_held_back() -> Result<()> {
    let calls = Calls::new("grpc-kinds")?;
    for (method, replies) in [
        ("unary", &["hello"][..]),
        ("server", &["hello 0", "hello 1", "hello 2"]),
        ("client", &["hello0,hello1,hello2"]),
        // Each message is sent after the answer to the one before.
        ("bidi", &["hello0", "hello1", "hello2"]),
    ] {
        for call in calls.ask(&format!("--method {method} --times 20"))? {
            assert_eq!((call.code.as_str(), call.server.as_str()), ("OK", "far"), "{method}: {call:?}");
            assert_eq!(call.replies, replies, "{method}");
        }
    }
    let long = calls.ask("--method bidi --count 500")?.remove(0);
    assert_eq!((long.code.as_str(), long.replies.len()), ("OK", 500), "{long:?}");
    Ok(())
}

#[test]
fn statuses_of_the_server_arrive_as_they_are() -> Result<()> {
    let calls = Calls::new("grpc-status")?;
    for (code, name) in [
        (3, "INVALID_ARGUMENT"),
        (5, "NOT_FOUND"),
        (8, "RESOURCE_EXHAUSTED"),
        (13, "INTERNAL"),
        (16, "UNAUTHENTICATED"),
    ] {
        let call = calls.ask(&format!("--code {code} --text told-to"))?.remove(0);
        assert_eq!((call.code.as_str(), call.message.as_str()), (name, "told-to"), "{call:?}");
        let call = calls.ask(&format!("--method server --code {code}"))?.remove(0);
        assert_eq!((call.code.as_str(), call.replies.len()), (name, 3), "after all messages: {call:?}");
    }
    Ok(())
}

#[test]
fn a_deadline_ends_the_call_in_time() -> Result<()> {
    let calls = Calls::new("grpc-deadline")?;
    // Of streams tonic's deadline bounds the first answer only; grpcio's client watches over them, in `python`.
    for method in ["unary", "client"] {
        let call = calls.ask(&format!("--method {method} --delay-ms 5000 --deadline-ms 300"))?.remove(0);
        assert!(
            ["DEADLINE_EXCEEDED", "CANCELLED"].contains(&call.code.as_str()) && call.ms < 3_000.0,
            "{method}: {call:?}"
        );
    }
    assert_eq!(calls.ask("--deadline-ms 5000")?[0].code, "OK");
    Ok(())
}

#[test]
fn a_server_that_is_gone_is_unavailable_and_comes_back() -> Result<()> {
    let mut calls = Calls::new("grpc-gone")?;
    assert_eq!(calls.ask("")?[0].code, "OK");
    calls.server.kill()?;
    let gone = calls.ask("")?.remove(0);
    assert_eq!(gone.code, "UNAVAILABLE", "{gone:?}");
    calls.server = listening(&calls.world.far, "grpc-serve --listen 9000 --name again")?;
    assert_eq!(calls.ask("")?[0].server, "again");
    Ok(())
}

#[test]
fn calls_of_one_connection_are_shared_among_endpoints_and_routed_by_method() -> Result<()> {
    let calls = Calls::new("grpc-routes")?;
    let world = &calls.world;
    let other = world.far.node().pod("other").start()?;
    crate::world::enrolled(&world.b, 2)?;
    let _other = listening(&other, "grpc-serve --listen 9000 --name other")?;
    calls.service.backends(&[&world.far, &other])?;
    let second = world.bed.service("second", &[(80, 9000)])?;
    second.backends(&[&other])?;
    world.settle()?;
    let evenly = "{host: calls, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}";
    in_force(world, &document("networking.istio.io/v1", "DestinationRule", "calls", evenly))?;
    let found: std::collections::BTreeSet<String> =
        calls.ask("--times 100")?.into_iter().map(|call| call.server).collect();
    assert_eq!(found.len(), 2, "a connection is not tied to an endpoint: {found:?}");
    in_force(
        world,
        &document(
            "gateway.networking.k8s.io/v1",
            "GRPCRoute",
            "calls",
            "{parentRefs: [{group: \"\", kind: Service, name: calls}], rules: [\
              {matches: [{method: {service: heddle.test.Echo, method: Server}}], backendRefs: [{name: second, port: 80}]}, \
              {matches: [{method: {service: heddle.test.Echo}}], backendRefs: [{name: calls, port: 80}]}]}",
        ),
    )?;
    assert!(calls.ask("--method server --times 20")?.iter().all(|call| call.server == "other"));
    assert!(calls.ask("--times 20")?.iter().all(|call| call.code == "OK"));
    Ok(())
}

#[test]
fn a_stream_outlives_changes_of_its_route() -> Result<()> {
    let calls = Calls::new("grpc-long")?;
    let line = format!("grpc --to {} --method bidi --count 40 --delay-ms 50", calls.service.at(80));
    let mut stream = calls.world.client.peer(&line)?.start()?;
    std::thread::sleep(Duration::from_millis(500));
    for name in ["calls", "nowhere", "calls"] {
        let spec = format!(
            "{{parentRefs: [{{group: \"\", kind: Service, name: calls}}], rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]}}"
        );
        in_force(&calls.world, &document("gateway.networking.k8s.io/v1", "GRPCRoute", "calls", &spec))?;
    }
    let finished = stream.wait(Duration::from_secs(30))?;
    let report: GrpcReport = serde_json::from_str(finished.stdout.last().context("a report")?)?;
    assert_eq!((report.calls[0].code.as_str(), report.calls[0].replies.len()), ("OK", 40), "{report:?}");
    Ok(())
}

#[test]
fn a_long_call_is_told_while_it_is_open_on_both_sides_and_short_ones_are_not() -> Result<()> {
    let mut calls = Calls::within(World::with("grpc-open", |agent| agent.set("log.longConnections", "1s"))?)?;
    // One that streams for three seconds, one of which no head has come back for so long, and short ones.
    for line in
        ["--method bidi --count 60 --delay-ms 50", "--method unary --delay-ms 2500", "--method server --times 20"]
    {
        let done = calls.ask(line)?;
        assert!(done.iter().all(|call| call.code == "OK"), "{line}: {done:?}");
    }
    for log in [calls.world.log_of_a()?, calls.world.log_of_b()?] {
        let lines = |method: &str| -> Vec<Value> {
            let path = format!("/heddle.test.Echo/{method}");
            log.iter().filter(|line| line["path"] == *path).cloned().collect()
        };
        for (method, status) in [("Bidi", Value::from(200)), ("Unary", Value::Null)] {
            let of = lines(method);
            let (last, before) = of.split_last().context(method)?;
            assert!((1..4).contains(&before.len()), "{method}: {of:?}");
            for line in before {
                assert_eq!(
                    (&line["event"], &line["status"], &line["grpc_status"]),
                    (&"open".into(), &status, &Value::Null)
                );
                assert_eq!((&line["start"], &line["protocol"]), (&last["start"], &"grpc".into()), "{line}");
            }
            assert_eq!(
                (&last["event"], &last["status"], &last["grpc_status"]),
                (&"end".into(), &200.into(), &0.into())
            );
            let sent = |line: &Value| line["sent_bytes"].as_u64().unwrap_or_default();
            assert!(of.is_sorted_by_key(sent) && sent(&of[0]) > 0, "bytes so far: {of:?}");
            // Of what is open or slow it is known how the packets travel, at both ends of each agent.
            for (line, end) in of.iter().flat_map(|line| ["client", "server"].map(|end| (line, end))) {
                let rtt = line[format!("{end}_rtt_us")].as_u64();
                assert!(rtt.is_some_and(|rtt| rtt > 0 && rtt < 1_000_000), "{end} of {line}");
            }
        }
        let short = lines("Server");
        assert!(short.len() == 20 && short.iter().all(|line| line["event"] == "end"), "{short:?}");
        assert!(short.iter().all(|line| line["client_rtt_us"].is_null()), "nobody asks about these: {short:?}");
    }
    Ok(())
}
