//! ServiceEntries: what applications dial outside the cluster goes where the entry says, and has its name.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use heddle_tests::bed::{Agent, Node, Pod, Process};
use heddle_tests::peer::report::ServerEvent;
use serde_json::Value;

use crate::world::{SOON, World, connect, eventually, lines_to, probe, refused};

/// The shortest time for which an answer of a name server is kept.
const SHORTEST_LIFE: Duration = Duration::from_secs(5);

#[test]
fn a_virtual_address_leads_to_a_machine_outside_the_mesh() -> Result<()> {
    let mut world = World::new("entry-static")?;
    let stranger = world.stranger()?;
    let _server = greeter(&stranger)?;
    let spec = format!(
        "{{hosts: [db.example.com], addresses: [240.0.0.1, 'fd24::1'], resolution: STATIC, \
         ports: [{{number: 80, name: sql, targetPort: 8080}}], endpoints: [{{address: {}}}, {{address: '{}'}}]}}",
        stranger.v4(),
        stranger.v6(),
    );
    put(&world, &[("db", &spec)])?;
    let cases = [
        ("240.0.0.1:80", stranger.at(8080), world.client.at(0)),
        ("[fd24::1]:80", stranger.at6(8080), world.client.at6(0)),
    ];
    for (to, _, source) in cases {
        let line = format!("--to {to} --ident --check-peername --expect-source {}", source.ip());
        let report = connect(&world.client, &line)?;
        assert!(report.all_good(1), "{to}: {report:?}");
    }
    let log = world.log_of_a()?;
    for (to, endpoint, _) in cases {
        let line = lines_to(&log, to.parse()?, "outbound").pop().unwrap();
        assert_eq!((&line["service"], &line["endpoint"]), (&"db.example.com".into(), &endpoint.to_string().into()));
        assert!(line["tls_version"].is_null() && line["flag"] == "-", "{line}");
    }
    assert_eq!(opened(&world.a, "db.example.com")?, 2.0);
    assert_eq!(world.a.metrics()?.sum("heddle_bypassed_connections_total", &[("reason", "outside_mesh")]), 2.0);
    Ok(())
}

#[test]
fn an_endpoint_that_is_an_enrolled_pod_is_reached_in_its_tunnel() -> Result<()> {
    let mut world = World::new("entry-pod")?;
    let _server = greeter(&world.far)?;
    let spec = format!(
        "{{hosts: [db.example.com], addresses: [240.0.0.1], resolution: STATIC, \
         ports: [{{number: 80, name: sql, targetPort: 8080}}], endpoints: [{{address: {}}}]}}",
        world.far.v4()
    );
    put(&world, &[("db", &spec)])?;
    let to = "240.0.0.1:80".parse()?;
    let capture = world.bed.wire_capture()?;
    assert!(connect(&world.client, &format!("--to {to} --ident --check-peername"))?.all_good(1));
    probe(&world.client, to, "needle")?;
    assert!(!capture.stop()?.contains(b"needle"), "in the clear on the wire");
    let line = lines_to(&world.log_of_a()?, to, "outbound").pop().unwrap();
    assert_eq!(line["destination_identity"], world.far.identity(), "{line}");
    assert_eq!((&line["tls_version"], &line["service"]), (&"TLSv1.3".into(), &"db.example.com".into()), "{line}");
    let line = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound").pop().unwrap();
    assert_eq!(line["source_identity"], world.client.identity(), "{line}");
    Ok(())
}

#[test]
fn an_entry_without_resolution_names_what_passes_and_leaves_other_ports_alone() -> Result<()> {
    let mut world = World::new("entry-none")?;
    let stranger = world.stranger()?;
    let _server = greeter(&stranger)?;
    let spec = format!(
        "{{hosts: ['*.example.com'], addresses: [{}/31, '{}'], resolution: NONE, ports: [{{number: 8080, name: tls}}]}}",
        stranger.v4(),
        stranger.v6(),
    );
    put(&world, &[("all", &spec)])?;
    let named = [stranger.at(8080), stranger.at6(8080)];
    let unnamed = [stranger.at(8081), stranger.at6(8081)];
    for to in named.into_iter().chain(unnamed) {
        let source = if to.is_ipv4() { world.client.at(0) } else { world.client.at6(0) };
        let line = format!("--to {to} --ident --check-peername --expect-source {}", source.ip());
        let report = connect(&world.client, &line)?;
        assert!(report.all_good(1), "{to}: {report:?}");
    }
    let log = world.log_of_a()?;
    for (targets, service) in [(named, Value::from("*.example.com")), (unnamed, Value::Null)] {
        for to in targets {
            let line = lines_to(&log, to, "outbound").pop().unwrap();
            assert_eq!((&line["service"], &line["endpoint"]), (&service, &to.to_string().into()), "{line}");
        }
    }
    assert_eq!(opened(&world.a, "*.example.com")?, 2.0);
    Ok(())
}

