//! Pods whose network namespace nobody names: it is found by their uid, and found again when it was made anew.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use heddle_tests::bed::{Pod, Process};
use serde_json::json;

use crate::world::{SOON, World, connect, enrolled, eventually, lines_to};

const NETNS: &str = "heddle.io/netns";

/// The agent looks every ten seconds.
const NOTICED_WITHIN: Duration = Duration::from_secs(25);

/// The cgroup that a kubelet would make for a container of a pod.
fn container_of(pod: &Pod) -> PathBuf {
    pod.node().cgroup().path().join(format!("kubepods/burstable/pod{}/c", pod.uid()))
}

/// A process in `inside`'s network namespace and in the cgroup that a kubelet would make for `of`.
fn sandbox(of: &Pod, inside: &Pod) -> Result<Process> {
    process_in(&container_of(of), inside)
}

/// A process in a pod's network namespace and in this cgroup.
fn process_in(cgroup: &Path, inside: &Pod) -> Result<Process> {
    let process = inside.command("sleep").arg("1000").start()?;
    // It joins cgroup and namespace before it becomes the program.
    let name = PathBuf::from(format!("/proc/{}/comm", process.pid()));
    let deadline = Instant::now() + SOON;
    while fs::read_to_string(&name)? != "sleep\n" {
        ensure!(Instant::now() < deadline, "{}", process.describe("it has not become `sleep`"));
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::create_dir_all(cgroup)?;
    fs::write(cgroup.join("cgroup.procs"), process.pid().to_string())?;
    Ok(process)
}

/// A connection of a pod, and whether the first node's agent carried it with an identity.
fn carried(world: &mut World, from: &Pod, identity: &str) -> Result<bool> {
    let far = world.far.at(8080);
    let before = lines_to(&world.log_of_a()?, far, "outbound").len();
    connect(from, &format!("--to {far}"))?;
    let lines = lines_to(&world.log_of_a()?, far, "outbound");
    Ok(lines[before..].iter().any(|line| line["source_identity"] == identity))
}

#[test]
fn a_pod_without_an_annotation_is_found_by_its_uid_as_soon_as_it_has_a_process() -> Result<()> {
    let mut world = World::new("uid")?;
    let _server = world.far.serve("--listen 8080")?;
    let late = world.client.node().pod("late").unlisted().start()?;
    late.annotate(NETNS, None)?;
    eventually("readiness names it", SOON, || {
        Ok(String::from_utf8_lossy(&world.a.ready()?.body).contains("has no process on this node yet"))
    })?;
    let failures =
        |world: &World| Ok::<_, anyhow::Error>(world.a.metrics()?.get("heddle_enrolment_failures_total", &[]));
    assert_eq!(failures(&world)?, Some(0.0), "a pod that is being started is no failure");
    let _sandbox = sandbox(&late, &late)?;
    enrolled(&world.a, 3)?;
    world.a.wait_ready()?;
    assert!(carried(&mut world, &late, &late.identity())?);
    late.unpublish()?;
    enrolled(&world.a, 2)
}

#[test]
fn a_sandbox_that_was_made_anew_is_enrolled_again() -> Result<()> {
    let mut world = World::new("anew")?;
    let _server = world.far.serve("--listen 8080")?;
    let late = world.client.node().pod("late").unlisted().start()?;
    let other = world.client.node().pod("other").unlisted().start()?;
    late.annotate(NETNS, None)?;
    let mut first = sandbox(&late, &late)?;
    enrolled(&world.a, 3)?;
    assert!(carried(&mut world, &late, &late.identity())?);
    assert!(!carried(&mut world, &other, &late.identity())?);
    first.kill()?;
    let _second = sandbox(&late, &other)?;
    world.a.process().wait_stderr(NOTICED_WITHIN, |line| line.contains("made anew"))?;
    enrolled(&world.a, 3)?;
    wait_carried(&mut world, &other, &late)?;
    assert!(!carried(&mut world, &late, &late.identity())?, "the old namespace is released");
    Ok(())
}

#[test]
fn a_path_that_leads_to_another_namespace_is_noticed() -> Result<()> {
    let mut world = World::new("path")?;
    let _server = world.far.serve("--listen 8080")?;
    let late = world.client.node().pod("late").unlisted().start()?;
    let other = world.client.node().pod("other").unlisted().start()?;
    let link = world.client.node().directory().join("netns");
    symlink(late.netns().path(), &link)?;
    late.annotate(NETNS, Some(&link.display().to_string()))?;
    enrolled(&world.a, 3)?;
    assert!(!carried(&mut world, &other, &late.identity())?);
    fs::remove_file(&link)?;
    symlink(other.netns().path(), &link)?;
    world.a.process().wait_stderr(NOTICED_WITHIN, |line| line.contains("made anew"))?;
    wait_carried(&mut world, &other, &late)
}

#[test]
fn every_layout_of_kubelets_and_runtimes_is_found() -> Result<()> {
    let mut world = World::new("layouts")?;
    let _server = world.far.serve("--listen 8080")?;
    let node = world.client.node().clone();
    let mut processes = Vec::new();
    for (count, (runtime, driver)) in
        (3..).zip([("containerd", "cgroupfs"), ("containerd", "systemd"), ("crio", "cgroupfs"), ("crio", "systemd")])
    {
        let pod = node.pod(&format!("{runtime}-{driver}")).unlisted().start()?;
        let of_pod = match driver {
            "cgroupfs" => format!("kubepods/burstable/pod{}", pod.uid()),
            _ => format!(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
                pod.uid().replace('-', "_")
            ),
        };
        let container = match (runtime, driver) {
            ("containerd", "cgroupfs") => "c0ffee",
            ("containerd", _) => "cri-containerd-c0ffee.scope",
            (_, "cgroupfs") => "crio-c0ffee",
            _ => "crio-c0ffee.scope",
        };
        if runtime == "crio" {
            // It watches over the container from the node's own namespace, and is there before it.
            let monitor = format!("{of_pod}/crio-conmon-c0ffee{}", container.trim_start_matches("crio-c0ffee"));
            processes.push(node.command_apart(&monitor, "sleep")?.0.arg("1000").start()?);
        }
        pod.annotate(NETNS, None)?;
        eventually("readiness names it", SOON, || {
            Ok(String::from_utf8_lossy(&world.a.ready()?.body).contains("has no process on this node yet"))
        })?;
        processes.push(process_in(&node.cgroup().path().join(of_pod).join(container), &pod)?);
        enrolled(&world.a, count)?;
        assert!(carried(&mut world, &pod, &pod.identity())?, "{runtime}, {driver}");
    }
    assert_eq!(world.a.metrics()?.get("heddle_enrolment_failures_total", &[]), Some(0.0));
    Ok(())
}

#[test]
fn a_pod_is_enrolled_while_only_its_init_containers_run_and_stays_so() -> Result<()> {
    let mut world = World::new("init")?;
    let _server = world.far.serve("--listen 8080")?;
    let late = world.client.node().pod("late").unlisted().start()?;
    late.annotate(NETNS, None)?;
    late.set_phase("Pending")?;
    let of_pod = container_of(&late).parent().unwrap().to_owned();
    let mut init = process_in(&of_pod.join("init"), &late)?;
    enrolled(&world.a, 3)?;
    assert!(carried(&mut world, &late, &late.identity())?);
    let _app = process_in(&of_pod.join("app"), &late)?;
    init.kill()?;
    late.set_phase("Running")?;
    world.settle()?;
    assert!(carried(&mut world, &late, &late.identity())?);
    enrolled(&world.a, 3)
}

#[test]
fn a_sandbox_that_was_made_anew_with_another_address_is_enrolled_with_that() -> Result<()> {
    let mut world = World::new("anew-address")?;
    let _server = world.far.serve("--listen 8080")?;
    let late = world.client.node().pod("late").unlisted().start()?;
    let other = world.client.node().pod("other").unlisted().start()?;
    late.annotate(NETNS, None)?;
    let mut first = sandbox(&late, &late)?;
    enrolled(&world.a, 3)?;
    first.kill()?;
    let _second = sandbox(&late, &other)?;
    say(&world, &late, late.uid(), None, &other)?;
    wait_carried(&mut world, &other, &late)?;
    let _application = other.serve("--listen 8080 --ident")?;
    let report = connect(&world.far, &format!("--to {} --ident --check-local", other.at(8080)))?;
    assert!(report.all_good(1), "{report:?}");
    let known = world.a.metrics()?.get("heddle_map_entries", &[("map", "POD_ADDRESSES")]);
    assert_eq!(known, Some(6.0), "two of each of three pods");
    Ok(())
}

#[test]
fn an_ended_pod_is_released_and_its_address_is_the_next_pods() -> Result<()> {
    let mut world = World::new("job")?;
    let _server = world.far.serve("--listen 8080")?;
    let job = world.client.node().pod("job").start()?;
    let next = world.client.node().pod("next").unlisted().start()?;
    enrolled(&world.a, 3)?;
    for phase in ["Failed", "Running", "Succeeded"] {
        job.set_phase(phase)?;
        enrolled(&world.a, if phase == "Running" { 3 } else { 2 })?;
    }
    move_address(&world, &job, &next)?;
    // The ended one's object is there for days.
    say(&world, &next, "another", Some(&next), &job)?;
    enrolled(&world.a, 3)?;
    serves_under_the_address(&mut world, &next, &job)
}

#[test]
fn a_pod_of_the_same_name_and_address_is_another_pod() -> Result<()> {
    let mut world = World::new("stateful")?;
    let _server = world.far.serve("--listen 8080")?;
    let first = world.client.node().pod("db-0").start()?;
    let second = world.client.node().pod("second").unlisted().start()?;
    enrolled(&world.a, 3)?;
    move_address(&world, &first, &second)?;
    say(&world, &first, "another", Some(&second), &first)?;
    serves_under_the_address(&mut world, &second, &first)?;
    enrolled(&world.a, 3)?;
    assert!(!carried(&mut world, &first, &first.identity())?, "the first is released");
    Ok(())
}

/// Writes the object of a pod with another uid, namespace or address than its own.
fn say(world: &World, named: &Pod, uid: &str, netns: Option<&Pod>, addresses_of: &Pod) -> Result<()> {
    let annotations = netns.map(|pod| json!({NETNS: pod.netns().path()}));
    world.bed.objects().put(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": named.name(), "namespace": "default", "uid": uid, "annotations": annotations,
            "labels": {"app": named.name()},
        },
        "spec": {"nodeName": named.node().name(), "serviceAccountName": named.name(), "containers": []},
        "status": {"phase": "Running", "podIPs": [{"ip": addresses_of.v4()}, {"ip": addresses_of.v6()}]},
    }))
}

