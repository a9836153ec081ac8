//! `heddle check --node`: this kernel has all, and what is taken away is named with the remedy.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::{Bed, Node, binary};
use serde_json::{Value, json};

use super::said::Said;

/// The verifier takes its time on a busy machine.
const SOON: Duration = Duration::from_secs(60);

const PROGRAMS: [&str; 7] = ["connect4", "connect6", "flows", "getpeername4", "getpeername6", "inbound", "wire"];

/// `heddle check --node` on a node, by the words of `by`, with `changes` to its agent's configuration.
fn check(node: &Node, by: &str, changes: &[(&str, Value)]) -> Result<Said> {
    let mut config = json!({
        "node": node.name(),
        "source": {"kubernetes": {}},
        "capture": {"cgroup": node.cgroup().path(), "pins": node.bpffs().join("heddle")},
        "admin": {"socket": node.directory().join("admin.sock")},
    });
    for (key, value) in changes {
        config["capture"][*key] = value.clone();
    }
    let path = node.directory().join("check.yaml");
    fs::write(&path, config.to_string())?;
    let heddle = binary("heddle")?.display().to_string();
    let line = format!("{by} {heddle} check --node -o json --config {}", path.display());
    let (program, rest) = line.trim().split_once(' ').context("no program")?;
    Said::of(&node.command(program)?.words(rest).finish(SOON)?)
}

/// Everything below a folder.
fn entries(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        found.insert(path.display().to_string());
        if path.is_dir() {
            found.extend(entries(&path)?);
        }
    }
    Ok(found)
}

#[test]
fn a_machine_that_has_all_passes_and_is_left_as_it_was() -> Result<()> {
    let bed = Bed::new("check-node")?;
    let node = bed.node("a")?;
    let before = (entries(node.directory())?, fs::read_dir(node.cgroup().path())?.count());
    let said = check(&node, "", &[])?;
    assert_eq!((said.code, said.standing("error")), (Some(0), vec![]), "{:?}", said.checks);
    let ok = said.standing("ok");
    let programs = PROGRAMS.map(|name| format!("program {name}"));
    let others = ["kernel", "cgroup v2", "bpffs", "maps", "capabilities", "port 15000", "port 15020", "port 15021"];
    for name in others.into_iter().chain(programs.iter().map(String::as_str)) {
        assert!(ok.contains(&name), "{name}: {ok:?}");
    }
    let mut after = entries(node.directory())?;
    after.remove(&node.directory().join("check.yaml").display().to_string());
    // The cgroup `host` is the bed's own, for what it starts.
    let cgroups = fs::read_dir(node.cgroup().path())?.count() - 1;
    assert_eq!((after, cgroups), before);
    bed.close()
}

#[test]
fn an_agent_that_runs_is_not_touched() -> Result<()> {
    let bed = Bed::new("check-beside")?;
    let node = bed.node("a")?;
    let _pod = node.pod("client").start()?;
    let agent = node.agent().start()?;
    agent.wait_metrics("the pod is enrolled", SOON, |metrics| metrics.get("heddle_enrolled_pods", &[]) == Some(1.0))?;
    let before = entries(&node.bpffs())?;
    let said = check(&node, "", &[])?;
    assert_eq!((said.code, said.standing("error")), (Some(0), vec![]), "{:?}", said.checks);
    assert!(said.words("port 15020").contains("taken by the agent that runs here"), "{:?}", said.checks);
    assert_eq!(entries(&node.bpffs())?, before);
    ensure!(!before.is_empty() && agent.ready()?.status == 200);
    Ok(())
}

#[test]
fn what_is_missing_has_its_line_and_its_remedy() -> Result<()> {
    let bed = Bed::new("check-missing")?;
    let node = bed.node("a")?;
    let folder = json!(node.directory());
    let without = |capability: &str| format!("setpriv --bounding-set=-{capability} --inh-caps=-{capability} --");
    let cases = [
        ("cgroup v2", String::new(), vec![("cgroup", folder.clone())], "set capture.cgroup to"),
        ("bpffs", String::new(), vec![("pins", folder)], "mount -t bpf"),
        ("capabilities", without("sys_admin"), vec![], "SYS_ADMIN"),
        ("program inbound", without("sys_admin"), vec![], "an empty network namespace"),
        ("capabilities", without("net_admin"), vec![], "NET_ADMIN"),
        ("capabilities", without("sys_ptrace"), vec![], "SYS_PTRACE"),
        ("maps", without("all"), vec![], "not permitted"),
        ("open files", "prlimit --nofile=100".to_owned(), vec![], "LimitNOFILE"),
        ("processes of pods", "unshare --pid --fork --kill-child".to_owned(), vec![], "hostPID"),
        ("processes of pods", String::new(), vec![("proc", json!("/nowhere"))], "capture.proc"),
    ];
    for (name, by, changes, remedy) in cases {
        let said = check(&node, &by, &changes)?;
        let bad = [said.standing("error"), said.standing("warning")].concat();
        assert!(bad.contains(&name), "{by} {changes:?}: {:?} {}", said.checks, said.stderr);
        let words = said.words(name).to_lowercase();
        assert!(words.contains(&remedy.to_lowercase()), "{by} {changes:?}: {words}");
        let expected = if said.standing("error").is_empty() { 0 } else { 1 };
        assert_eq!(said.code, Some(expected), "{by}");
        assert!(name == "open files" || expected == 1, "{name} is an error");
    }
    bed.close()
}

#[test]
fn a_port_that_another_has_is_named() -> Result<()> {
    let bed = Bed::new("check-port")?;
    let node = bed.node("a")?;
    let _taken = node.netns().run(|| Ok(TcpListener::bind("0.0.0.0:15020")?))?;
    let said = check(&node, "", &[])?;
    assert_eq!((said.code, said.standing("error")), (Some(1), vec!["port 15020"]), "{:?}", said.checks);
    assert!(said.words("port 15020").contains("metrics.address"), "{:?}", said.checks);
    Ok(())
}

#[test]
fn a_configuration_that_cannot_be_read_is_a_wrong_call() -> Result<()> {
    let bed = Bed::new("check-config")?;
    let node = bed.node("a")?;
    let said = check(&node, "", &[("cgruop", json!("/x"))])?;
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("cgruop"), "{}", said.stderr);
    Ok(())
}
