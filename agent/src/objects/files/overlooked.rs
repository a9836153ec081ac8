//! ConfigMaps that hold mesh documents and lack the label by which readers know them. The readers pass over them, as over
//! every other ConfigMap; only a command that looks at files can tell that this was not meant.

use crate::{
    config::{
        Problem,
        yaml::{self, Node, Value},
    },
    objects::read::is_mesh_configuration,
    rules,
};

/// Looks at the text of one file.
pub(super) fn find(file: &str, text: &str) -> Vec<Problem> {
    if !text.contains("ConfigMap") {
        return Vec::new();
    }
    let documents = yaml::split(text);
    let roots: Vec<Node> = documents.iter().filter_map(|document| document.parse(file, text).ok()).collect();
    let objects = roots.iter().flat_map(|root| match root.get("items").map(|items| &items.value) {
        Some(Value::List(items)) => items.as_slice(),
        _ => std::slice::from_ref(root),
    });
    let is_config_map = |object: &&Node| {
        let text = |key| object.get(key).and_then(Node::text);
        text("apiVersion") == Some("v1") && text("kind") == Some("ConfigMap")
    };
    let overlooked = objects.filter(is_config_map).filter(|map| !is_mesh_configuration(map));
    overlooked.filter_map(|map| Some(problem(file, text, map, &first_mesh_document(map)?))).collect()
}

fn problem(file: &str, text: &str, map: &Node, kind: &str) -> Problem {
    let labels = map.get("metadata").and_then(|metadata| metadata.get("labels"));
    let place = labels.and_then(|labels| labels.get("heddle.io/config")).or(labels).or(map.get("metadata"));
    let message = format!(
        "ConfigMap {} holds mesh documents ({kind}), and no agent reads it without the label heddle.io/config: \"true\", \
         in quotes",
        map.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text).unwrap_or("without a name"),
    );
    Problem::at(file, text, place.unwrap_or(map).position, message)
}

/// The kind of the first mesh document under `data`.
fn first_mesh_document(map: &Node) -> Option<String> {
    let Value::Map(entries) = &map.get("data")?.value else { return None };
    let texts = entries.iter().filter_map(|entry| entry.node.text()).filter(|text| text.contains("apiVersion"));
    let mut kinds = texts.flat_map(|text| {
        let documents = yaml::split(text);
        let roots = documents.iter().filter_map(|document| document.parse("", text).ok());
        let kind = |root: Node| {
            let text = |key| root.get(key).and_then(Node::text);
            let is_rule = text("apiVersion").is_some_and(rules::is_rule);
            text("kind").filter(|_| is_rule).map(str::to_owned)
        };
        roots.filter_map(kind).collect::<Vec<_>>()
    });
    kinds.next()
}
