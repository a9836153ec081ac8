//! `--keep`: how to look around, and waiting for the end, while the agents' output goes to files that can be followed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::cast::{Cast, POD_PORT, SERVICE_PORT};
use super::interrupt::Interrupt;
use super::screen::Look;
use super::story::Story;
use crate::bed::{Cgroup, NetNs, binary};

/// How far log files may be behind.
const FOLLOW: Duration = Duration::from_millis(200);

/// Prints what can be done, and returns when a signal came.
pub(super) fn until_interrupted(story: &mut Story, cast: &mut Cast<'_>, interrupt: &Interrupt) -> Result<()> {
    let enter = write_enter_script(cast)?;
    look_around(story, cast, &enter)?;
    let mut gone = [false; 2];
    loop {
        for (agent, gone) in [&mut cast.agent_a, &mut cast.agent_b].into_iter().zip(&mut gone) {
            agent.save_logs()?;
            if !*gone && !interrupt.came() && !agent.agent.process().running()? {
                *gone = true;
                story.aside(&format!("(the agent of {} has ended)", agent.node.name()));
            }
        }
        if interrupt.wait(FOLLOW) {
            return Ok(());
        }
    }
}

fn look_around(story: &Story, cast: &mut Cast<'_>, enter: &Path) -> Result<()> {
    story.aside("");
    story.aside(&story.paint(Look::Strong, "Everything is left running. To look around, from another shell as root:"));
    for (title, commands) in
        [pods(cast, enter), agents(cast, enter), objects(cast), kernel(cast), failure(cast, enter)?]
    {
        story.aside("");
        story.aside(&format!("   {title}"));
        for command in commands {
            story.aside(&format!("     {}", story.paint(Look::Accent, &command)));
        }
    }
    story.aside("");
    story.aside(&format!("Ctrl-C here ends it and removes everything; so does `kill {}`.", std::process::id()));
    Ok(())
}

/// What to look at, and the commands for it.
type Section = (&'static str, Vec<String>);

fn pods(cast: &Cast<'_>, enter: &Path) -> Section {
    let enter = enter.display();
    let commands = vec![
        format!("{enter} client curl -s http://{}/", cast.service.at(SERVICE_PORT)),
        format!("{enter} client"),
        // The namespace is STRICT since one of the last scenes.
        format!("{enter} outsider curl http://{}/", cast.servers[0].at(POD_PORT)),
    ];
    ("Be a pod: call from it, have a shell in it; outside the mesh, be refused", commands)
}

fn agents(cast: &Cast<'_>, enter: &Path) -> Section {
    let (enter, agent) = (enter.display(), &cast.agent_a);
    let commands = vec![
        format!("{enter} node-a curl -s localhost:15021/healthz/ready"),
        format!("{enter} node-a curl -s localhost:15020/metrics"),
        format!("{enter} node-a curl -s localhost:15000/config"),
        format!("tail -f {}", agent.access_log_file().display()),
        format!("tail -f {}", agent.process_log_file().display()),
    ];
    ("Ask the agent of node-a; follow its requests, and its own log", commands)
}

fn objects(cast: &Cast<'_>) -> Section {
    let commands = vec![
        format!("cat {}", cast.agent_a.agent.config_file().display()),
        format!("ls {}", cast.bed.objects().directory().display()),
    ];
    ("Its configuration, and the Kubernetes objects that both agents watch", commands)
}

fn kernel(cast: &Cast<'_>) -> Section {
    let node = &cast.agent_a.node;
    let commands = vec![
        format!("ls -R {}", node.bpffs().join("heddle").display()),
        format!("bpftool cgroup show {} effective", node.cgroup().path().display()),
        format!("ip netns exec {} tcpdump -ni wire0 tcp", cast.bed.wire().name()),
    ];
    ("What is pinned and attached on node-a, and the packets between the nodes", commands)
}

fn failure(cast: &mut Cast<'_>, enter: &Path) -> Result<Section> {
    let (enter, heddle) = (enter.display(), binary("heddle")?);
    let config = cast.agent_a.agent.config_file().display().to_string();
    let commands = vec![
        format!("kill -9 {}", cast.agent_a.agent.process().pid()),
        format!("{enter} client curl http://{}/", cast.service.at(SERVICE_PORT)),
        format!("{enter} node-a {} \\", heddle.display()),
        format!("    agent --config {config}"),
    ];
    Ok(("See node-a fail closed, and start its agent again", commands))
}

/// A program of a pod must be in its network namespace *and* in its cgroup, where the kernel programs are attached: too
/// long a line to type.
fn write_enter_script(cast: &Cast<'_>) -> Result<PathBuf> {
    let peer = binary("heddle-peer")?;
    let [v1, v2] = &cast.servers;
    let mut places = String::new();
    for pod in [&cast.client, &cast.outsider, v1, v2] {
        places.push_str(&place(pod.name(), pod.netns(), pod.cgroup()));
    }
    for agent in [&cast.agent_a, &cast.agent_b] {
        places.push_str(&place(agent.node.name(), agent.node.netns(), agent.node.cgroup()));
    }
    let script = format!(
        "#!/bin/sh\n\
         # Runs a program, or a shell, in a pod or on a node of the demo: in its network namespace and its cgroup.\n\
         case \"$1\" in\n{places}\
         *) echo \"usage: $0 client|outsider|server-v1|server-v2|node-a|node-b [PROGRAM [ARGUMENT...]]\" >&2; exit 2 ;;\n\
         esac\nshift\n[ $# -gt 0 ] || set -- \"${{SHELL:-sh}}\"\n\
         exec '{}' enter --parent $PPID --netns \"$netns\" --cgroup \"$cgroup\" -- \"$@\"\n",
        peer.display()
    );
    let path = cast.bed.directory().join("enter");
    fs::write(&path, script).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn place(name: &str, netns: &NetNs, cgroup: &Cgroup) -> String {
    format!("{name}) netns='{}' cgroup='{}' ;;\n", netns.path().display(), cgroup.path().display())
}
