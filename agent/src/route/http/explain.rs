//! Why a request goes where it goes: each match in the order in which it counts, and the first thing that the request lacks.
//!
//! In: what [`decide`](super::decide) reads. Out: every match up to the one that decides. It is made with the comparison
//! that decides, over all matches instead of those that an index finds.

use std::fmt;

use super::{Matched, Mismatch, Name, Request, matching};
use crate::{
    mesh::{RouteTable, call},
    rules::{
        RuleKey,
        gateway::{Pattern, TextMatch},
        http_route::PathMatch,
    },
};

/// What was tried, in order; the last one decides if it matched.
#[derive(Clone, Debug)]
pub struct Explanation<'t> {
    /// Each match that was compared.
    pub tried: Vec<Tried<'t>>,
    /// The one that decides.
    pub decided: Option<Matched<'t>>,
}

/// One match that was compared.
#[derive(Clone, Debug)]
pub struct Tried<'t> {
    /// Its route.
    pub route: &'t RuleKey,
    /// Which rule of the route, from 0.
    pub rule: usize,
    /// Which match of the rule, from 0.
    pub index: usize,
    /// Why it does not match; `None` where it does.
    pub unmet: Option<Unmet>,
}

/// The first thing that a request lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The field of the match, such as `headers[x-version]`.
    pub field: String,
    /// What the request has; `None` where it has nothing of the kind.
    pub found: Option<String>,
    /// What the match asks for.
    pub wanted: String,
}

/// Compares one match after the other.
pub fn explain<'t>(table: &'t RouteTable, request: &Request<'_>) -> Explanation<'t> {
    let mut tried = Vec::new();
    for one in table.matches() {
        let outcome = matching::check(one.condition, request);
        let is_met = outcome.is_ok();
        tried.push(Tried {
            route: &one.route.key,
            rule: one.rule,
            index: one.index,
            unmet: outcome.err().map(|mismatch| unmet(mismatch, request)),
        });
        if is_met {
            return Explanation { tried, decided: Some(Matched::new(one)) };
        }
    }
    Explanation { tried, decided: None }
}

fn unmet(mismatch: Mismatch<'_>, request: &Request<'_>) -> Unmet {
    let path = request.target.path();
    let (service, method) = call(path).unwrap_or_default();
    let (field, found, wanted) = match mismatch {
        Mismatch::NoCall => {
            let found = request.header(&http::header::CONTENT_TYPE).map(|value| text(&value));
            ("headers[content-type]".to_owned(), found, "application/grpc, since it is a rule for gRPC".to_owned())
        }
        Mismatch::Path(wanted) => ("path".to_owned(), Some(quoted(path)), of_path(wanted)),
        Mismatch::Method(wanted) => ("method".to_owned(), Some(request.method.to_string()), wanted.to_string()),
        Mismatch::Service(wanted) => ("method.service".to_owned(), some(service), of_name(wanted)),
        Mismatch::GrpcMethod(wanted) => ("method.method".to_owned(), some(method), of_name(wanted)),
        Mismatch::Header(wanted) => {
            let found = request.header(&wanted.name).map(|value| text(&value));
            (format!("headers[{}]", wanted.name), found, of_text(&wanted.value))
        }
        Mismatch::Parameter(wanted) => {
            let found = request.target.parameter(&wanted.name).map(|value| text(&value));
            (format!("queryParams[{}]", wanted.name), found, of_text(&wanted.value))
        }
    };
    Unmet { field, found, wanted }
}

fn of_path(wanted: &PathMatch) -> String {
    match wanted {
        PathMatch::Exact(path) => quoted(path),
        PathMatch::PathPrefix(prefix) => format!("{prefix:?} and what is below it"),
        PathMatch::RegularExpression(pattern) => expression(pattern),
    }
}

fn of_name(wanted: Name<'_>) -> String {
    match wanted {
        Name::Exact(name) => quoted(name),
        Name::Expression(pattern) => expression(pattern),
    }
}

fn of_text(wanted: &TextMatch) -> String {
    match wanted {
        TextMatch::Exact(value) => quoted(value),
        TextMatch::RegularExpression(pattern) => expression(pattern),
    }
}

fn expression(pattern: &Pattern) -> String {
    format!("a match of {:?}", pattern.as_str())
}

fn text(value: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(value))
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn some(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| quoted(name))
}

impl Tried<'_> {
    /// Whether it is this match of a table.
    #[cfg(test)]
    pub(super) fn is(&self, one: &crate::mesh::RouteMatch<'_>) -> bool {
        (self.route, self.rule, self.index) == (&one.route.key, one.rule, one.index)
    }
}

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} spec.rules[{}].matches[{}]: ", self.route, self.rule, self.index)?;
        match &self.unmet {
            None => f.write_str("matches"),
            Some(unmet) => unmet.fmt(f),
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.as_deref().unwrap_or("nothing");
        write!(f, "{} has to be {}, found {found}", self.field, self.wanted)
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tried.iter().try_for_each(|tried| writeln!(f, "{tried}"))?;
        match &self.decided {
            Some(_) => Ok(()),
            None => writeln!(f, "no rule matches: 404, of gRPC UNIMPLEMENTED"),
        }
    }
}
