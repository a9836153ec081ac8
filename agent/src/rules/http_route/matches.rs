//! HTTPRouteMatch: what a request must look like.

use http::Method;
use serde::{Serialize, Serializer};

use super::super::gateway::{
    HEADER_NAME, HeaderMatch, Pattern, TextMatch, header_matches, header_name, limited, one_of_or, pattern, required,
    text_match,
};
use crate::config::yaml::MapReader;

/// Of a path, in characters, by upstream's schema.
pub(super) const MAX_PATH: usize = 1024;
const MAX_QUERY: usize = 16;

/// The methods of the schema, in its order.
pub(super) const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// What is allowed, for messages.
pub(super) const METHOD: &str = "GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE or PATCH";

/// HTTPRouteMatch: all of its parts have to match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// The path, without the query.
    pub path: PathMatch,
    /// Headers, each name once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// Parameters of the query, each name once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<QueryMatch>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_method")]
    pub method: Option<Method>,
}

/// HTTPPathMatch. Written as `type` and `value`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "value")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole segments at the path's beginning; a slash at the end of the prefix means nothing.
    PathPrefix(String),
    /// The whole path matches an expression.
    RegularExpression(Pattern),
}

/// HTTPQueryParamMatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueryMatch {
    /// Name of the parameter, with case.
    pub name: String,
    /// What its value must be.
    #[serde(flatten)]
    pub value: TextMatch,
}

/// Every request.
impl Default for HttpMatch {
    fn default() -> Self {
        Self { path: PathMatch::default(), headers: Vec::new(), query_params: Vec::new(), method: None }
    }
}

/// Every path.
impl Default for PathMatch {
    fn default() -> Self {
        Self::PathPrefix("/".to_owned())
    }
}

/// Reads a match.
pub(super) fn read(map: MapReader<'_>) -> Option<HttpMatch> {
    let path = map.map("path").map(path);
    let path = if map.has("path") { path.flatten() } else { Some(PathMatch::default()) };
    let headers = header_matches(&map);
    let query_params = query_matches(&map);
    let method = map.parsed("method", METHOD, method);
    map.finish();
    Some(HttpMatch { path: path?, headers, query_params, method })
}

#[derive(Clone, Copy)]
enum PathType {
    Exact,
    PathPrefix,
    RegularExpression,
}

fn path(map: MapReader<'_>) -> Option<PathMatch> {
    let types = [
        ("Exact", PathType::Exact),
        ("PathPrefix", PathType::PathPrefix),
        ("RegularExpression", PathType::RegularExpression),
    ];
    let kind = one_of_or(&map, "type", &types, PathType::PathPrefix);
    let is_short = |text: &str| text.chars().count() <= MAX_PATH;
    let value = map.parsed("value", "a path of at most 1024 characters", |text| is_short(text).then_some(text));
    let value = if map.has("value") { value } else { Some("/") };
    let path = kind.zip(value).and_then(|(kind, value)| match kind {
        PathType::Exact => checked(&map, value).map(PathMatch::Exact),
        PathType::PathPrefix => checked(&map, value).map(PathMatch::PathPrefix),
        PathType::RegularExpression => pattern(&map, "value", value).map(PathMatch::RegularExpression),
    });
    map.finish();
    path
}

fn checked(map: &MapReader<'_>, path: &str) -> Option<String> {
    match path_problem(path) {
        Some(problem) => {
            map.complain("value", format!("{path:?} {problem}"));
            None
        }
        None => Some(path.to_owned()),
    }
}

/// What the schema forbids in a path, so that a request cannot go around the match by writing it in another way.
fn path_problem(path: &str) -> Option<&'static str> {
    let has = |part| path.contains(part);
    if !path.starts_with('/') {
        Some("must begin with a slash")
    } else if has("//") {
        Some("must not contain //, since an empty segment matches nothing")
    } else if has("/./") || has("/../") || path.ends_with("/.") || path.ends_with("/..") {
        Some("must not contain the segments . and .., write the path that they lead to")
    } else if has("%2f") || has("%2F") {
        Some("must not contain %2f, an encoded slash")
    } else if has("#") {
        Some("must not contain #, which no request has in its path")
    } else if !is_path_text(path) {
        Some("must consist of letters, digits, -/._~!$&'()*+,;=:@ and %XX")
    } else {
        None
    }
}

/// Whether a text has only characters of paths (RFC 3986).
pub(super) fn is_path_text(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&b);
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return true,
            [b'%', a, b, after @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => after,
            [b, after @ ..] if allowed(*b) => after,
            _ => return false,
        };
    }
}

/// The same parameter twice is refused, as the API server would; their names have case.
fn query_matches(map: &MapReader<'_>) -> Vec<QueryMatch> {
    let mut matches: Vec<QueryMatch> = Vec::new();
    for entry in limited(map, "queryParams", MAX_QUERY) {
        let name = required(&entry, "name", HEADER_NAME, |text| header_name(text).map(|_| text.to_owned()));
        let is_value = |text: &str| (1..=1024).contains(&text.chars().count());
        let value = text_match(&entry, "a text of 1 to 1024 characters", is_value);
        if let Some(name) = name.as_ref().filter(|name| matches.iter().any(|earlier| earlier.name == **name)) {
            entry.complain("name", format!("comes a second time in this list: {name:?}, allowed: each parameter once"));
        }
        matches.extend(name.zip(value).map(|(name, value)| QueryMatch { name, value }));
        entry.finish();
    }
    matches
}

/// A method of the schema, in upper case.
pub(super) fn method(text: &str) -> Option<Method> {
    METHODS.into_iter().find(|method| method.as_str() == text)
}

fn as_method<S: Serializer>(method: &Option<Method>, serializer: S) -> Result<S::Ok, S::Error> {
    method.as_ref().map(Method::as_str).serialize(serializer)
}