/// Unplugs a pod, and gives its IPv4 address to another.
fn move_address(world: &World, from: &Pod, to: &Pod) -> Result<()> {
    from.plug(false)?;
    let gateway = std::net::Ipv4Addr::from(u32::from(to.v4()) & !0xff | 1);
    to.netns().ip(&format!(
        "addr del {}/24 dev eth0\naddr add {}/24 dev eth0\nroute add default via {gateway}\n",
        to.v4(),
        from.v4()
    ))?;
    world.client.netns().ip("neigh flush all\n")?;
    to.node().netns().ip("neigh flush all\n")
}

/// Peers reach what `server` serves under the address of `of`, and it reaches them.
fn serves_under_the_address(world: &mut World, server: &Pod, of: &Pod) -> Result<()> {
    let _application = server.serve("--listen 8081 --ident")?;
    for from in [&world.client, &world.far] {
        eventually("it is reached", SOON, || {
            Ok(connect(from, &format!("--to {} --ident --check-local", of.at(8081)))?.all_good(1))
        })?;
    }
    let far = world.far.at(8080);
    let before = lines_to(&world.log_of_a()?, far, "outbound").len();
    connect(server, &format!("--to {far}"))?;
    let lines = lines_to(&world.log_of_a()?, far, "outbound");
    let source = |line: &serde_json::Value| line["source_address"].as_str().unwrap_or_default().to_owned();
    ensure!(lines[before..].iter().any(|line| source(line).starts_with(&of.v4().to_string())), "{lines:?}");
    Ok(())
}

fn wait_carried(world: &mut World, from: &Pod, as_pod: &Pod) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !carried(world, from, &as_pod.identity())? {
        ensure!(Instant::now() < deadline, "connections of {} are not carried", from.name());
    }
    Ok(())
}
