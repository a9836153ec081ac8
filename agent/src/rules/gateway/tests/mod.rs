//! Tests of what all kinds of the Gateway API share, and the tools of their tests.
#![expect(clippy::unwrap_used, reason = "tests")]

mod parts;
mod properties;
mod strategies;

use crate::{
    config::yaml::split,
    rules::{Enforced, Reading, RuleKind, Spec, read::read},
};

/// A document of a kind, with this text as its `spec`, which begins in line 4.
pub(in crate::rules) fn document(kind: RuleKind, spec: &str) -> String {
    format!("apiVersion: {}\nkind: {kind}\nmetadata: {{name: x}}\n{spec}", kind.api_versions()[0])
}

pub(in crate::rules) fn reading(text: &str) -> Reading {
    read("f", text, &split(text)[0].parse("f", text).unwrap(), "shop", Enforced::EVERYTHING)
}

/// The `spec` of a document that has to be accepted.
pub(in crate::rules) fn accepted(text: &str) -> Spec {
    match reading(text) {
        Reading::Rule(rule, _) => rule.spec,
        other => panic!("{text}\nis not accepted: {other:#?}"),
    }
}

/// Places and messages of a document that has to be refused, without the source lines.
pub(in crate::rules) fn refused(text: &str) -> Vec<String> {
    match reading(text) {
        Reading::Refused(_, problems) => {
            problems.iter().map(|p| p.to_string().lines().next().unwrap().to_owned()).collect()
        }
        other => panic!("{text}\nis not refused: {other:#?}"),
    }
}

/// Checks that each text is refused with exactly these problems, all of them at once.
pub(in crate::rules) fn assert_refused(document: impl Fn(&str) -> String, table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(refused(&document(text)), *expected, "{text}");
    }
}
