//! Pods whose network namespace nobody names: it is found by their uid, and found again when it was made anew.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use heddle_tests::bed::{Pod, Process};

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
    let process = inside.command("sleep").arg("1000").start()?;
    // It joins cgroup and namespace before it becomes the program.
    let name = PathBuf::from(format!("/proc/{}/comm", process.pid()));
    let deadline = Instant::now() + SOON;
    while fs::read_to_string(&name)? != "sleep\n" {
        ensure!(Instant::now() < deadline, "{}", process.describe("it has not become `sleep`"));
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::create_dir_all(container_of(of))?;
    fs::write(container_of(of).join("cgroup.procs"), process.pid().to_string())?;
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

fn wait_carried(world: &mut World, from: &Pod, as_pod: &Pod) -> Result<()> {
    let deadline = Instant::now() + SOON;
    while !carried(world, from, &as_pod.identity())? {
        ensure!(Instant::now() < deadline, "connections of {} are not carried", from.name());
    }
    Ok(())
}
