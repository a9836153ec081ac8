//! The CORS filter: answers to browsers that ask before they call, and what they may read of answers (Fetch standard, "CORS
//! protocol"; Gateway API, HTTPCORSFilter).
//!
//! Where a rule has the filter, the filter alone decides: what the backend says about CORS to a request with an `Origin` is
//! taken away. A request of a site that is not allowed is forwarded all the same, since it may be none of a browser; it is
//! the browser that keeps the answer from the site.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{Answer, Request};
use crate::rules::http_route::{AllowList, CorsFilter, Origin, OriginHost, Scheme};

/// Headers of responses that every page may read (Fetch, "CORS-safelisted response-header name"), and one that none may.
const NEVER_EXPOSED_BY_NAME: [HeaderName; 8] = [
    header::CACHE_CONTROL,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::PRAGMA,
    header::SET_COOKIE,
];

/// What the response to one request says about CORS.
#[derive(Clone, Debug)]
pub(super) struct CorsAnswer<'t> {
    filter: &'t CorsFilter,
    /// The `Origin` of the request, and whether it is allowed.
    origin: Option<(HeaderValue, bool)>,
}

/// Whether a browser asks what it may send.
pub(super) fn is_preflight(request: &Request<'_>) -> bool {
    *request.method == Method::OPTIONS
        && request.headers.contains_key(header::ORIGIN)
        && request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to such a question: 204, with what is allowed, or without where the site is not.
pub(super) fn preflight(filter: &CorsFilter, request: &Request<'_>) -> Answer {
    let mut headers = HeaderMap::new();
    let answer = CorsAnswer::new(filter, request);
    answer.say_origin(&mut headers);
    if answer.is_granted() {
        let asked = |name: HeaderName| request.headers.get(name).cloned();
        let methods = list(&filter.allow_methods, Method::as_str);
        let names = list(&filter.allow_headers, HeaderName::as_str);
        let by_wish = |wish: HeaderName| if filter.allow_credentials { asked(wish) } else { Some(ANY) };
        let methods = methods.unwrap_or_else(|| by_wish(header::ACCESS_CONTROL_REQUEST_METHOD));
        let names = names.unwrap_or_else(|| by_wish(header::ACCESS_CONTROL_REQUEST_HEADERS));
        say(&mut headers, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        say(&mut headers, header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, filter.max_age.get().into());
    }
    Answer { status: StatusCode::NO_CONTENT, headers }
}

const ANY: HeaderValue = HeaderValue::from_static("*");

impl<'t> CorsAnswer<'t> {
    pub(super) fn new(filter: &'t CorsFilter, request: &Request<'_>) -> Self {
        let origin = request.headers.get(header::ORIGIN);
        Self { filter, origin: origin.map(|origin| (origin.clone(), is_allowed(filter, origin))) }
    }

    fn is_granted(&self) -> bool {
        matches!(self.origin, Some((_, true)))
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        if self.origin.is_some() {
            headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
            headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
        }
        if self.is_granted() {
            let exposed = list(&self.filter.expose_headers, HeaderName::as_str);
            let exposed = exposed.unwrap_or_else(|| match self.filter.allow_credentials {
                true => all_names(headers),
                false => Some(ANY),
            });
            say(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        self.say_origin(headers);
    }

    /// With credentials a browser takes no `*`. What depends on the origin says so, or a cache would give one site the
    /// answer of another.
    fn say_origin(&self, headers: &mut HeaderMap) {
        let is_the_same_for_all = self.filter.allow_origins == AllowList::Any && !self.filter.allow_credentials;
        if !is_the_same_for_all {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some((origin, true)) = &self.origin {
            let value = if is_the_same_for_all { ANY } else { origin.clone() };
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
            if self.filter.allow_credentials {
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
    }
}

fn say(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// The entries with commas between. The outer `None` is "everything", the inner one "nothing".
fn list<T>(allowed: &AllowList<T>, text: fn(&T) -> &str) -> Option<Option<HeaderValue>> {
    match allowed {
        AllowList::Any => None,
        AllowList::Only(entries) => Some(joined(entries.iter().map(text))),
    }
}

fn joined<'n>(names: impl Iterator<Item = &'n str>) -> Option<HeaderValue> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { None } else { HeaderValue::from_str(&names.join(", ")).ok() }
}

fn all_names(headers: &HeaderMap) -> Option<HeaderValue> {
    joined(headers.keys().filter(|name| !NEVER_EXPOSED_BY_NAME.contains(name)).map(HeaderName::as_str))
}

fn is_allowed(filter: &CorsFilter, origin: &HeaderValue) -> bool {
    match &filter.allow_origins {
        AllowList::Any => true,
        AllowList::Only(origins) => match origin.to_str().ok().and_then(Site::parse) {
            Some(site) => origins.iter().any(|origin| site.is_of(origin)),
            // `null`, or what no browser writes.
            None => false,
        },
    }
}

/// The parts of an `Origin`, in lower case.
struct Site {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl Site {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = match text.split_once("://")? {
            ("http", rest) => (Scheme::Http, rest),
            ("https", rest) => (Scheme::Https, rest),
            _ => return None,
        };
        // The colons of an IPv6 address are in brackets.
        let colon = rest.rfind(':').filter(|colon| rest.rfind(']').is_none_or(|bracket| bracket < *colon));
        let (host, port) = match colon {
            Some(colon) => (&rest[..colon], rest[colon + 1..].parse().ok()?),
            None => (rest, port_of(scheme)),
        };
        (!host.is_empty()).then(|| Self { scheme, host: host.to_owned(), port })
    }

    fn is_of(&self, origin: &Origin) -> bool {
        let has_host = match &origin.host {
            OriginHost::Any => true,
            OriginHost::Exact(host) => self.host == *host,
            OriginHost::Below(name) => {
                let labels = self.host.strip_suffix(name.as_str()).and_then(|rest| rest.strip_suffix('.'));
                labels.is_some_and(|labels| !labels.is_empty())
            }
        };
        let port = origin.port.map_or_else(|| port_of(origin.scheme), Into::into);
        has_host && self.scheme == origin.scheme && self.port == port
    }
}

/// The port that a scheme has without saying so.
pub(super) fn port_of(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}
