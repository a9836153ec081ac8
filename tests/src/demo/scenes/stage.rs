//! Who is there: the nodes, the pods and the Service, and what the agents say about themselves.

use anyhow::Result;
use serde_json::json;

use super::super::agents::NodeAgent;
use super::super::cast::{Cast, POD_PORT, SERVICE_PORT};
use super::super::screen::Look;
use super::super::story::Story;
use crate::bed::Pod;

/// Columns inside a node's box, and between the boxes.
const BOX: usize = 31;
const GAP: usize = 8;

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("stage", "Two nodes, four pods, two agents");
    let seconds = story.elapsed().as_secs_f64();
    story.text(&format!(
        "Built out of network namespaces and cgroups in {seconds:.1} s. On each node runs `heddle agent`, which loaded \
         its eBPF programs into the kernel. The pods run ordinary programs."
    ));
    story.pause();
    draw(story, cast);
    let service = cast.service.at(SERVICE_PORT);
    story.pause();
    story.plain(&format!("Service server.demo  {service} -> server-v1 and server-v2, port {POD_PORT}"));
    story.pause();
    for (agent, pods) in [(&cast.agent_a, 1.0), (&cast.agent_b, 2.0)] {
        let enrolled = agent.agent.metrics()?.get("heddle_enrolled_pods", &[]);
        let expected = format!("the agent of {} is ready and captures {}", agent.node.name(), pods_in_words(pods));
        story.expect(enrolled == Some(pods), &expected, || format!("heddle_enrolled_pods is {enrolled:?}"));
    }
    record(story, cast);
    Ok(())
}

fn pods_in_words(count: f64) -> &'static str {
    if count > 1.0 { "2 pods" } else { "1 pod, not the outsider" }
}

fn draw(story: &Story, cast: &mut Cast<'_>) {
    let [v1, v2] = &cast.servers;
    let rows = [
        (pod(&cast.client, ""), pod(v1, "")),
        (pod(&cast.outsider, "no mesh"), pod(v2, "")),
        (agent(&mut cast.agent_a), agent(&mut cast.agent_b)),
    ];
    let edge = "─".repeat(BOX);
    let (gap, wire) = (" ".repeat(GAP), "─ wire ─");
    let title = |node: &NodeAgent| format!(" {:<11}{}", node.node.name(), node.node.wire_v4());
    let faint = |text: &str| story.paint(Look::Faint, text);
    let (left, right) = (title(&cast.agent_a), title(&cast.agent_b));
    story.plain(&format!("{left:<width$}{right}", width = BOX + 2 + GAP));
    story.plain(&faint(&format!("┌{edge}┐{gap}┌{edge}┐")));
    for (number, (left, right)) in rows.into_iter().enumerate() {
        let bar = faint("│");
        let (between, bar_left, bar_right) = match number {
            1 => (faint(wire), faint("├"), faint("┤")),
            _ => (gap.clone(), bar.clone(), bar.clone()),
        };
        story.plain(&format!("{bar}{left}{bar_left}{between}{bar_right}{right}{bar}"));
    }
    story.plain(&faint(&format!("└{edge}┘{gap}└{edge}┘")));
}

fn pod(pod: &Pod, remark: &str) -> String {
    format!(" {:<9}  {:<11} {remark:<7}", pod.name(), pod.v4())
}

fn agent(agent: &mut NodeAgent) -> String {
    let text = format!(" heddle agent, pid {}", agent.agent.process().pid());
    format!("{text:<BOX$}")
}

fn record(story: &mut Story, cast: &Cast<'_>) {
    let [v1, v2] = &cast.servers;
    for pod in [&cast.client, &cast.outsider, v1, v2] {
        story.record(pod.name(), json!({"node": pod.node().name(), "address": pod.v4(), "identity": pod.identity()}));
    }
    story.record("directory", cast.bed.directory());
    story.record("service", cast.service.at(SERVICE_PORT));
}
