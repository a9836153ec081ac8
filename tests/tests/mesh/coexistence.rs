//! Beside what else a cluster does with packets: Services translated by the node (as kube-proxy does in each of its modes), ports of
//! the node, and NetworkPolicies.
//!
//! The rules are made by iptables with both of its backends: the old tables, and nf_tables, which is what kube-proxy's nftables mode and
//! `nft` program the kernel with.

use anyhow::{Context, Result};
use heddle_tests::{
    Node, Pod,
    bed::Capture,
    world::{SOON, World, echoed, eventually, lines_to, probe, refused},
};

const BACKENDS: [&str; 2] = ["iptables-legacy", "iptables-nft"];

/// The rules of one backend in a node's namespace.
struct Rules<'a> {
    node: &'a Node,
    program: &'static str,
}

impl Rules<'_> {
    fn run(&self, words: &str) -> Result<String> {
        let launch = self.node.command(self.program).context("install iptables")?;
        launch.words("--wait").words(words).output(SOON)
    }

    /// Connections to the address are turned to a pod, as for a Service with one endpoint.
    fn translate(&self, address: &str, port: u16, to: &Pod) -> Result<()> {
        let to = to.at(8080);
        self.run(&format!("-t nat -A PREROUTING -d {address} -p tcp --dport {port} -j DNAT --to-destination {to}"))
            .map(drop)
    }

    /// How many connections were.
    fn translated(&self) -> Result<u64> {
        let table = self.run("-t nat -L PREROUTING -v -n -x")?;
        let counts = table.lines().filter(|line| line.contains("DNAT")).map(|line| {
            let packets = line.split_whitespace().next().context("a line without a count")?;
            Ok(packets.parse::<u64>()?)
        });
        counts.sum()
    }
}

/// What was seen between the nodes at this port of the pod.
fn at_port(record: &Capture, pod: &Pod, port: u16) -> usize {
    record.flows().into_keys().filter(|flow| flow.destination == pod.at(port)).count()
}

#[test]
fn a_service_that_the_node_translates_too_is_resolved_by_the_agent_and_by_the_node_for_others() -> Result<()> {
    for program in BACKENDS {
        let mut world = World::new("coexist-service")?;
        let outside = world.client.node().pod("outside").outside_mesh().start()?;
        let _server = world.far.serve("--listen 8080")?;
        let service = world.bed.service("web", &[(80, 8080)])?;
        service.backends(&[&world.far])?;
        world.settle()?;
        let to = service.at(80);
        let node = world.client.node().clone();
        let rules = Rules { node: &node, program };
        rules.translate(&to.ip().to_string(), 80, &world.far)?;

        let wire = world.bed.wire_capture()?;
        assert!(echoed(&probe(&world.client, to, "meshed")?, "meshed"), "{program}");
        assert_eq!(rules.translated()?, 0, "{program}: captured before the node saw it");
        assert_eq!(at_port(&wire.stop()?, &world.far, 8080), 0, "{program}: in the clear");

        assert!(echoed(&probe(&outside, to, "plain")?, "plain"), "{program}");
        assert_eq!(rules.translated()?, 1, "{program}");
        let lines = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound");
        let plain = lines.iter().find(|line| line["source_identity"].is_null()).context("no line of the other")?;
        let source = plain["source_address"].as_str().context("no address")?;
        assert!(source.starts_with(&outside.v4().to_string()), "{program}: {plain}");
    }
    Ok(())
}

#[test]
fn a_port_of_the_node_leads_to_its_pod_in_plaintext_and_strict_refuses_it() -> Result<()> {
    for program in BACKENDS {
        let world = World::new("coexist-node-port")?;
        let _server = world.far.serve("--listen 8080")?;
        let caller = world.client.node();
        let node = world.far.node().clone();
        let address = node.wire_v4();
        let rules = Rules { node: &node, program };
        rules.translate(&address.to_string(), 30080, &world.far)?;
        // As kube-proxy does where any node may take it.
        rules.run(&format!("-t nat -A POSTROUTING -d {} -p tcp --dport 8080 -j MASQUERADE", world.far.v4()))?;
        let ask = || -> Result<heddle_tests::peer::report::ProbeReport> {
            let output =
                caller.peer(&format!("probe --to {address}:30080 --send plain --watch-ms 3000"))?.output(SOON)?;
            Ok(serde_json::from_str(&output)?)
        };
        let report = ask()?;
        assert!(echoed(&report, "plain"), "{program}: {report:?}");
        world.bed.objects().put_text(
            "strict.yaml",
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: all, namespace: default}\n\
             spec: {mtls: {mode: STRICT}}\n",
        )?;
        world.settle()?;
        let report = ask()?;
        assert!(refused(&report), "{program}: {report:?}");
        assert_eq!(rules.translated()?, 2, "{program}");
    }
    Ok(())
}

#[test]
fn a_network_policy_without_the_tunnels_port_fails_closed_and_with_it_alone_is_enough() -> Result<()> {
    let mut world = World::with("coexist-policy", |agent| agent.set("limits.connectTimeout", "1s"))?;
    let _server = world.far.serve("--listen 8080")?;
    let to = world.far.at(8080);
    let node = world.far.node().clone();
    let rules = Rules { node: &node, program: BACKENDS[1] };
    // What lets port 8080 in, and nothing else.
    rules.run("-A FORWARD -o cni0 -p tcp --dport 15008 -j DROP")?;
    let wire = world.bed.wire_capture()?;
    let report = probe(&world.client, to, "shut")?;
    assert!(report.data.is_none(), "{report:?}");
    assert_eq!(at_port(&wire.stop()?, &world.far, 8080), 0, "it did not go in the clear instead");
    let line = world.a.wait_access_log(SOON, |line| line["destination_address"] == to.to_string())?;
    assert_eq!(line["flag"], "UT", "{line}");

    // What lets nothing in but the mesh.
    rules.run("-D FORWARD -o cni0 -p tcp --dport 15008 -j DROP")?;
    rules.run("-A FORWARD -o cni0 -p tcp ! --dport 15008 -j DROP")?;
    eventually("the mesh goes on", SOON, || Ok(echoed(&probe(&world.client, to, "open")?, "open")))?;
    let stranger = world.client.node().pod("stranger").outside_mesh().start()?;
    let report = probe(&stranger, to, "plain")?;
    assert!(report.data.is_none(), "{report:?}");
    Ok(())
}
