//! Agents under `heddle ca`, as a cluster has them: projected tokens that are bound to the agents' pods, published roots,
//! a root in a Secret.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use heddle_tests::bed::{Agent, AgentBuilder, Bed, Node, Process, binary};
use heddle_tests::kubernetes::TokenUser;
use serde_json::{Value, json};

use crate::world::{SOON, World, connect, echoed, enrolled, eventually, lines_to, probe};

const PORT: u16 = 15012;

/// `heddle ca` on a node, with `changes` to what it does by default.
fn start(node: &Node, changes: &Value) -> Result<Process> {
    let mut config = json!({
        "listen": format!("{}:{PORT}", node.wire_v4()),
        "root": {"secret": {"namespace": "heddle-system", "name": "heddle-ca"}},
        "publish": {"configMap": {"namespace": "heddle-system", "name": "heddle-roots"}},
        "kubernetes": {"kubeconfig": node.authority_kubeconfig()},
        "metrics": {"address": "127.0.0.1:0"}, "health": {"address": "127.0.0.1:0"},
        "log": {"format": "json"},
    });
    for (key, value) in changes.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let path = node.directory().join("ca.yaml");
    fs::write(&path, config.to_string())?;
    let heddle = binary("heddle")?.display().to_string();
    let mut process = node.command(&heddle)?.words("ca --config").arg(path).start()?;
    process.wait_stderr(SOON, |line| line.contains("\"message\":\"started\""))?;
    Ok(process)
}

/// Its audit lines so far.
fn audit(authority: &Process) -> Vec<Value> {
    let lines = authority.stderr();
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "heddle::audit").collect()
}

/// What the kubelet does for an agent's pod: its object, its token, and the mounted roots. The token of another node may be
/// given to it, as a thief would.
fn agent_of(bed: &Bed, node: &Node, authority: &Node, token_of: &Node) -> Result<AgentBuilder> {
    let name = format!("agent-{}", token_of.name());
    let pod = bed.api_server()?.put(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "heddle-system"},
        "spec": {
            "nodeName": token_of.name(), "serviceAccountName": "heddle-agent", "hostNetwork": true,
            "containers": [{"name": "agent", "image": "heddle"}],
        },
        "status": {"phase": "Running"},
    }))?;
    let uid = pod["metadata"]["uid"].as_str().context("a pod without a uid")?;
    let user = TokenUser::service_account("heddle-system", "heddle-agent").of_pod(&name, uid).on_node(token_of.name());
    let secret = format!("token-of-{}", token_of.name());
    bed.api_server()?.add_token(&secret, user.audience("heddle-ca"));
    let (token, roots) = (node.directory().join("token"), node.directory().join("roots.pem"));
    fs::write(&token, secret)?;
    mount_roots(bed, &[node])?;
    let remote = json!({
        "address": format!("https://{}:{PORT}", authority.wire_v4()), "serverName": "heddle-ca.heddle-system.svc",
        "roots": roots, "token": token,
    });
    Ok(node.agent().set("ca", json!({"remote": remote})))
}

/// Brings the published roots to where agents read them, as soon as there are some.
fn mount_roots(bed: &Bed, nodes: &[&Node]) -> Result<()> {
    let api = bed.api_server()?;
    let published = || Some(api.get("ConfigMap", "heddle-system", "heddle-roots")?["data"]["root-cert.pem"].clone());
    eventually("roots are published", SOON, || Ok(published().is_some_and(|roots| roots.is_string())))?;
    let roots = published().unwrap_or_default();
    for node in nodes {
        fs::write(node.directory().join("roots.pem"), roots.as_str().unwrap_or_default())?;
    }
    Ok(())
}

fn bed(name: &str) -> Result<(Bed, Node, Node)> {
    let bed = Bed::with_api_server(name)?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    Ok((bed, a, b))
}

/// Two nodes, three enrolled pods, two agents under an authority that runs on the first.
pub(crate) fn world(name: &str, changes: &Value) -> Result<(World, Process)> {
    let (bed, a, b) = bed(name)?;
    let (client, near, far) = (a.pod("client").start()?, a.pod("near").start()?, b.pod("far").start()?);
    let authority = start(&a, changes)?;
    let agents = [agent_of(&bed, &a, &a, &a)?, agent_of(&bed, &b, &a, &b)?];
    let [mut a, mut b] = agents.map(AgentBuilder::start_without_waiting);
    a.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?.wait_ready()?;
    b.as_mut().map_err(|error| anyhow::anyhow!("{error:#}"))?.wait_ready()?;
    let (a, b) = (a?, b?);
    enrolled(&a, 2)?;
    enrolled(&b, 1)?;
    Ok((World { bed, client, near, far, a, b }, authority))
}

