//! Which nodes are to be tainted when, by a steered time; and what is written.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    nodes::{Nodes, SeenAgent, SeenNode, Settled, Wanted},
    patch::changed,
};

const GRACE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

fn node(name: &str, tainted: bool) -> SeenNode {
    SeenNode { name: name.into(), tainted }
}

fn agent(pod: &str, node: &str, ready: bool) -> SeenAgent {
    SeenAgent { pod: pod.into(), node: node.into(), ready }
}

/// Both lists are complete at `now`.
fn nodes(now: Instant, listed: &[SeenNode], agents: &[SeenAgent]) -> Nodes {
    let mut nodes = Nodes::new(GRACE);
    nodes.begin_nodes();
    listed.iter().for_each(|node| nodes.list_node(node.clone()));
    nodes.end_nodes(now);
    nodes.begin_agents();
    agents.iter().for_each(|agent| nodes.list_agent(agent.clone()));
    nodes.end_agents(now);
    nodes
}

/// What is to be done, in words.
fn next(nodes: &Nodes, now: Instant) -> String {
    let change = nodes.next(now);
    change.map_or_else(String::new, |change| format!("{} {:?}", change.node, change.wanted))
}

#[test]
fn nothing_is_known_before_both_lists_are_complete() {
    let now = Instant::now();
    let mut nodes = Nodes::new(GRACE);
    nodes.put_node(node("a", false), now);
    nodes.put_agent(agent("of-b", "b", true), now);
    nodes.end_nodes(now);
    assert_eq!((next(&nodes, now + GRACE * 9), nodes.due_at()), (String::new(), None));
}

#[test]
fn a_node_that_is_there_from_the_beginning_has_the_grace_and_a_new_one_has_not() {
    let now = Instant::now();
    let mut nodes = nodes(now, &[node("a", false), node("b", false)], &[agent("of-b", "b", true)]);
    assert_eq!((next(&nodes, now), nodes.due_at()), (String::new(), Some(now + GRACE)));
    assert_eq!(next(&nodes, now + GRACE), "a Tainted");
    nodes.put_node(node("c", false), now + SECOND);
    assert_eq!(next(&nodes, now + SECOND), "c Tainted");
}

#[test]
fn an_agent_that_is_back_within_the_grace_leaves_its_node_alone() {
    let now = Instant::now();
    let mut nodes = nodes(now, &[node("a", false)], &[agent("old", "a", true)]);
    nodes.put_agent(agent("old", "a", false), now);
    assert_eq!(nodes.due_at(), Some(now + GRACE));
    nodes.put_agent(agent("new", "a", true), now + SECOND * 9);
    nodes.remove_agent(&agent("old", "a", false), now + SECOND * 9);
    assert_eq!((next(&nodes, now + GRACE * 9), nodes.due_at()), (String::new(), None));
    // With a surge there are two for a while, and either will do.
    nodes.put_agent(agent("third", "a", true), now + GRACE);
    nodes.remove_agent(&agent("new", "a", true), now + GRACE);
    assert_eq!(nodes.due_at(), None);
    nodes.remove_agent(&agent("third", "a", true), now + GRACE);
    nodes.put_agent(agent("elsewhere", "b", true), now + GRACE);
    assert_eq!(nodes.due_at(), Some(now + GRACE * 2), "the grace begins anew each time");
    assert_eq!(next(&nodes, now + GRACE * 2), "a Tainted");
}

#[test]
fn a_ready_agent_frees_its_node_at_once() {
    let now = Instant::now();
    let mut nodes = nodes(now, &[node("a", true)], &[agent("of-a", "a", false)]);
    assert_eq!((nodes.due_at(), nodes.tainted()), (None, 1));
    nodes.put_agent(agent("of-a", "a", true), now);
    assert_eq!(next(&nodes, now), "a Free");
    nodes.settle("a", Settled::As(Wanted::Free), now);
    assert_eq!((nodes.due_at(), nodes.tainted()), (None, 0));
}

#[test]
fn without_any_agent_no_node_is_touched() {
    let now = Instant::now();
    let mut nodes = nodes(now, &[node("a", false), node("b", true)], &[]);
    assert!(nodes.has_no_agents());
    assert_eq!((next(&nodes, now + GRACE * 9), nodes.due_at()), (String::new(), None));
    nodes.put_agent(agent("of-b", "b", false), now);
    assert_eq!(next(&nodes, now + GRACE), "a Tainted");
}

#[test]
fn a_list_replaces_what_was_known() {
    let now = Instant::now();
    let mut nodes = nodes(now, &[node("a", false), node("gone", false)], &[agent("p", "a", true)]);
    nodes.begin_nodes();
    nodes.list_node(node("a", false));
    nodes.end_nodes(now + SECOND);
    nodes.begin_agents();
    nodes.list_agent(agent("q", "a", true));
    nodes.end_agents(now + SECOND);
    assert_eq!((next(&nodes, now + GRACE * 9), nodes.due_at()), (String::new(), None), "p was replaced by q");
    nodes.begin_agents();
    nodes.list_agent(agent("r", "gone", true));
    nodes.end_agents(now + SECOND * 2);
    assert_eq!(nodes.due_at(), Some(now + SECOND * 2 + GRACE));
}

#[test]
fn failures_and_other_hands_are_answered_with_patience() {
    let now = Instant::now();
    let mut nodes = nodes(now, &[node("a", false), node("b", false)], &[agent("of-c", "c", true)]);
    let later = now + GRACE;
    nodes.settle("a", Settled::Again(SECOND * 5), later);
    assert_eq!(next(&nodes, later), "b Tainted", "one that fails does not hold up the others");
    nodes.settle("b", Settled::As(Wanted::Tainted), later);
    assert_eq!(nodes.due_at(), Some(later + SECOND * 5));
    // Somebody takes the taint of b away.
    nodes.put_node(node("b", false), later + SECOND);
    assert_eq!(next(&nodes, later + SECOND), "", "it is not put back at once");
    assert_eq!(next(&nodes, later + SECOND * 5), "a Tainted");
    nodes.settle("a", Settled::Doubtful, later + SECOND * 5);
    assert_eq!(nodes.due_at(), Some(later + GRACE));
}

#[test]
fn only_the_one_taint_is_put_on_and_taken_away() {
    let others = json!([
        {"key": "dedicated", "value": "gpu", "effect": "NoSchedule", "future": {"field": 1}},
        {"key": "heddle.io/agent-not-ready", "effect": "NoExecute"},
    ]);
    let mut with_ours = others.clone();
    let ours = json!({"key": "heddle.io/agent-not-ready", "effect": "NoSchedule"});
    with_ours.as_array_mut().unwrap().push(ours.clone());
    assert_eq!(changed(&others, Wanted::Tainted), Some(with_ours.clone()));
    assert_eq!(changed(&with_ours, Wanted::Free), Some(others.clone()));
    assert_eq!((changed(&with_ours, Wanted::Tainted), changed(&others, Wanted::Free)), (None, None));
    assert_eq!(changed(&Value::Null, Wanted::Tainted), Some(json!([ours])));
    // As the kubelet registers it, with a value perhaps.
    let registered = json!([{"key": "heddle.io/agent-not-ready", "value": "x", "effect": "NoSchedule"}]);
    assert_eq!(changed(&registered, Wanted::Free), Some(json!([])));
}