#[test]
fn an_entry_follows_its_document_and_ends_with_it() -> Result<()> {
    let world = World::new("entry-live")?;
    let (stranger, other) = two_strangers(&world)?;
    let _servers = [greeter(&stranger)?, greeter(&other)?];
    for pod in [&stranger, &other] {
        let spec = format!(
            "{{hosts: [db.example.com], addresses: [240.0.0.1], resolution: STATIC, \
             ports: [{{number: 8080, name: sql}}], endpoints: [{{address: {}}}]}}",
            pod.v4()
        );
        put(&world, &[("db", &spec)])?;
        assert_eq!(server(&world.client, "240.0.0.1:8080")?.as_deref(), Some(pod.name()));
    }
    world.bed.objects().remove("entries", "", "")?;
    world.settle()?;
    assert!(refused(&world.client.ask("probe --to 240.0.0.1:8080 --send hello --watch-ms 3000")?));
    // The machine itself was never the entry's, and is there as before.
    assert_eq!(server(&world.client, &other.at(8080).to_string())?.as_deref(), Some("other"));
    Ok(())
}

#[test]
fn names_lead_to_what_they_resolve_to_and_follow_it() -> Result<()> {
    let mut world = World::new("entry-dns")?;
    let (stranger, other) = two_strangers(&world)?;
    let _servers = [greeter(&stranger)?, greeter(&other)?];
    let mut names = NameServer::start(world.client.node())?;
    names.zone(&[records("api.example.com", &stranger)])?;
    let by_name = "{hosts: [api.example.com], resolution: DNS, ports: [{number: 8080, name: tls}]}";
    let by_endpoint = "{hosts: [db.example.com], addresses: [240.0.0.1], resolution: DNS, \
                       ports: [{number: 80, name: sql, targetPort: 8080}], endpoints: [{address: api.example.com}]}";
    put(&world, &[("api", by_name), ("db", by_endpoint)])?;
    eventually("the virtual address leads to what the name resolves to", SOON, || {
        Ok(server(&world.client, "240.0.0.1:80")?.as_deref() == Some("stranger"))
    })?;
    for to in [stranger.at(8080), stranger.at6(8080)] {
        assert_eq!(server(&world.client, &to.to_string())?.as_deref(), Some("stranger"));
        let line = lines_to(&world.log_of_a()?, to, "outbound").pop().unwrap();
        assert_eq!(line["service"], "api.example.com", "{line}");
    }
    assert_eq!(world.a.metrics()?.get("heddle_dns_names", &[]), Some(1.0), "one name, wanted twice");

    names.zone(&[records("api.example.com", &other)])?;
    eventually("the name moves when its time is over", SHORTEST_LIFE + SOON, || {
        Ok(server(&world.client, "240.0.0.1:80")?.as_deref() == Some("other"))
    })?;

    names.zone(&["api.example.com FAILS\n".to_owned()])?;
    world.a.wait_metrics("both questions failed", SHORTEST_LIFE + SOON, |metrics| {
        metrics.sum("heddle_dns_lookups_total", &[("result", "failed")]) >= 2.0
    })?;
    assert_eq!(server(&world.client, "240.0.0.1:80")?.as_deref(), Some("other"), "the last answer stays in force");

    world.bed.objects().remove("entries", "", "")?;
    world.a.wait_metrics("nobody wants the name", SOON, |metrics| metrics.get("heddle_dns_names", &[]) == Some(0.0))?;
    // What is in flight ends within the second that the resolver's configuration gives it.
    std::thread::sleep(Duration::from_secs(3));
    let asked = names.asked().len();
    std::thread::sleep(SHORTEST_LIFE);
    assert_eq!(names.asked().len(), asked, "asked for a name that nobody wants");
    Ok(())
}

