//! Where in its text a part of an accepted document is.

use crate::{
    config::{
        Position, Problem,
        yaml::{self, Node, Value},
    },
    mesh::DocumentStatus,
    objects::ObjectSet,
};

/// A problem at a path such as `spec.rules[0].backendRefs[1]`; at the deepest part of it that was written.
pub(super) fn problem(objects: &ObjectSet, status: &DocumentStatus, path: &str, message: &str) -> Option<Problem> {
    let text = objects.config_maps.get(&status.config_map)?.data.get(&status.data_key)?;
    let position = position(text, status.position, path)?;
    Some(Problem::at(&status.place(), text, position, message))
}

/// The documents of a text begin one after the other: the one that is meant is the last that begins before its root.
fn position(text: &str, root: Position, path: &str) -> Option<Position> {
    let documents = yaml::split(text);
    let document = documents.iter().rev().find(|document| document.first_line < root.line)?;
    let node = document.parse("", text).ok()?;
    Some(descend(&node, path).position)
}

fn descend<'a>(root: &'a Node, path: &str) -> &'a Node {
    let steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']'));
    let mut node = root;
    for step in steps {
        let next = match &node.value {
            Value::List(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
            _ => node.get(step),
        };
        let Some(next) = next else { break };
        node = next;
    }
    node
}
