//! The CORS filter: which other sites' pages may call, and with what.

use std::{
    fmt,
    num::{NonZeroU16, NonZeroU32},
};

use http::{HeaderName, Method};
use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{
    super::gateway::{HEADER_NAME, header_name, is_address, is_list},
    matches::{METHOD, METHODS, method},
};
use crate::config::yaml::MapReader;

/// Entries of the lists of origins and headers, by upstream's schema.
const MAX_NAMES: usize = 64;

const ORIGIN: &str = "\"*\", or an origin such as https://shop.example, http://*.example:8080 or https://*";

/// HTTPCORSFilter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CorsFilter {
    /// Which sites may read responses.
    #[serde(skip_serializing_if = "AllowList::is_empty")]
    pub allow_origins: AllowList<Origin>,
    /// Whether they may send the user's cookies and certificates.
    pub allow_credentials: bool,
    /// Which methods they may use, beside GET, HEAD and POST.
    #[serde(skip_serializing_if = "AllowList::is_empty")]
    pub allow_methods: AllowList<Method>,
    /// Which headers they may send.
    #[serde(skip_serializing_if = "AllowList::is_empty")]
    pub allow_headers: AllowList<HeaderName>,
    /// Which headers of responses they may read.
    #[serde(skip_serializing_if = "AllowList::is_empty")]
    pub expose_headers: AllowList<HeaderName>,
    /// How long a browser may keep the answer, in seconds.
    pub max_age: NonZeroU32,
}

/// What is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowList<T> {
    /// Everything: `["*"]`.
    Any,
    /// These, each once.
    Only(Vec<T>),
}

/// An origin, or a set of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The scheme.
    pub scheme: Scheme,
    /// The host.
    pub host: OriginHost,
    /// The port; that of the scheme where there is none.
    pub port: Option<NonZeroU16>,
}

/// The schemes of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In plaintext.
    Http,
    /// Over TLS.
    Https,
}

/// The hosts of origins, in lower case, as browsers write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginHost {
    /// `*`: every host.
    Any,
    /// `*.example.com`: every host with one or more labels before this name.
    Below(String),
    /// This host.
    Exact(String),
}

/// Reads the filter under a key.
pub(super) fn read(parent: &MapReader<'_>, key: &'static str) -> Option<CorsFilter> {
    let map = parent.map(key)?;
    let allow_origins = allow_list(&map, "allowOrigins", ORIGIN, MAX_NAMES, origin);
    let allow_methods = allow_list(&map, "allowMethods", &format!("\"*\", {METHOD}"), METHODS.len(), method);
    let header = format!("\"*\", or {HEADER_NAME}");
    let allow_headers = allow_list(&map, "allowHeaders", &header, MAX_NAMES, header_name);
    let expose_headers = allow_list(&map, "exposeHeaders", &header, MAX_NAMES, header_name);
    let allow_credentials = map.boolean("allowCredentials").unwrap_or(false);
    let allowed = "a whole number of seconds from 1 to 2147483647";
    let max_age = map.integer("maxAge", allowed, |age: &u32| (1..=i32::MAX.unsigned_abs()).contains(age));
    map.finish();
    Some(CorsFilter {
        allow_origins,
        allow_credentials,
        allow_methods,
        allow_headers,
        expose_headers,
        // The schema's default, which is the Fetch standard's.
        max_age: NonZeroU32::new(max_age.unwrap_or(5))?,
    })
}

fn allow_list<T: PartialEq>(
    map: &MapReader<'_>,
    key: &'static str,
    allowed: &str,
    most: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> AllowList<T> {
    if !is_list(map, key, "a list of texts", 0..=most) {
        return AllowList::Only(Vec::new());
    }
    let entries: Vec<Option<T>> = map.scalars(key, allowed, |node| match node.text()? {
        "*" => Some(None),
        text => parse(text).map(Some),
    });
    let any = entries.iter().any(Option::is_none);
    let mut only = Vec::with_capacity(entries.len());
    for entry in entries.into_iter().flatten() {
        if only.contains(&entry) {
            map.complain(key, "has an entry twice, allowed: each once");
        } else {
            only.push(entry);
        }
    }
    if any && !only.is_empty() {
        map.complain(key, "has \"*\" beside other entries, allowed: \"*\" alone, since it means them all");
    }
    if any { AllowList::Any } else { AllowList::Only(only) }
}

fn origin(text: &str) -> Option<Origin> {
    let (scheme, rest) = text.split_once("://").filter(|_| text.len() <= 253)?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port.parse().ok()?)),
        Some(_) => return None,
        None => (rest, None),
    };
    Some(Origin { scheme, host: origin_host(host)?, port })
}

fn origin_host(text: &str) -> Option<OriginHost> {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_name = |name: &str| name.split('.').all(is_label);
    match (text, text.strip_prefix("*.")) {
        ("*", _) => Some(OriginHost::Any),
        (_, Some(name)) if is_name(name) && !is_address(name) => Some(OriginHost::Below(name.to_ascii_lowercase())),
        (name, None) if is_name(name) => Some(OriginHost::Exact(name.to_ascii_lowercase())),
        _ => None,
    }
}

impl<T> AllowList<T> {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Only(entries) if entries.is_empty())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://")?;
        match &self.host {
            OriginHost::Any => f.write_str("*")?,
            OriginHost::Below(name) => write!(f, "*.{name}")?,
            OriginHost::Exact(name) => f.write_str(name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl<T: fmt::Display> Serialize for AllowList<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        match self {
            Self::Any => list.serialize_element("*")?,
            Self::Only(entries) => entries.iter().try_for_each(|entry| list.serialize_element(&entry.to_string()))?,
        }
        list.end()
    }
}
