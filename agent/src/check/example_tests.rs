//! Tests of `deploy/examples`: each file is accepted whole where everything is enforced, and says truly what this build does.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    mesh::compile_enforcing,
    objects::read_once,
    rules::{Enforced, FEATURES, RuleKind},
};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples")
}

fn objects() -> ObjectSet {
    let (objects, unreadable) = read_once(&[examples()]).unwrap();
    assert_eq!(unreadable, []);
    objects
}

fn is_enforced(kind: RuleKind) -> bool {
    Enforced::THIS_BUILD.has(kind)
}

#[test]
fn with_everything_enforced_every_example_is_accepted_and_every_kind_has_one() {
    let compiled = compile_enforcing(&objects(), &tests::settings(), Enforced::EVERYTHING);
    for status in &compiled.documents {
        assert_eq!(status.state, DocumentState::Accepted, "{status}");
    }
    assert_eq!(compiled.problems, []);
    let kinds: BTreeSet<RuleKind> = compiled.snapshot.rules().keys().map(|key| key.kind).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), RuleKind::ALL);
}

#[test]
fn this_build_refuses_of_the_examples_what_it_does_not_enforce_and_finds_nothing_else() {
    let objects = objects();
    let report = check(&objects, &[], &tests::settings());
    let compiled = compile_enforcing(&objects, &tests::settings(), Enforced::EVERYTHING);
    let (enforced, others): (Vec<_>, Vec<_>) = compiled.snapshot.rules().keys().partition(|key| is_enforced(key.kind));
    assert_eq!(report.accepted, enforced.len());
    let refused: BTreeSet<_> = report.findings.iter().map(|finding| finding.object.clone().unwrap()).collect();
    assert_eq!(refused, others.iter().map(ToString::to_string).collect());
    for finding in &report.findings {
        assert!(finding.message.contains("is not enforced by this build"), "{finding}");
    }
    assert_eq!(report.findings.len(), others.len());
    assert_eq!(report.unchecked, [""; 0]);
}

/// `# Enforced by this build: HTTPRoute no, Capture yes.`, of the kinds in the file, in the order of the table.
#[test]
fn each_example_says_truly_what_of_it_this_build_enforces() {
    let mut count = 0;
    for entry in fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let has = |kind: RuleKind| text.lines().any(|line| line.trim() == format!("kind: {kind}"));
        let word = |enforced| if enforced { "yes" } else { "no" };
        let rows = FEATURES.iter().filter(|feature| has(feature.kind));
        let told: Vec<_> = rows.map(|feature| format!("{} {}", feature.kind, word(feature.enforced))).collect();
        let expected = match told.is_empty() {
            true => "# Holds no mesh documents.".to_owned(),
            false => format!("# Enforced by this build: {}.", told.join(", ")),
        };
        let comment: Vec<_> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(comment.len() > 1 && comment.contains(&expected.as_str()), "{}: {expected}", path.display());
        count += 1;
    }
    assert!(count > 10);
}
