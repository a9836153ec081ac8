//! What the kernel programs tell about connections: to whom, when, and that it is right.

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::{Agent, Node, Process};
use heddle_tests::peer::report::ProbeReport;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{SOON, World, connect, echoed, enrolled, eventually, probe, refused};

const OUTBOUND_PORTS: &str = "heddle.io/exclude-outbound-ports";
const INBOUND_PORTS: &str = "heddle.io/exclude-inbound-ports";
const ON: &str = "heddle_connection_events_on";
const LISTENERS: &str = "heddle_connection_event_listeners";
const LOST: &str = "heddle_connection_events_lost_total";

/// `heddle events` on a node, once the agent knows of it.
struct Watching {
    process: Process,
}

impl Watching {
    fn start(agent: &Agent, node: &Node) -> Result<Self> {
        let process = events(node, "--output json")?;
        listeners(agent, 1)?;
        Ok(Self { process })
    }

    /// Waits for an event with these values.
    fn wait(&mut self, wanted: &Value) -> Result<Value> {
        let has = |line: &str| serde_json::from_str(line).is_ok_and(|event: Value| matches(&event, wanted));
        let line = self.process.wait_line(SOON, has).with_context(|| format!("no event like {wanted}"))?;
        Ok(serde_json::from_str(&line)?)
    }

