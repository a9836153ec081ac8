//! `heddle record` and `heddle simulate` over real agents: what is recorded, and that what is foretold is what happens.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::{Node, Process, binary};
use rustix::process::Signal;
use serde_json::Value;

use crate::http::tools::{Web, document, listening};
use crate::world::{SOON, World, hold};

fn policy(name: &str, action: &str, rules: &str) -> String {
    let spec = format!("{{selector: {{matchLabels: {{app: far}}}}, action: {action}, rules: {rules}}}");
    document("security.istio.io/v1", "AuthorizationPolicy", name, &spec)
}

/// The node of the server, where its agent is asked.
struct Operator {
    node: Node,
    heddle: String,
}

/// By what a simulation goes.
#[derive(Clone, Copy)]
enum Mesh {
    Agents,
    Objects,
}

impl Operator {
    fn of(world: &World) -> Result<Self> {
        Ok(Self { node: world.far.node().clone(), heddle: binary("heddle")?.to_string_lossy().into_owned() })
    }

    fn flows(&self) -> PathBuf {
        self.node.directory().join("flows.jsonl")
    }

    fn socket(&self) -> PathBuf {
        self.node.directory().join("admin.sock")
    }

    fn record(&self, time: &str) -> Result<Process> {
        let record =
            self.node.command(&self.heddle)?.words(&format!("record --for {time} --socket")).arg(self.socket());
        record.arg("--to").arg(self.flows()).start()
    }

    /// What `heddle simulate` says of a file of policies, and its exit code.
    fn simulate(&self, world: &World, mesh: Mesh, policies: &str) -> Result<(Value, Option<i32>)> {
        let new = self.node.directory().join("new-policy.yaml");
        std::fs::write(&new, policies)?;
        let simulate = self.node.command(&self.heddle)?.words("simulate -o json --policy").arg(&new);
        let simulate = simulate.arg("--flows").arg(self.flows());
        let simulate = match mesh {
            Mesh::Agents => simulate.arg("--socket").arg(self.socket()),
            Mesh::Objects => simulate.arg("--objects").arg(world.bed.objects().directory().to_owned()),
        };
        let finished = simulate.finish(SOON)?;
        let said = finished.stdout.join("\n");
        Ok((serde_json::from_str(&said).with_context(|| finished.describe())?, finished.status.code()))
    }

    /// The same of both meshes, which must be alike.
    fn foretold(&self, world: &World, policies: &str) -> Result<(Value, Option<i32>)> {
        let of_agent = self.simulate(world, Mesh::Agents, policies)?;
        assert_eq!(of_agent, self.simulate(world, Mesh::Objects, policies)?, "by the agent, and by the objects");
        Ok(of_agent)
    }

