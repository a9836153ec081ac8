//! Tests of the findings: objects in, what is said about them out.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::objects::{read_once, unlabelled};

pub(super) fn settings() -> MeshSettings {
    MeshSettings {
        node: "".into(),
        trust_domain: "cluster.local".parse().unwrap(),
        root_namespace: "heddle-system".into(),
    }
}

/// The report on one file, `a.yaml`.
pub(super) fn checked(text: &str) -> Report {
    report_on(text).0
}

fn report_on(text: &str) -> (Report, TempDir) {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("a.yaml"), text).unwrap();
    let paths = [directory.path().to_owned()];
    let (objects, unreadable) = read_once(&paths).unwrap();
    let mut report = check(&objects, &unreadable, &settings());
    report.add_unlabelled(&unlabelled(&paths).unwrap());
    (report, directory)
}

/// What is said about one file, without its directory.
fn said_about(text: &str) -> Vec<String> {
    let (report, directory) = report_on(text);
    let prefix = format!("{}/", directory.path().display());
    report.findings.iter().map(|finding| finding.to_string().replace(&prefix, "")).collect()
}

const GRANT: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g}
spec: {from: [{group: g, kind: k, namespace: n}], to: [{group: g, kind: k}]}
";

#[test]
fn what_an_agent_would_accept_is_not_mentioned() {
    assert_eq!(said_about(GRANT), [""; 0]);
    assert_eq!(said_about("{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}\n"), [""; 0]);
}

#[test]
fn a_refused_document_is_shown_with_its_line_and_a_caret() {
    assert_eq!(
        said_about(&GRANT.replace("namespace: n", "namespaec: n")),
        [
            "error: ReferenceGrant heddle-system/g: spec.from[0].namespace: missing, must be text\n  --> a.yaml:4:15\n  \
             4 | spec: {from: [{group: g, kind: k, namespaec: n}], to: [{group: g, kind: k}]}\n    |               ^\n",
            "error: ReferenceGrant heddle-system/g: unknown key \"namespaec\" in spec.from[0]; did you mean \
             \"namespace\"?\n  --> a.yaml:4:35\n  \
             4 | spec: {from: [{group: g, kind: k, namespaec: n}], to: [{group: g, kind: k}]}\n    |                                   ^\n",
        ]
    );
}

#[test]
fn broken_objects_conflicts_and_bad_labels_are_errors_too() {
    let said = said_about("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: 7}\n");
    assert!(said.len() == 1 && said[0].starts_with("error: spec.nodeName: found the number 7"), "{said:?}");
    let said = said_about(&format!("{GRANT}---\n{GRANT}"));
    assert!(said.len() == 1 && said[0].contains("is not in force: a.yaml defines the same object"), "{said:?}");
    let said =
        said_about("{apiVersion: v1, kind: Namespace, metadata: {name: n, labels: {heddle.io/mesh: \"yes\"}}}\n");
    assert!(said.len() == 1 && said[0].starts_with("error: Namespace n: label heddle.io/mesh"), "{said:?}");
}

#[test]
fn what_is_no_yaml_is_said_once() {
    let said = said_about(&format!("{GRANT}---\n{{ not: yaml\n"));
    assert!(said.len() == 1 && said[0].contains("cannot be read as YAML"), "{said:?}");
}

#[test]
fn a_config_map_of_mesh_documents_without_the_label_is_a_warning() {
    let map = |labels: &str, text: &str| {
        let text = text.replace('\n', "\n    ");
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m, labels: {labels}}}\ndata:\n  a.yaml: |\n    {text}\n"
        )
    };
    let message = "warning: ConfigMap m holds mesh documents (ReferenceGrant), and no agent reads it without the label \
                   heddle.io/config: \"true\", in quotes\n  --> a.yaml:3:";
    for labels in ["{}", "{app: web}", "{heddle.io/config: true}", "{heddle.io/config: \"yes\"}"] {
        let said = said_about(&map(labels, GRANT));
        assert!(said.len() == 1 && said[0].starts_with(message), "{labels}: {said:?}");
    }
    assert_eq!(said_about(&map("{heddle.io/config: \"true\"}", GRANT)), [""; 0]);
    for text in
        ["a: b", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}", "apiVersion: {", "apiVersion: heddle.io/v1alpha1"]
    {
        assert_eq!(said_about(&map("{}", text)), [""; 0], "{text}");
    }
    let list = format!(
        "{{apiVersion: v1, kind: List, items: [{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m}}, data: {{a: {GRANT:?}}}}}]}}\n"
    );
    assert_eq!(said_about(&list).len(), 1);
}

#[test]
fn of_very_many_problems_the_first_are_listed_and_no_endless_line_is_shown_with_each() {
    let spec =
        |separator: &str, count: usize| -> String { (0..count).map(|i| format!("k{i}: 1{separator}")).collect() };
    let head = "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: g}\n";
    let of_lines = checked(&format!("{head}spec:\n  {}from: []\n", spec("\n  ", 300))).findings;
    assert_eq!(of_lines.len(), 101);
    assert!(of_lines.iter().any(|one| one.message == "is not the last problem: 100 are listed; correct these first"));
    // Each is shown with its own line, in whatever order they were found.
    for finding in of_lines.iter().filter(|finding| finding.message.starts_with("unknown key")) {
        let key = finding.snippet.as_deref().unwrap().trim_start().split_once(':').unwrap().0;
        assert!(finding.message.contains(&format!("{key:?}")), "{finding}");
    }
    let of_one_line = checked(&format!("{head}spec: {{{}from: []}}\n", spec(", ", 300))).findings;
    assert_eq!(of_one_line.len(), 101);
    assert!(of_one_line.iter().all(|finding| finding.line == Some(4) && finding.snippet.is_none()));
}
