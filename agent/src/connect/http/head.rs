//! Heads of requests and responses between one connection and the next: whom a request is for, what ends with its connection,
//! and what HTTP/1.1 and HTTP/2 write differently. Pure.
//!
//! Framing is the guard's and hyper's. `Date`, `Server` and `Via` stay as they are.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// RFC 9113, 8.2.2: an HTTP/2 message with one of these is malformed.
const OF_CONNECTIONS: [HeaderName; 5] =
    [header::CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE];

/// Headers that `Connection` cannot make a client's neighbours lose.
const NEVER_LISTED: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// Why a request is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// Neither target, `:authority` nor Host say whom it is for.
    #[error("the request names no host; send one Host header")]
    NoAuthority,
    /// Several Host headers, or one that is no host and port.
    #[error("the Host header is not one host with an optional port")]
    Host,
    /// Host and `:authority` differ.
    #[error("Host and :authority name different hosts; send one of them")]
    TwoAuthorities,
    /// `user@host`.
    #[error("the target has user information before its host; send credentials in a header")]
    UserInfo,
    /// `*` with another method than OPTIONS, or CONNECT with anything but a host and a port.
    #[error("the target does not fit the method")]
    Target,
    /// A scheme other than http or https.
    #[error("the target's scheme is neither http nor https")]
    Scheme,
    /// A header in HTTP/2 that only HTTP/1 has.
    #[error("a header of HTTP/1 connections in an HTTP/2 request")]
    ConnectionHeader,
    /// RFC 8441.
    #[error("extended CONNECT is not carried; use an upgrade of HTTP/1.1")]
    ExtendedConnect,
}

/// What a request of HTTP/1.1 asks to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
    /// Any other protocol.
    Other,
}

impl Upgrade {
    /// The upgrade that a request asks for: `Upgrade`, and `Connection: upgrade`.
    pub fn of(parts: &Parts) -> Option<Self> {
        let asks = parts.version == Version::HTTP_11 && lists(&parts.headers, &header::CONNECTION, "upgrade");
        let protocol = parts.headers.get(header::UPGRADE).filter(|_| asks)?;
        Some(if protocol.as_bytes().eq_ignore_ascii_case(b"websocket") { Self::WebSocket } else { Self::Other })
    }
}

/// Makes a request what both versions have in common: a target in origin form (CONNECT's is left), and one Host, that of the
/// target where it has one (RFC 9112, 3.2.2). The authority is whom the request is for.
///
/// # Errors
/// It is answered with 400.
pub fn normalize_request(parts: &mut Parts) -> Result<Authority, BadHead> {
    if parts.version == Version::HTTP_2 {
        refuse_connection_headers(parts)?;
    }
    if parts.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(BadHead::Scheme);
    }
    let host = host(&parts.headers)?;
    let authority = match (parts.uri.authority().cloned(), host) {
        (Some(target), Some(host)) if parts.version == Version::HTTP_2 && !same(&target, &host) => {
            return Err(BadHead::TwoAuthorities);
        }
        (Some(authority), _) | (None, Some(authority)) => authority,
        (None, None) => return Err(BadHead::NoAuthority),
    };
    let authority = without_user(authority)?;
    check_target(parts, &authority)?;
    let value = HeaderValue::try_from(authority.as_str()).map_err(|_| BadHead::Host)?;
    parts.headers.insert(header::HOST, value);
    Ok(authority)
}

/// Whom a request is for whose target does not say it: the part of [`normalize_request`] that is about headers.
///
/// # Errors
/// It is answered with 400.
pub fn authority(headers: &HeaderMap) -> Result<Authority, BadHead> {
    without_user(host(headers)?.ok_or(BadHead::NoAuthority)?)
}

/// Removes what ends with the connection that a message came over: the headers that `Connection` lists, and those that are
/// known to. An upgrade is kept where it goes on; of `TE`, that trailers are understood.
pub fn remove_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    let upgrade = headers.get(header::UPGRADE).cloned().filter(|_| keep_upgrade);
    let trailers = lists(headers, &header::TE, "trailers");
    let listed: Vec<HeaderName> = elements(headers, &header::CONNECTION).filter_map(|name| name.parse().ok()).collect();
    for name in listed.iter().chain(&OF_CONNECTIONS).chain([&header::TE]) {
        if !NEVER_LISTED.contains(name) {
            headers.remove(name);
        }
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// As HTTP/1.1 writes a normalized request: Host, an origin-form target, one Cookie header (RFC 9113, 8.2.3).
pub fn to_http1(parts: &mut Parts) {
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    if parts.headers.contains_key(header::TE) {
        let both = parts.headers.contains_key(header::UPGRADE);
        let listed = HeaderValue::from_static(if both { "upgrade, te" } else { "te" });
        parts.headers.insert(header::CONNECTION, listed);
    }
    let crumbs: Vec<&[u8]> = parts.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1 {
        let joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]));
        if let Ok(mut joined) = joined {
            joined.set_sensitive(true);
            parts.headers.insert(header::COOKIE, joined);
        }
    }
}

