//! Agents with a remote authority: what they ask it, whom they hold identities of, and how they live without it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use heddle_tests::authority::{Authority, Fault};
use heddle_tests::bed::{Agent, AgentBuilder, Bed, Node};
use serde_json::json;

use crate::world::{SOON, World, connect, echoed, enrolled, eventually, hold, lines_to, probe, settle};

/// The files of one node's agent: a token of its own, and the authority's root.
struct Files {
    token: PathBuf,
    roots: PathBuf,
}

impl Files {
    fn write(node: &Node, authority: &Authority) -> Result<Self> {
        let files = Self { token: node.directory().join("token"), roots: node.directory().join("roots.pem") };
        let token = format!("token-of-{}", node.name());
        authority.accept_token(&token);
        fs::write(&files.token, token)?;
        fs::write(&files.roots, authority.server_root_pem())?;
        Ok(files)
    }
}

/// An agent whose certificates come from `authority`, which listens on the node's loopback.
fn agent_of(node: &Node, authority: &Authority, lifetime: &str) -> Result<AgentBuilder> {
    let files = Files::write(node, authority)?;
    let remote = json!({
        "address": format!("https://{}", authority.listen_in(node.netns())?),
        "serverName": "heddle-ca.heddle-system.svc",
        "roots": files.roots, "token": files.token, "lifetime": lifetime,
    });
    Ok(node.agent().set("ca", json!({"remote": remote})))
}

fn world(name: &str, authority: &Authority, lifetime: &str) -> Result<World> {
    let bed = Bed::new(name)?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    let (client, near, far) = (a.pod("client").start()?, a.pod("near").start()?, b.pod("far").start()?);
    let mut a = agent_of(&a, authority, lifetime)?.start_without_waiting()?;
    let mut b = agent_of(&b, authority, lifetime)?.start_without_waiting()?;
    a.wait_ready()?;
    b.wait_ready()?;
    enrolled(&a, 2)?;
    enrolled(&b, 1)?;
    Ok(World { bed, client, near, far, a, b })
}

/// The service accounts that an agent holds an identity of, by its own word.
fn held(agent: &Agent) -> Result<Vec<String>> {
    let status = agent.get_json("/status")?;
    let all = status["certificates"].as_array().cloned().unwrap_or_default();
    let account = |identity: &str| identity.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(all.iter().map(|one| account(one["identity"].as_str().unwrap_or_default())).collect())
}

/// The service accounts that the authority was asked for with the token of a node.
fn asked_by(authority: &Authority, node: &Node) -> BTreeSet<String> {
    let token = format!("token-of-{}", node.name());
    let calls = authority.calls().into_iter().filter(|call| call.token == token);
    calls.map(|call| call.impersonated.unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned()).collect()
}

fn set_of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn two_agents_of_a_remote_authority_carry_traffic() -> Result<()> {
    let authority = Authority::start()?;
    let mut world = world("remote-ca", &authority, "24h")?;
    let _server = world.far.serve("--listen 8080")?;
    assert!(connect(&world.client, &format!("--to {} --count 20", world.far.at(8080)))?.all_good(20));
    let line = lines_to(&world.log_of_a()?, world.far.at(8080), "outbound").pop().unwrap();
    assert_eq!(line["destination_identity"], world.far.identity().as_str(), "{line}");
    assert_eq!(fs::read_dir(world.bed.ca_directory())?.count(), 0, "no authority of their own");
    Ok(())
}

#[test]
fn an_agent_holds_and_asks_for_identities_of_its_own_pods_only_and_drops_one_with_its_last_pod() -> Result<()> {
    let authority = Authority::start()?;
    let world = world("remote-held", &authority, "24h")?;
    let twin = world.client.node().pod("twin").service_account("client").start()?;
    let _server = world.far.serve("--listen 8080")?;
    enrolled(&world.a, 3)?;
    assert_eq!(
        (held(&world.a)?, held(&world.b)?),
        (vec!["client".to_owned(), "near".to_owned()], vec!["far".to_owned()])
    );

    world.client.set_mesh(Some(false))?;
    enrolled(&world.a, 2)?;
    assert_eq!(held(&world.a)?, ["client", "near"], "the twin still needs it");
    let mut open = hold(&twin, world.far.at(8080), 3)?;
    twin.set_mesh(Some(false))?;
    enrolled(&world.a, 1)?;
    eventually("the identity is dropped with its last pod", SOON, || Ok(held(&world.a)? == ["near"]))?;
    open.still_exchanges()?;
    assert_eq!(open.end()?.healthy, 3, "what was open goes on to its end");

    assert_eq!(asked_by(&authority, world.client.node()), set_of(&["client", "near"]));
    assert_eq!(asked_by(&authority, world.far.node()), set_of(&["far"]));
    Ok(())
}