    fn recorded(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.flows())?;
        text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

#[test]
fn recorded_traffic_tells_whom_a_new_policy_would_refuse() -> Result<()> {
    // A client that a busy machine holds up is no silent one, whose connection would count beside its requests.
    let world = World::with("simulate", |agent| agent.set("http.detectionTimeout", "3s"))?;
    let mut web = Web::within(world)?;
    let operator = Operator::of(&web.world)?;
    let mut recording = operator.record("4s")?;
    std::thread::sleep(Duration::from_secs(1));
    for target in ["/open?secret=1", "/open", "/admin"] {
        assert_eq!(web.client.ask(web.get(target))?.status, 200);
    }
    let finished = recording.wait(SOON)?;
    assert!(finished.status.success(), "{}", finished.describe());
    let recorded = std::fs::read_to_string(operator.flows())?;
    assert!(recorded.contains("\"path\":\"/open\"") && !recorded.contains("secret"), "{recorded}");
    assert!(recorded.contains(&format!("\"identity\":\"{}\"", web.world.client.identity())), "{recorded}");

    let deny = |rules: &str| policy("new", "DENY", rules);
    let admin = deny("[{to: [{operation: {paths: [/admin]}}]}]");
    let (forecast, code) = operator.foretold(&web.world, &admin)?;
    assert_eq!(code, Some(1), "{forecast:#}");
    let denied = forecast["newlyDenied"].as_array().context("no list")?;
    assert_eq!(
        (denied.len(), &denied[0]["path"], &denied[0]["count"]),
        (1, &"/admin".into(), &1.into()),
        "{forecast:#}"
    );
    assert_eq!(denied[0]["why"], "AuthorizationPolicy default/new");
    assert_eq!(forecast["unchanged"], 2, "{forecast:#}");
    let by_header = deny("[{when: [{key: \"request.headers[x-user]\", values: [eve]}]}]");
    let (forecast, code) = operator.foretold(&web.world, &by_header)?;
    assert_eq!((code, forecast["cannotBeJudged"].as_array().map(Vec::len)), (Some(0), Some(2)), "{forecast:#}");

    // What was foretold is what happens, and the agent judges by what is in force from then on.
    web.in_force(&admin)?;
    assert_eq!((web.client.ask(web.get("/admin"))?.status, web.client.ask(web.get("/open"))?.status), (403, 200));
    let (forecast, code) = operator.foretold(&web.world, &admin)?;
    assert_eq!((code, &forecast["unchanged"]), (Some(0), &3.into()), "{forecast:#}");
    let (forecast, _) = operator.foretold(&web.world, &deny("[{to: [{operation: {paths: [/other]}}]}]"))?;
    assert_eq!(forecast["newlyAllowed"][0]["path"], "/admin", "in place of the one of its name: {forecast:#}");
    Ok(())
}

#[test]
fn an_interrupted_recording_is_whole_and_tells_what_was_open() -> Result<()> {
    let world = World::new("record-open")?;
    let operator = Operator::of(&world)?;
    let _echo = world.far.serve("--listen 7000")?;
    let _calls = listening(&world.far, "grpc-serve --listen 9000 --name far")?;
    // Both were there before, and do not end while it is recorded.
    let held = hold(&world.client, world.far.at(7000), 3)?;
    let call = format!("grpc --to {} --method bidi --count 600 --delay-ms 50", world.far.at(9000));
    let _call = world.client.peer(&call)?.start()?;
    world
        .b
        .wait_metrics("the call is under way", SOON, |metrics| metrics.sum("heddle_http_requests_open", &[]) > 0.0)?;
    let mut recording = operator.record("1h")?;
    std::thread::sleep(Duration::from_millis(500));
    recording.signal(Signal::INT)?;
    let finished = recording.wait(SOON)?;
    let said = finished.stdout.join("\n");
    assert!(finished.status.success(), "{}", finished.describe());
    assert!(said.starts_with("interrupted after ") && said.contains("4 of them open still"), "{said}");

    let recorded = operator.recorded()?;
    let of = |port: u16| -> Vec<&Value> { recorded.iter().filter(|line| line["port"] == port).collect() };
    let (bytes, calls) = (of(7000), of(9000));
    ensure!(bytes.len() == 1 && calls.len() == 1, "{recorded:?}");
    assert_eq!((&bytes[0]["count"], &bytes[0]["open"], &bytes[0]["method"]), (&3.into(), &3.into(), &Value::Null));
    assert_eq!((&calls[0]["count"], &calls[0]["open"]), (&1.into(), &1.into()));
    assert_eq!(calls[0]["path"], "/heddle.test.Echo/Bidi");
    assert!(recorded.last().is_some_and(|end| end["flows"] == 2 && end["overflow"] == 0), "{recorded:?}");

    // Whom the policy cuts is told with how many of its connections are open.
    let ports = policy("new", "DENY", "[{to: [{operation: {ports: [\"7000\"]}}]}]");
    let (forecast, code) = operator.foretold(&world, &ports)?;
    assert_eq!((code, &forecast["unchanged"]), (Some(1), &1.into()), "{forecast:#}");
    assert_eq!(forecast["newlyDenied"][0]["open"], 3, "{forecast:#}");
    held.end()?;
    Ok(())
}

#[test]
fn the_agent_refuses_what_are_no_new_policies_and_says_why() -> Result<()> {
    let world = World::new("simulate-bad")?;
    let operator = Operator::of(&world)?;
    let finished = operator.record("1s")?.wait(SOON)?;
    assert!(finished.status.success(), "{}", finished.describe());
    let said = |policies: &str, socket: PathBuf| -> Result<(String, Option<i32>)> {
        let new = operator.node.directory().join("new-policy.yaml");
        std::fs::write(&new, policies)?;
        let simulate = operator.node.command(&operator.heddle)?.words("simulate --policy").arg(&new);
        let simulate = simulate.arg("--flows").arg(operator.flows()).arg("--socket").arg(socket);
        let finished = simulate.finish(SOON)?;
        Ok((finished.stderr.join("\n"), finished.status.code()))
    };
    let mode = document("security.istio.io/v1", "PeerAuthentication", "strict", "{mtls: {mode: STRICT}}");
    for (policies, why) in [
        (policy("new", "DENY", "[{to: [{operation: {prots: [\"1\"]}}]}]"), "did you mean \"ports\""),
        (policy("new", "DENY", "[{}]") + &mode, "only AuthorizationPolicies are simulated"),
        ("# nothing\n".to_owned(), "there is no AuthorizationPolicy"),
    ] {
        let (said, code) = said(&policies, operator.socket())?;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let (said, code) = said(&policy("new", "DENY", "[{}]"), operator.node.directory().join("nobody.sock"))?;
    assert!(code == Some(2) && said.contains("is it running here"), "{said}");
    Ok(())
}
