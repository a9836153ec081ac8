//! An index of HTTP matches by path, so that a request looks only at those whose path it has.
//!
//! In: the matches of a table in the order of precedence, by their numbers. Out: for a path, the numbers that may match, in
//! the same order: exact ones, then prefixes from the longest to the shortest, then all expressions, which are not
//! compared here. Configured paths are brought into the normal form that requests are read in.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::{rules::http_route::PathMatch, target::normal_path};

/// Numbers of matches, ascending.
type Numbers = Vec<u32>;

/// Matches by path.
#[derive(Clone, Debug, Default)]
pub(super) struct PathIndex {
    exact: HashMap<Box<str>, Numbers, RandomState>,
    prefixes: Node,
    expressions: Numbers,
}

/// A prefix, with what follows it by the next segment.
#[derive(Clone, Debug, Default)]
struct Node {
    here: Numbers,
    next: HashMap<Box<str>, Node, RandomState>,
}

impl PathIndex {
    pub(super) fn insert(&mut self, path: &PathMatch, number: u32) {
        match path {
            PathMatch::Exact(path) => self.exact.entry(normal(path)).or_default().push(number),
            PathMatch::PathPrefix(prefix) => {
                let prefix = normal(prefix);
                let node = segments(prefix.trim_end_matches('/'))
                    .fold(&mut self.prefixes, |node, segment| node.next.entry(segment.into()).or_default());
                node.here.push(number);
            }
            PathMatch::RegularExpression(_) => self.expressions.push(number),
        }
    }

    /// The matches that a path may have, in the order of precedence.
    pub(super) fn candidates<'i>(&'i self, path: &str) -> impl Iterator<Item = u32> + use<'i> {
        let mut prefixes = vec![&self.prefixes];
        for segment in segments(path) {
            let Some(next) = prefixes.last().and_then(|node| node.next.get(segment)) else { break };
            prefixes.push(next);
        }
        let exact = self.exact.get(path).into_iter().flatten();
        let prefixes = prefixes.into_iter().rev().flat_map(|node| &node.here);
        exact.chain(prefixes).chain(&self.expressions).copied()
    }
}

/// What is between the slashes; `/` and `*` have no segments that a prefix could have.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').into_iter().flat_map(|path| path.split('/'))
}

/// A path that no request can have is left as it is, and matches nothing.
pub(super) fn normal(path: &str) -> Box<str> {
    normal_path(path).map_or_else(|_| path.into(), |path| path.as_ref().into())
}