/// The service accounts of the certificates that an agent holds and can use.
fn held(agent: &Agent) -> Result<Vec<String>> {
    let status = agent.get_json("/status")?;
    let all = status["certificates"].as_array().cloned().unwrap_or_default();
    let usable = all.iter().filter(|one| one["state"] == "valid");
    let account = |one: &Value| one["identity"].as_str().unwrap_or_default().rsplit('/').next().map(str::to_owned);
    Ok(usable.filter_map(account).collect())
}

#[test]
fn two_agents_get_certificates_for_their_own_pods_and_carry_traffic() -> Result<()> {
    let (mut world, authority) = world("heddle-ca", &json!({}))?;
    let _server = world.far.serve("--listen 8080")?;
    assert!(connect(&world.client, &format!("--to {} --count 20", world.far.at(8080)))?.all_good(20));
    let line = lines_to(&world.log_of_b()?, world.far.at(8080), "inbound").pop().unwrap();
    assert_eq!(line["source_identity"], world.client.identity().as_str(), "{line}");
    assert_eq!((held(&world.a)?, held(&world.b)?), (vec!["client".into(), "near".into()], vec!["far".into()]));

    let nodes = [&world.client, &world.far].map(|pod| pod.node().name().to_owned());
    let signed = |node: &str| {
        let lines = audit(&authority).into_iter().filter(|line| line["node"] == node);
        lines.map(|line| line["identity"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let (on_a, on_b) = (signed(&nodes[0]), signed(&nodes[1]));
    let mut wanted = [world.client.identity(), world.near.identity()].to_vec();
    wanted.sort();
    let mut on_a = on_a;
    on_a.sort();
    assert_eq!((on_a, on_b), (wanted, vec![world.far.identity()]), "{:?}", audit(&authority));

    world.far.delete()?;
    eventually("the identity goes with its last pod", SOON, || Ok(held(&world.b)?.is_empty()))
}

#[test]
fn an_agent_with_the_token_of_another_node_gets_nothing_for_its_own_pods() -> Result<()> {
    let (bed, a, b) = bed("heddle-ca-thief")?;
    let (client, far) = (a.pod("client").start()?, b.pod("far").start()?);
    let authority = start(&a, &json!({}))?;
    let honest = agent_of(&bed, &a, &a, &a)?.start()?;
    enrolled(&honest, 1)?;
    let thief = agent_of(&bed, &b, &a, &a)?.start_without_waiting()?;
    eventually("the refusal is told", SOON, || {
        let told = |line: &Value| line["identity"] == far.identity().as_str() && line["reason"] == "not_on_node";
        Ok(audit(&authority).iter().any(told))
    })?;
    assert_eq!(held(&thief)?, Vec::<String>::new());
    // Captured and refused, rather than open.
    let _server = far.serve("--listen 8080")?;
    enrolled(&thief, 1)?;
    assert!(!echoed(&probe(&client, far.at(8080), "hello")?, "hello"));
    Ok(())
}

#[test]
fn a_root_is_replaced_and_an_authority_restarted_without_a_failed_connection() -> Result<()> {
    // The next root is made after six seconds, signs after ten more, and the old one goes ten seconds later.
    let root = json!({
        "namespace": "heddle-system", "name": "heddle-ca", "lifetime": "1m", "rotateBelowPercent": 90, "overlap": "10s",
    });
    let changes = json!({"leafLifetime": "10s", "root": {"secret": root}});
    let (world, mut authority) = world("heddle-ca-rotation", &changes)?;
    let nodes = [world.client.node().clone(), world.far.node().clone()];
    let _server = world.far.serve("--listen 8080")?;
    let roots_of = |agent: &Agent| -> Result<Vec<String>> {
        let metrics = agent.metrics()?;
        let ok = [("side", "client"), ("result", "ok")];
        let roots = metrics.matching("heddle_handshakes_total", &ok).filter_map(|one| one.labels.get("root").cloned());
        Ok(roots.collect())
    };
    let (begin, mut restarted, mut count) = (Instant::now(), false, 0);
    while roots_of(&world.a)?.len() < 2 {
        assert!(begin.elapsed() < Duration::from_secs(90), "no handshake by another root: {:?}", roots_of(&world.a)?);
        mount_roots(&world.bed, &nodes.each_ref())?;
        let report = connect(&world.client, &format!("--to {} --count 20", world.far.at(8080)))?;
        assert!(report.all_good(20), "after {:?}: {report:?}", begin.elapsed());
        count += 20;
        if !restarted && begin.elapsed() > Duration::from_secs(5) {
            authority.kill()?;
            authority = start(&nodes[0], &changes)?;
            restarted = true;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(restarted && count > 100, "{count} connections");
    Ok(())
}