#[test]
fn an_agent_that_starts_again_asks_only_for_the_pods_that_are_there() -> Result<()> {
    let authority = Authority::start()?;
    let mut world = world("remote-restart", &authority, "24h")?;
    world.a.kill()?;
    world.near.set_mesh(Some(false))?;
    let before = authority.calls().len();
    world.a.restart()?;
    enrolled(&world.a, 1)?;
    assert_eq!(held(&world.a)?, ["client"]);
    let names: BTreeSet<_> = authority.calls().split_off(before).into_iter().map(|call| call.name).collect();
    assert_eq!(names, BTreeSet::from([world.client.identity()]));
    Ok(())
}

#[test]
fn a_pod_that_cannot_be_enrolled_leaves_no_identity_behind() -> Result<()> {
    let authority = Authority::start()?;
    let world = world("remote-failed", &authority, "24h")?;
    let lost = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "lost", "namespace": "default", "uid": "lost", "labels": {"heddle.io/mesh": "enabled"},
            "annotations": {"heddle.io/netns": "/run/netns/no-such-namespace"},
        },
        "spec": {"nodeName": world.client.node().name(), "serviceAccountName": "lost", "containers": []},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.244.1.200"}]},
    });
    world.bed.objects().put(&lost)?;
    eventually("it is held while it is tried", SOON, || Ok(held(&world.a)?.contains(&"lost".to_owned())))?;
    assert_eq!(world.a.ready()?.status, 503);
    let mut ended = lost;
    ended["status"]["phase"] = "Failed".into();
    world.bed.objects().put(&ended)?;
    eventually("it is dropped", SOON, || Ok(held(&world.a)? == ["client", "near"]))?;
    settle(&world.bed, &[&world.a])?;
    assert_eq!(world.a.ready()?.status, 200);
    Ok(())
}

#[test]
fn an_outage_of_the_authority_is_outlived_and_its_next_token_is_used() -> Result<()> {
    let authority = Authority::start()?;
    let world = world("remote-outage", &authority, "40s")?;
    let _server = world.far.serve("--listen 8080")?;
    authority.go_down()?;
    for agent in [&world.a, &world.b] {
        eventually("a renewal fails", Duration::from_secs(40), || {
            let status = agent.get_json("/status")?;
            Ok(status["certificates"].as_array().is_some_and(|all| all.iter().all(|c| c["state"] == "renewal_failing")))
        })?;
    }
    assert!(
        connect(&world.client, &format!("--to {} --count 5", world.far.at(8080)))?.all_good(5),
        "certificates serve"
    );
    let seen = authority.calls().len();
    for node in [world.client.node(), world.far.node()] {
        authority.revoke_token(&format!("token-of-{}", node.name()));
        authority.accept_token("the-next-token");
        fs::write(node.directory().join("token"), "the-next-token")?;
    }
    authority.come_back()?;
    for agent in [&world.a, &world.b] {
        eventually("certificates are renewed", SOON * 2, || {
            let status = agent.get_json("/status")?;
            Ok(status["certificates"].as_array().is_some_and(|all| all.iter().all(|c| c["state"] == "valid")))
        })?;
    }
    let calls = authority.calls().split_off(seen);
    assert!(calls.len() >= 3 && calls.iter().all(|call| call.token == "the-next-token"), "{calls:?}");
    assert!(connect(&world.client, &format!("--to {} --count 5", world.far.at(8080)))?.all_good(5));
    Ok(())
}

#[test]
fn many_new_pods_wait_for_a_slow_authority_side_by_side() -> Result<()> {
    let authority = Authority::start()?;
    let bed = Bed::new("remote-slow")?;
    let node = bed.node("a")?;
    let pods: Vec<_> = (0..6).map(|n| node.pod(&format!("p{n}")).start()).collect::<Result<_>>()?;
    authority.order_many(&Fault::Slow(Duration::from_secs(2)), 6);
    let started = Instant::now();
    let agent = agent_of(&node, &authority, "24h")?.ready_within(Duration::from_secs(60)).start()?;
    enrolled(&agent, 6)?;
    // One after the other they would take twelve seconds.
    assert!(started.elapsed() < Duration::from_secs(11), "{:?}", started.elapsed());
    let _server = pods[0].serve("--listen 8080")?;
    assert!(echoed(&probe(&pods[1], pods[0].at(8080), "hello")?, "hello"));
    Ok(())
}

#[test]
fn a_pod_without_a_certificate_is_captured_and_refused_until_it_comes() -> Result<()> {
    let authority = Authority::start()?;
    let world = world("remote-refused", &authority, "24h")?;
    let _server = world.far.serve("--listen 8080")?;
    authority.order_many(&Fault::Status(7, "no such pod on this node"), 1000);
    let late = world.client.node().pod("late").start()?;
    enrolled(&world.a, 3)?;
    let report = connect(&late, &format!("--to {}", world.far.at(8080)))?;
    assert!(!report.all_good(1), "{report:?}");
    let status = world.a.get_json("/status")?.to_string();
    assert!(status.contains("PermissionDenied: no such pod on this node"), "{status}");
    authority.behave();
    eventually("it is asked again, and the pod is in the mesh", SOON * 2, || {
        Ok(connect(&late, &format!("--to {}", world.far.at(8080)))?.all_good(1))
    })
}