#[test]
fn an_answer_too_long_for_a_datagram_comes_over_tcp() -> Result<()> {
    let mut world = World::new("entry-long")?;
    let stranger = world.stranger()?;
    let _server = greeter(&stranger)?;
    let mut names = NameServer::start(world.client.node())?;
    // Always the same record: addresses where nobody is would take their turn, and their time.
    names.zone(&[records("many.example.com", &stranger).repeat(60)])?;
    put(&world, &[("many", "{hosts: [many.example.com], resolution: DNS, ports: [{number: 8080, name: tls}]}")])?;
    world.a.wait_metrics("both questions are answered", SOON, |metrics| {
        metrics.sum("heddle_dns_lookups_total", &[("result", "ok")]) >= 2.0
    })?;
    let by_tcp = |event: &ServerEvent| matches!(event, ServerEvent::Asked { record, tcp: true, .. } if record == "A");
    assert!(names.asked().iter().any(by_tcp), "{:?}", names.asked());
    assert_eq!(server(&world.client, &stranger.at(8080).to_string())?.as_deref(), Some("stranger"));
    let line = lines_to(&world.log_of_a()?, stranger.at(8080), "outbound").pop().unwrap();
    assert_eq!(line["service"], "many.example.com", "{line}");
    Ok(())
}

/// `heddle-peer dns` on a node.
struct NameServer {
    zone: std::path::PathBuf,
    process: Process,
}

impl NameServer {
    fn start(node: &Node) -> Result<Self> {
        let zone = node.directory().join("zone");
        fs::write(&zone, "")?;
        let mut process = node.peer("dns --zone")?.arg(&zone).start()?;
        process.wait_line(SOON, |line| line.contains("\"listening\""))?;
        Ok(Self { zone, process })
    }

    /// What it says from now on.
    fn zone(&mut self, texts: &[String]) -> Result<()> {
        let aside = self.zone.with_extension("new");
        fs::write(&aside, texts.concat())?;
        Ok(fs::rename(&aside, &self.zone)?)
    }

    /// Every question up to now.
    fn asked(&self) -> Vec<ServerEvent> {
        let events = self.process.stdout().into_iter().filter_map(|line| serde_json::from_str(&line).ok());
        events.filter(|event| matches!(event, ServerEvent::Asked { .. })).collect()
    }
}

/// Lines of a zone: both addresses of a pod, good for no time at all.
fn records(name: &str, pod: &Pod) -> String {
    format!("{name} 0 A {}\n{name} 0 AAAA {}\n", pod.v4(), pod.v6())
}

/// Replaces all entries, and waits until they are in force.
fn put(world: &World, entries: &[(&str, &str)]) -> Result<()> {
    let document = |(name, spec): &(&str, &str)| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: {name}, namespace: default}}\nspec: {spec}\n"
        )
    };
    world.bed.objects().put_text("entries.yaml", &entries.iter().map(document).collect::<String>())?;
    world.settle()?;
    let metrics = world.a.metrics()?;
    let accepted = metrics.get("heddle_documents", &[("state", "accepted")]);
    anyhow::ensure!(accepted == Some(entries.len() as f64), "not all entries are accepted:\n{}", metrics.heddle());
    Ok(())
}

/// A server that says its pod's name, on ports 8080 and 8081.
fn greeter(pod: &Pod) -> Result<Process> {
    pod.serve(&format!("--listen 8080,8081 --ident --greet {}", pod.name()))
}

/// Who answers at an address, if anyone does.
fn server(client: &Pod, to: &str) -> Result<Option<String>> {
    Ok(connect(client, &format!("--to {to} --ident --check-peername"))?.servers.into_keys().next())
}

/// Machines that the mesh does not know, one on each node.
fn two_strangers(world: &World) -> Result<(Pod, Pod)> {
    Ok((world.stranger()?, world.near.node().pod("other").unlisted().start()?))
}

/// Connections to a service that were joined, as the client's side counts them.
fn opened(agent: &Agent, service: &str) -> Result<f64> {
    let labels = [("reporter", "source"), ("destination_service", service)];
    Ok(agent.metrics()?.sum("istio_tcp_connections_opened_total", &labels))
}
