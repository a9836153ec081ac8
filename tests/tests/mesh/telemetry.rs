//! Telemetry documents decide over log lines and spans of their workloads, live.

use anyhow::Result;
use heddle_tests::bed::Agent;
use heddle_tests::peer::http::report::Ask;

use crate::http::tools::{Web, document};
use crate::traces::Traced;
use crate::world::{SOON, eventually, probe};

fn telemetry(name: &str, spec: &str) -> String {
    document("heddle.io/v1alpha1", "Telemetry", name, spec)
}

/// For the whole mesh.
fn of_the_mesh(spec: &str) -> String {
    telemetry("mesh", spec).replace("namespace: default", "namespace: heddle-system")
}

#[test]
fn the_most_specific_document_decides_over_spans_of_the_pod_of_each_node() -> Result<()> {
    let mut traced = Traced::new("telemetry-spans", "grpc", 0.0)?;
    let mut kinds = |documents: &str, expected: &[&str]| -> Result<()> {
        traced.web.in_force(documents)?;
        traced.collector.forget();
        traced.web.seen(traced.web.get("/"))?;
        // What is recorded in any case comes after it.
        let marker = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        traced.web.seen(traced.web.get("/").header("traceparent", marker))?;
        let of_marker =
            |spans: &[heddle_tests::collector::Seen]| spans.iter().filter(|span| marker.contains(&span.trace)).count();
        let spans = traced.collector.wait("the marker's spans", SOON, |spans| of_marker(spans) == 2)?;
        let mut found: Vec<_> =
            spans.iter().filter(|span| !marker.contains(&span.trace)).map(|span| span.kind.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{documents}");
        Ok(())
    };
    let all = "{tracing: {samplingPercentage: 100}}";
    kinds("", &[])?;
    kinds(&of_the_mesh(all), &["Client", "Server"])?;
    // The namespace's counts before the mesh's, the workload's before both. A recorded parent is followed whatever they say.
    kinds(&(of_the_mesh(all) + &telemetry("all", "{tracing: {samplingPercentage: 0}}")), &[])?;
    let of = |app: &str| {
        telemetry(app, &format!("{{selector: {{matchLabels: {{app: {app}}}}}, tracing: {{samplingPercentage: 100}}}}"))
    };
    kinds(&of("far"), &["Server"])?;
    kinds(&of("client"), &["Client", "Server"])?;
    kinds("", &[])
}

fn left_out(agent: &Agent, reason: &str) -> Result<f64> {
    Ok(agent.metrics()?.sum("heddle_access_log_left_out_total", &[("reason", reason)]))
}

/// What both agents log of a request that is known by its path.
fn lines(web: &mut Web, path: &str, behave: &str) -> Result<[bool; 2]> {
    let counted = |web: &Web| -> Result<f64> {
        let of = |agent: &Agent| Ok::<_, anyhow::Error>(agent.metrics()?.sum("istio_requests_total", &[]));
        Ok(of(&web.world.a)? + of(&web.world.b)?)
    };
    let before = counted(web)?;
    web.client.ask(web.get(path).behave(behave))?;
    eventually("both agents have counted the request", SOON, || Ok(counted(web)? == before + 2.0))?;
    // A connection's line comes after it, through the same writer.
    let of_node_a = web.world.log_of_a()?;
    let of_node_b = web.world.log_of_b()?;
    Ok([of_node_a, of_node_b].map(|log| log.iter().any(|line| line["path"] == path)))
}

#[test]
fn lines_of_requests_are_sampled_turned_off_and_on_again() -> Result<()> {
    let mut web = Web::new("telemetry-log")?;
    assert_eq!(lines(&mut web, "/before", "")?, [true, true]);
    // The markers of these tests are connections that fail, which are logged unless lines are turned off.
    let of = |app: &str, spec: &str| {
        telemetry(app, &format!("{{selector: {{matchLabels: {{app: {app}}}}}, accessLog: {spec}}}"))
    };
    web.in_force(&of("far", "{samplingPercentage: 0}"))?;
    assert_eq!(lines(&mut web, "/sampled", "")?, [true, false], "the server's pod is meant");
    assert_eq!(left_out(&web.world.b, "sampled")?, 1.0);
    assert_eq!(lines(&mut web, "/not-found", "status=404")?, [true, false]);
    assert_eq!(lines(&mut web, "/failed", "status=503")?, [true, true], "failures are always logged");

    web.in_force(&of_the_mesh("{accessLog: {samplingPercentage: 0}}"))?;
    assert_eq!(lines(&mut web, "/none", "")?, [false, false]);
    assert!(left_out(&web.world.a, "sampled")? >= 1.0);

    web.in_force("")?;
    assert_eq!(lines(&mut web, "/after", "")?, [true, true], "at once");

    // Off is off, for failures too; by the other agent's lines it is known when to look.
    web.in_force(&of("client", "{enabled: false}"))?;
    web.client.ask(web.get("/off").behave("status=503"))?;
    web.world.b.wait_access_log(SOON, |line| line["path"] == "/off")?;
    eventually("the client's line is left out", SOON, || Ok(left_out(&web.world.a, "disabled")? == 1.0))?;
    let unknown = Ask::to(web.world.far.at(1)).host("far");
    let _ = web.client.ask(unknown)?;
    eventually("so is one of a failure", SOON, || Ok(left_out(&web.world.a, "disabled")? == 2.0))?;
    web.in_force("")?;
    let log = web.world.log_of_a()?;
    assert!(log.iter().all(|line| line["path"] != "/off"), "{log:#?}");
    Ok(())
}

#[test]
fn lines_of_connections_are_sampled_too() -> Result<()> {
    let mut web = Web::new("telemetry-tcp")?;
    let echo = web.world.far.serve("--listen 7000")?;
    let to = web.world.far.at(7000);
    web.in_force(&of_the_mesh("{accessLog: {samplingPercentage: 0}}"))?;
    let before = left_out(&web.world.a, "sampled")?;
    assert!(probe(&web.world.client, to, "word")?.data.is_some());
    eventually("its line is left out", SOON, || Ok(left_out(&web.world.a, "sampled")? > before))?;
    drop(echo);
    // The marker is one that fails, and is logged.
    let log = web.world.log_of_a()?;
    assert!(log.iter().any(|line| line["flag"] != "-"), "{log:#?}");
    Ok(())
}