    fn all(&self) -> Vec<Value> {
        self.process.stdout().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn like(&self, wanted: &Value) -> Vec<Value> {
        self.all().into_iter().filter(|event| matches(event, wanted)).collect()
    }
}

fn matches(event: &Value, wanted: &Value) -> bool {
    wanted.as_object().unwrap().iter().all(|(key, value)| event[key] == *value)
}

fn events(node: &Node, options: &str) -> Result<Process> {
    let heddle = heddle_tests::bed::binary("heddle")?;
    let socket = node.directory().join("admin.sock");
    let command = node.command(heddle.to_str().context("a path that is text")?)?;
    command.words(&format!("events --socket {} {options}", socket.display())).start()
}

/// Waits until so many listen, and the kernel programs tell events to one who does.
fn listeners(agent: &Agent, count: u32) -> Result<()> {
    agent.wait_metrics(&format!("{count} listen"), SOON, |metrics| {
        let is_told = count == 0 || metrics.get(ON, &[]) == Some(1.0);
        metrics.get(LISTENERS, &[]) == Some(f64::from(count)) && is_told
    })?;
    Ok(())
}

#[test]
fn a_captured_connection_is_told_from_connect_to_close_with_its_bytes() -> Result<()> {
    let world = World::new("events-captured")?;
    let _server = world.far.serve("--listen 8080 --ident")?;
    let (node, to) = (world.client.node(), world.far.at(8080));
    let mut watching = Watching::start(&world.a, node)?;
    let mut at_server = Watching::start(&world.b, world.far.node())?;
    let report = connect(&world.client, &format!("--to {to} --bytes 100000 --check-local --ident"))?;
    ensure!(report.all_good(1), "{report:?}");

    let of_client = json!({"server": to.to_string(), "socket": "application", "direction": "outbound"});
    let mut wanted = of_client.clone();
    wanted["event"] = "connect".into();
    let began = watching.wait(&wanted)?;
    wanted["event"] = "closed".into();
    let closed = watching.wait(&wanted)?;
    for event in [&began, &closed] {
        assert_eq!(event["pod"], "default/client", "{event}");
        assert!(event["client"].as_str().unwrap().starts_with(&format!("{}:", world.client.v4())), "{event}");
        assert_eq!(event["client"], began["client"], "{event}");
    }
    assert_eq!(closed["sent_bytes"], 100_000, "{closed}");
    let greeting = closed["received_bytes"].as_u64().unwrap() - 100_000;
    assert!(greeting > 0 && greeting < 1000, "the identification and the echo: {closed}");
    plausible(&closed);
    assert!(closed.get("reason").is_none(), "an orderly end: {closed}");

    // The agent's own connection to the application carries the same.
    let dialled = at_server.wait(
        &json!({"event": "closed", "socket": "agent_to_application", "server": to.to_string(), "direction": "inbound"}),
    )?;
    assert_eq!(
        (&dialled["sent_bytes"], &dialled["received_bytes"]),
        (&closed["sent_bytes"], &closed["received_bytes"])
    );
    assert_eq!(dialled["pod"], "default/far", "{dialled}");
    plausible(&dialled);
    Ok(())
}

fn plausible(closed: &Value) {
    let rtt = closed["rtt_us"].as_u64().unwrap();
    assert!(rtt > 0 && rtt < 1_000_000, "{closed}");
    assert!(closed["retransmits"].as_u64().unwrap() < 100, "{closed}");
    assert!(closed["duration_ms"].as_u64().unwrap() < 60_000, "{closed}");
}

#[test]
fn both_orders_of_closing_and_resets_are_told_with_the_right_bytes() -> Result<()> {
    let world = World::new("events-endings")?;
    let (node, far) = (world.client.node(), &world.far);
    let _servers = [far.serve("--listen 8080")?, far.serve("--listen 8081 --ident")?];
    let mut watching = Watching::start(&world.a, node)?;
    for bytes in [1, 5000] {
        let report = connect(&world.client, &format!("--to {} --bytes {bytes}", far.at(8080)))?;
        ensure!(report.all_good(1), "{report:?}");
        let server = far.at(8080).to_string();
        let closed = watching
            .wait(&json!({"event": "closed", "socket": "application", "server": server, "sent_bytes": bytes}))?;
        assert_eq!(closed["received_bytes"], bytes, "{closed}");
    }
    // close() at once, of which the client's kernel waits for no answer.
    assert!(echoed(&probe(&world.client, far.at6(8080), "close")?, "close"));
    let closed =
        watching.wait(&json!({"event": "closed", "socket": "application", "server": far.at6(8080).to_string()}))?;
    assert_eq!((&closed["sent_bytes"], &closed["received_bytes"]), (&6.into(), &6.into()), "{closed}");
    let report = connect(&world.client, &format!("--to {} --bytes 300 --ident --reset", far.at(8081)))?;
    ensure!(report.all_good(1), "{report:?}");
    let server = far.at(8081).to_string();
    let reset = watching.wait(&json!({"event": "closed", "socket": "application", "server": server}))?;
    assert_eq!((&reset["reason"], &reset["sent_bytes"]), (&"reset".into(), &300.into()), "{reset}");
    Ok(())
}

#[test]
fn what_goes_past_the_agent_is_told_with_the_reason_both_ways_and_with_its_end() -> Result<()> {
    let world = World::new("events-bypassed")?;
    let stranger = world.stranger()?;
    let _servers = [stranger.serve("--listen 80")?, world.far.serve("--listen 81")?];
    world.client.annotate(OUTBOUND_PORTS, Some("80"))?;
    world.far.annotate(INBOUND_PORTS, Some("81"))?;
    eventually("the exclusions are in force", SOON, || {
        let excluded =
            |agent: &Agent, key: &str| Ok::<_, anyhow::Error>(agent.config_json()?.to_string().contains(key));
        Ok(excluded(&world.a, r#""excludeOutboundPorts":[80]"#)?
            && excluded(&world.b, r#""excludeInboundPorts":[81]"#)?)
    })?;
    let mut of_a = Watching::start(&world.a, world.client.node())?;
    let mut of_b = Watching::start(&world.b, world.far.node())?;
    ensure!(connect(&world.client, &format!("--to {} --bytes 700", stranger.at(80)))?.all_good(1), "out");
    ensure!(connect(&stranger, &format!("--to {} --bytes 900", world.far.at6(81)))?.all_good(1), "in");
    for (watching, direction, pod, server, bytes) in [
        (&mut of_a, "outbound", "default/client", stranger.at(80), 700),
        (&mut of_b, "inbound", "default/far", world.far.at6(81), 900),
    ] {
        let about = |event: &str| json!({"event": event, "direction": direction, "server": server.to_string()});
        let bypassed = watching.wait(&about("bypassed"))?;
        assert_eq!((&bypassed["reason"], &bypassed["pod"]), (&"excluded_port".into(), &pod.into()), "{bypassed}");
        let closed = watching.wait(&about("closed"))?;
        assert_eq!(closed["client"], bypassed["client"], "the same connection");
        assert_eq!((&closed["sent_bytes"], &closed["received_bytes"]), (&bytes.into(), &bytes.into()), "{closed}");
        plausible(&closed);
    }
    Ok(())
}

#[test]
fn connections_that_do_not_come_about_are_told_with_the_reason() -> Result<()> {
    let world = World::new("events-refused")?;
    let mut of_a = Watching::start(&world.a, world.client.node())?;
    let mut of_b = Watching::start(&world.b, world.far.node())?;
    assert!(refused(&probe(&world.client, world.far.at(4444), "nobody")?), "nobody listens there");
    let server = world.far.at(4444).to_string();
    let event = of_b.wait(&json!({"event": "refused", "server": server, "socket": "agent_to_application"}))?;
    assert_eq!((&event["reason"], &event["pod"]), (&"not_established".into(), &"default/far".into()), "{event}");

    // An address of the pod that the mesh does not know.
    let unknown = "10.99.99.99";
    world.far.netns().ip(&format!("addr add {unknown}/32 dev lo\n"))?;
    world.far.node().netns().ip(&format!("route add {unknown}/32 via {}\n", world.far.v4()))?;
    let neighbour = world.far.node().pod("neighbour").unlisted().start()?;
    let report = neighbour.ask::<ProbeReport>(&format!("probe --to {unknown}:80 --send x --watch-ms 100"))?;
    assert!(report.data.is_none(), "{report:?}");
    let event = of_b.wait(&json!({"event": "refused", "reason": "unknown_address"}))?;
    assert_eq!(event["server"], format!("{unknown}:80"), "{event}");

    let _sent: Value = world.client.ask(&format!(
        "raw-syn --count 1 --data x --from {} --to {}",
        world.client.at(4242),
        world.far.at(80)
    ))?;
    let event = of_a.wait(&json!({"event": "refused", "reason": "escape"}))?;
    assert_eq!((&event["server"], &event["pod"]), (&world.far.at(80).to_string().into(), &"default/client".into()));
    Ok(())
}

#[test]
fn nothing_is_told_while_nobody_listens_and_the_last_who_leaves_turns_it_off() -> Result<()> {
    let world = World::new("events-off")?;
    let _server = world.far.serve("--listen 8080")?;
    let word = |word: &str| -> Result<()> {
        assert!(echoed(&probe(&world.client, world.far.at(8080), word)?, word));
        Ok(())
    };
    word("before")?;
    assert_eq!(switch(&world)?, Some(0.0));
    let mut watching = Watching::start(&world.a, world.client.node())?;
    eventually("it is on", SOON, || Ok(switch(&world)? == Some(1.0)))?;
    word("between")?;
    watching.wait(&json!({"event": "closed", "socket": "application"}))?;
    assert_eq!(watching.like(&json!({"event": "connect"})).len(), 1, "not of before: {:?}", watching.all());

    watching.process.signal(Signal::INT)?;
    let ended = watching.process.wait(SOON)?;
    assert!(ended.status.success(), "{}", ended.describe());
    listeners(&world.a, 0)?;
    eventually("it is off", SOON, || Ok(switch(&world)? == Some(0.0)))?;
    word("after")?;
    let mut again = Watching::start(&world.a, world.client.node())?;
    word("again")?;
    again.wait(&json!({"event": "closed", "socket": "application"}))?;
    assert_eq!(again.like(&json!({"event": "connect"})).len(), 1, "not of before: {:?}", again.all());
    Ok(())
}

#[test]
fn events_that_the_ring_has_no_room_for_are_counted_and_who_listens_is_told() -> Result<()> {
    let mut world = World::new("events-lost")?;
    let stranger = world.near.node().pod("stranger").unlisted().start()?;
    let _server = stranger.serve("--listen 80")?;
    world.client.annotate(OUTBOUND_PORTS, Some("80"))?;
    eventually("the exclusion is in force", SOON, || {
        Ok(world.a.config_json()?.to_string().contains(r#""excludeOutboundPorts":[80]"#))
    })?;
    let mut watching = Watching::start(&world.a, world.client.node())?;
    // The agent stands still, and reads nothing; what bypasses it goes on, and is told twice for each connection.
    world.a.process().signal(Signal::STOP)?;
    let flood = connect(&world.client, &format!("--to {} --count 2000 --concurrency 4", stranger.at(80)));
    world.a.process().signal(Signal::CONT)?;
    assert!(flood?.all_good(2000), "connections do not wait for those who listen");
    let metrics =
        world.a.wait_metrics("events were lost", SOON, |metrics| metrics.sum(LOST, &[("reason", "ring")]) > 0.0)?;
    let lost = metrics.sum(LOST, &[("reason", "ring")]);
    let told = watching.wait(&json!({"event": "lost", "reason": "ring"}))?;
    assert_eq!(told["count"].as_f64(), Some(lost), "{told}");
    eventually("all others arrive", SOON, || {
        let missed: u64 = watching
            .like(&json!({"event": "lost", "reason": "slow_listener"}))
            .iter()
            .map(|e| e["count"].as_u64().unwrap())
            .sum();
        let arrived =
            watching.like(&json!({"event": "bypassed"})).len() + watching.like(&json!({"event": "closed"})).len();
        Ok(arrived as f64 + missed as f64 + lost >= 4000.0)
    })?;
    Ok(())
}

#[test]
fn events_go_on_after_a_restart_and_are_logged_where_the_configuration_says_so() -> Result<()> {
    let mut world = World::with("events-restart", |agent| agent.set("log.events", true))?;
    let _server = world.far.serve("--listen 8080")?;
    for word in ["first", "second"] {
        assert!(echoed(&probe(&world.client, world.far.at(8080), word)?, word));
        world.a.process().wait_stderr(SOON, |line| {
            line.contains("heddle::events")
                && line.contains(r#"\"event\":\"closed\""#)
                && line.contains("default/client")
        })?;
        if word == "first" {
            world.a.restart()?;
            enrolled(&world.a, 2)?;
        }
    }
    let mut watching = events(world.client.node(), "")?;
    listeners(&world.a, 1)?;
    assert!(echoed(&probe(&world.client, world.far.at(8080), "third")?, "third"));
    let line = watching.wait_line(SOON, |line| line.contains(" closed "))?;
    assert!(line.contains("default/client") && line.contains("rtt_us="), "{line}");
    Ok(())
}

/// Whether the first agent's kernel programs tell events, as the kernel has it.
fn switch(world: &World) -> Result<Option<f64>> {
    Ok(world.a.metrics()?.get(ON, &[]))
}
