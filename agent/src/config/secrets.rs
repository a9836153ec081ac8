//! Keeping secrets of agent.yaml out of what is said about it.
//!
//! A problem shows the line that it is in. Headers for the collector may be keys, an address may have a password in it, and of
//! a file that cannot be read nobody knows what is where. So only those lines are shown that are known to hold none of this.

use super::{
    Problems,
    yaml::{Entry, Node, Value},
};

/// Keys of the top level below which nothing is a secret. What is not named here is not shown.
pub(super) const HARMLESS: [&str; 19] = [
    "node",
    "cluster",
    "trustDomain",
    "trustDomainAliases",
    "rootNamespace",
    "source",
    "state",
    "mtls",
    "tls",
    "capture",
    "dns",
    "jwks",
    "admin",
    "metrics",
    "health",
    "handover",
    "log",
    "limits",
    "http",
];

/// The problems with none of the lines that may hold a secret. `root` is the file's tree, where it has one.
pub(super) fn hidden(problems: Problems, root: Option<&Node>) -> Problems {
    problems.showing(|line| root.is_some_and(|root| is_harmless(root, line)))
}

/// Whether all that stands in a line is below harmless keys: what begins there, and what began before and may go on.
fn is_harmless(root: &Node, line: usize) -> bool {
    let Value::Map(entries) = &root.value else { return false };
    let is_named = |entry: &Entry| HARMLESS.contains(&entry.key.as_str());
    let here: Vec<&Entry> = entries.iter().filter(|entry| entry.position.line == line).collect();
    let before = entries.iter().filter(|entry| entry.position.line < line).max_by_key(|entry| entry.position);
    // In block style a key that stands where the others do ends what came before it.
    let column = entries.first().map(|first| first.position.column);
    let ends_others = here.first().is_some_and(|first| Some(first.position.column) == column);
    let goes_on = before.filter(|_| !ends_others);
    (goes_on.is_some() || !here.is_empty()) && goes_on.into_iter().chain(here).all(is_named)
}