/// As HTTP/2 writes a normalized request for this authority: in the target, without Host. It has no upgrades.
pub fn to_http2(parts: &mut Parts, authority: Authority) {
    parts.version = Version::HTTP_2;
    parts.extensions.clear();
    remove_hop_by_hop(&mut parts.headers, false);
    parts.headers.remove(header::HOST);
    let mut target = std::mem::take(&mut parts.uri).into_parts();
    target.authority = Some(authority);
    if parts.method != Method::CONNECT {
        target.scheme = Some(Scheme::HTTP);
        target.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    }
    // Whatever the parts are, they were those of a target before: they go together.
    parts.uri = Uri::from_parts(target).unwrap_or_default();
}

/// A response on its way to a client of this version.
pub fn response_to(version: Version, parts: &mut http::response::Parts) {
    let switches = parts.status == http::StatusCode::SWITCHING_PROTOCOLS && version == Version::HTTP_11;
    remove_hop_by_hop(&mut parts.headers, switches);
    parts.headers.remove(header::TE);
    parts.version = version;
}

fn refuse_connection_headers(parts: &mut Parts) -> Result<(), BadHead> {
    if parts.extensions.get::<hyper::ext::Protocol>().is_some() {
        return Err(BadHead::ExtendedConnect);
    }
    if OF_CONNECTIONS.iter().any(|name| parts.headers.contains_key(name)) {
        return Err(BadHead::ConnectionHeader);
    }
    Ok(())
}

fn without_user(authority: Authority) -> Result<Authority, BadHead> {
    if authority.as_str().contains('@') { Err(BadHead::UserInfo) } else { Ok(authority) }
}

fn host(headers: &HeaderMap) -> Result<Option<Authority>, BadHead> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => Authority::try_from(host.as_bytes()).map(Some).map_err(|_| BadHead::Host),
        (Some(_), Some(_)) => Err(BadHead::Host),
    }
}

/// Names are the same in any case, and port 80 is what no port means.
fn same(one: &Authority, other: &Authority) -> bool {
    one.host().eq_ignore_ascii_case(other.host()) && one.port_u16().unwrap_or(80) == other.port_u16().unwrap_or(80)
}

fn check_target(parts: &mut Parts, authority: &Authority) -> Result<(), BadHead> {
    if parts.method == Method::CONNECT {
        // A path beside it would be what policies and routes judge, and nothing that CONNECT asks for.
        let alone = parts.uri.scheme().is_none() && parts.uri.path_and_query().is_none();
        let fits = alone && authority.port_u16().is_some();
        return if fits { Ok(()) } else { Err(BadHead::Target) };
    }
    // An empty one says that it is "/", and is written as nothing (`http://a#b`).
    let path = parts.uri.path_and_query().filter(|path| path.as_str() != "/");
    let path = path.cloned().unwrap_or(PathAndQuery::from_static("/"));
    match path.as_str() {
        "*" if parts.method != Method::OPTIONS => return Err(BadHead::Target),
        "*" => {}
        // `OPTIONS http://a` asks about the server too, but its target in origin form would be ambiguous.
        text if !text.starts_with('/') => return Err(BadHead::Target),
        _ => {}
    }
    parts.uri = Uri::from(path);
    Ok(())
}

fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    elements(headers, name).any(|element| element.eq_ignore_ascii_case(wanted))
}

fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use http::Request;

    use super::*;

    fn request(version: Version, method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().version(version).method(method).uri(target);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_is_for_one_host_or_refused() {
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        let host = |host| ("host", host);
        for (version, method, target, headers, expected) in [
            (one, "GET", "/x?y", vec![host("a:81")], Ok(("a:81", "/x?y"))),
            (one, "GET", "http://b/x", vec![host("a")], Ok(("b", "/x"))),
            (one, "GET", "http://b", vec![host("a")], Ok(("b", "/"))),
            (one, "GET", "http://b#/x?y", vec![host("a")], Ok(("b", "/"))),
            (one, "GET", "/", vec![], Err(BadHead::NoAuthority)),
            (one, "GET", "/", vec![host("a"), host("a")], Err(BadHead::Host)),
            (one, "GET", "/", vec![host("a b")], Err(BadHead::Host)),
            (one, "GET", "/", vec![host("u@a")], Err(BadHead::UserInfo)),
            (one, "GET", "http://u:p@b/x", vec![host("b")], Err(BadHead::UserInfo)),
            (one, "GET", "ftp://b/x", vec![host("b")], Err(BadHead::Scheme)),
            (one, "GET", "*", vec![host("a")], Err(BadHead::Target)),
            (one, "OPTIONS", "*", vec![host("a")], Ok(("a", "*"))),
            (one, "CONNECT", "a:443", vec![host("b")], Ok(("a:443", ""))),
            (one, "CONNECT", "a", vec![host("a:443")], Err(BadHead::Target)),
            (one, "CONNECT", "/x", vec![host("a:443")], Err(BadHead::Target)),
            (two, "GET", "http://a/x", vec![], Ok(("a", "/x"))),
            (two, "GET", "http://a/x", vec![host("A:80")], Ok(("a", "/x"))),
            (two, "GET", "http://a/x", vec![host("b")], Err(BadHead::TwoAuthorities)),
            (two, "GET", "http://a/x", vec![("connection", "close")], Err(BadHead::ConnectionHeader)),
            (two, "GET", "http://a/x", vec![("transfer-encoding", "chunked")], Err(BadHead::ConnectionHeader)),
        ] {
            let mut parts = request(version, method, target, &headers);
            let authority = normalize_request(&mut parts);
            let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
            let found = authority.as_ref().map(|authority| (authority.as_str(), path)).map_err(|error| *error);
            assert_eq!(found, expected, "{version:?} {method} {target} {headers:?}");
            if let Ok(authority) = authority {
                let hosts: Vec<_> = parts.headers.get_all("host").iter().collect();
                assert_eq!(hosts, [authority.as_str()]);
                let written = parts.uri.to_string();
                assert!(method == "CONNECT" || written == path, "{target} is written as {written}");
            }
        }
    }

    #[test]
    fn what_belongs_to_a_connection_ends_with_it() {
        let sent = [
            ("connection", "close, X-Own, host, content-length"),
            ("x-own", "1"),
            ("host", "a"),
            ("content-length", "5"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "deflate, trailers"),
            ("upgrade", "h2c"),
            ("x-kept", "1"),
        ];
        let mut parts = request(Version::HTTP_11, "GET", "/", &sent);
        assert_eq!(Upgrade::of(&parts), None);
        remove_hop_by_hop(&mut parts.headers, false);
        let mut names: Vec<_> = parts.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "host", "te", "x-kept"]);
        assert_eq!(parts.headers["te"], "trailers");
    }

    #[test]
    fn an_upgrade_goes_on_where_it_is_kept() {
        let sent = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), ("host", "a")];
        let mut parts = request(Version::HTTP_11, "GET", "/", &sent);
        assert_eq!(Upgrade::of(&parts), Some(Upgrade::WebSocket));
        remove_hop_by_hop(&mut parts.headers, true);
        assert_eq!(
            (&parts.headers["connection"], &parts.headers["upgrade"]),
            (&"upgrade".parse().unwrap(), &"WebSocket".parse().unwrap())
        );
        parts.version = Version::HTTP_10;
        assert_eq!(Upgrade::of(&parts), None);
    }

    #[test]
    fn versions_write_one_request_in_their_ways() {
        let sent = [("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")];
        let mut parts = request(Version::HTTP_2, "GET", "http://a:81/x?y", &sent);
        let authority = normalize_request(&mut parts).unwrap();
        to_http1(&mut parts);
        assert_eq!((parts.uri.to_string().as_str(), &parts.headers["host"]), ("/x?y", &"a:81".parse().unwrap()));
        assert_eq!(parts.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        assert_eq!(parts.headers["connection"], "te");
        to_http2(&mut parts, authority);
        assert_eq!((parts.uri.to_string().as_str(), parts.version), ("http://a:81/x?y", Version::HTTP_2));
        assert!(!parts.headers.contains_key("host") && !parts.headers.contains_key("connection"));
        assert_eq!(parts.headers["te"], "trailers");
    }

    #[test]
    fn only_a_switch_of_protocols_keeps_its_connection_headers_in_responses() {
        for (status, version, kept) in
            [(101, Version::HTTP_11, true), (200, Version::HTTP_11, false), (101, Version::HTTP_2, false)]
        {
            let response = http::Response::builder().status(status).header("connection", "upgrade");
            let mut parts = response.header("upgrade", "websocket").body(()).unwrap().into_parts().0;
            response_to(version, &mut parts);
            assert_eq!((parts.headers.contains_key("upgrade"), parts.headers.contains_key("connection")), (kept, kept));
        }
    }
}
