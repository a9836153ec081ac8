//! Filters that change where a request goes: RequestRedirect and URLRewrite.

use std::num::NonZeroU16;

use http::StatusCode;
use serde::{Serialize, Serializer};

use super::{
    super::gateway::{Member, PRECISE_HOSTNAME, Union, as_status, is_precise_hostname, one_of, port, write_member},
    Scheme,
    matches::{MAX_PATH, is_path_text},
};
use crate::config::yaml::{MapReader, Value};

/// What redirects may answer with.
const STATUSES: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

/// HTTPRequestRedirectFilter: what is not given is as in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRedirect {
    /// The location's scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The location's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The location's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathModifier>,
    /// The location's port; without one that of `scheme`, or else the Service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    /// 301, 302, 303, 307 or 308.
    #[serde(serialize_with = "as_status")]
    pub status_code: StatusCode,
}

/// HTTPURLRewriteFilter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UrlRewrite {
    /// The host that the backend sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The path that the backend sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathModifier>,
}

/// HTTPPathModifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// A path for the whole path; the query stays.
    ReplaceFullPath(String),
    /// A path, or nothing, for the prefix that matched.
    ReplacePrefixMatch(String),
}

const MODIFIERS: Union<PathModifier> = Union(&[
    Member {
        name: "ReplaceFullPath",
        field: "replaceFullPath",
        read: Ok(|map, field| {
            let allowed = "a path of at most 1024 characters, which begins with / and has no query";
            let is_path = |text: &str| text.starts_with('/') && is_short_path(text);
            map.parsed(field, allowed, |text| is_path(text).then(|| PathModifier::ReplaceFullPath(text.to_owned())))
        }),
    },
    Member {
        name: "ReplacePrefixMatch",
        field: "replacePrefixMatch",
        read: Ok(|map, field| {
            let allowed = "an empty text, or a path of at most 1024 characters, which begins with / and has no query";
            let is_path = |text: &str| text.is_empty() || text.starts_with('/') && is_short_path(text);
            map.parsed(field, allowed, |text| is_path(text).then(|| PathModifier::ReplacePrefixMatch(text.to_owned())))
        }),
    },
]);

fn is_short_path(text: &str) -> bool {
    text.len() <= MAX_PATH && is_path_text(text)
}

/// Reads the redirect under a key.
pub(super) fn redirect(parent: &MapReader<'_>, key: &'static str) -> Option<RequestRedirect> {
    let map = parent.map(key)?;
    let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    let scheme = if map.has("scheme") { one_of(&map, "scheme", &schemes) } else { None };
    let (hostname, path, port) = (hostname(&map), path(&map), port(&map, "port"));
    let status_code = map.scalar("statusCode", "301, 302, 303, 307 or 308", |node| match node.value {
        Value::Integer(code) => STATUSES.into_iter().find(|status| i128::from(status.as_u16()) == code),
        _ => None,
    });
    map.tolerate(&["scheme"]);
    map.finish();
    Some(RequestRedirect { scheme, hostname, path, port, status_code: status_code.unwrap_or(StatusCode::FOUND) })
}

/// Reads the rewrite under a key.
pub(super) fn rewrite(parent: &MapReader<'_>, key: &'static str) -> Option<UrlRewrite> {
    let map = parent.map(key)?;
    let (hostname, path) = (hostname(&map), path(&map));
    map.finish();
    Some(UrlRewrite { hostname, path })
}

fn hostname(map: &MapReader<'_>) -> Option<String> {
    map.parsed("hostname", PRECISE_HOSTNAME, |text| is_precise_hostname(text).then(|| text.to_owned()))
}

fn path(map: &MapReader<'_>) -> Option<PathModifier> {
    let path = map.map("path")?;
    let modifier = MODIFIERS.read(&path);
    path.finish();
    modifier
}

impl Serialize for PathModifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ReplaceFullPath(path) => write_member(serializer, "ReplaceFullPath", "replaceFullPath", path),
            Self::ReplacePrefixMatch(path) => {
                write_member(serializer, "ReplacePrefixMatch", "replacePrefixMatch", path)
            }
        }
    }
}
