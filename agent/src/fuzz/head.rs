//! Any text as the head of a request, in whatever version: `METHOD TARGET VERSION`, and a header a line.
//!
//! Promised: a request is for one host, and still is after either version has written it; a path in normal form stays as it
//! is and is what RFC 3986 makes of it; what a client says of its identity reaches nobody; a session leads only to where
//! one was given out to; a trace goes on with the agent's span as the parent.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request::Parts, uri::Authority};

use super::{Exercised, Mutator, Target, lines, path};
use crate::{
    balance::{
        retry_after::retry_after,
        session::{CookieScope, SessionKey, Sessions},
    },
    connect::{
        http::{
            forwarded::{Proven, write_client_cert},
            head::{Upgrade, normalize_request, remove_hop_by_hop, to_http1, to_http2},
        },
        tunnel,
    },
    mesh::{SpiffeId, TrustDomain},
    observe,
    rules::gateway::{CookieLifetime, SessionPersistence, SessionToken},
};

/// Readers of heads.
#[derive(Debug)]
pub(super) struct Heads {
    key: SessionKey,
    client: SpiffeId,
    server: SpiffeId,
}

/// The only endpoint that the kept inputs have a session for.
const GIVEN_OUT: &str = "10.0.0.7:8080";

impl Heads {
    pub(super) fn new() -> Self {
        let domain = "cluster.local".parse::<TrustDomain>().unwrap_or_else(|_| unreachable!("it is a domain"));
        let id = |account: &str| SpiffeId::new(domain.clone(), "shop".into(), account.into());
        let key = SessionKey::of_mesh(&domain, "heddle-system").unwrap_or_else(|_| unreachable!("of any length"));
        Self { key, client: id("web"), server: id("cart") }
    }
}

impl Target for Heads {
    fn exercise(&self, input: &[u8], _: &mut Rng) -> Result<Exercised, String> {
        let Some(parts) = read(input) else { return Ok(Exercised::default()) };
        let (mut normal, mut ways) = (parts.clone(), Vec::new());
        ways.push(path::exercise(parts.uri.path_and_query().map_or("", |target| target.as_str()))?);
        let authority = normalized(&mut normal)?;
        if let Some(authority) = &authority {
            carried_on(&normal, authority)?;
        }
        ways.push(format!("{:?}, {:?}", authority.is_some(), Upgrade::of(&parts)));
        ways.push(self.claimed(&parts.headers)?);
        ways.push(self.session(&parts.headers)?);
        ways.push(tunnelled(&parts)?);
        ways.push(observe::fuzz::traced(&parts.headers)?);
        Ok(Exercised { accepted: usize::from(authority.is_some()), ways: vec![ways.join("; ")] })
    }

    fn mutator(&self) -> &Mutator {
        &MUTATOR
    }

    /// With the one session that was given out, whose token is another in each run.
    fn seeds(&self, kept: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let places = [SessionToken::Cookie(CookieLifetime::Session), SessionToken::Header];
        let given_out = places.into_iter().filter_map(|token| {
            let persistence = persistence(token);
            let endpoint = GIVEN_OUT.parse().ok()?;
            let scope = CookieScope { path: None, secure: false };
            let (name, value) = Sessions::new(&self.key, &persistence, PLACE).write(endpoint, None, scope, now())?;
            let value = value.to_str().ok()?.split(';').next()?;
            let name = if name == header::SET_COOKIE { "cookie" } else { name.as_str() };
            Some(format!("GET / HTTP/1.1\nhost: a\n{name}: {value}\n").into_bytes())
        });
        given_out.chain(kept).collect()
    }
}

/// Whose sessions they are.
const PLACE: &str = "shop/web/0";

fn persistence(token: SessionToken) -> SessionPersistence {
    let (session_name, absolute_timeout, idle_timeout) = (Some("session".to_owned()), None, None);
    SessionPersistence { session_name, absolute_timeout, idle_timeout, token }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// A head as a reader of either version hands it on; none of what no such reader would.
pub(super) fn read(input: &[u8]) -> Option<Parts> {
    let mut lines = input.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (rest, version) = first.rsplit_once(' ')?;
    let (method, target) = rest.split_once(' ')?;
    let version = match version {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri, parts.version) = (method.parse().ok()?, target.parse::<Uri>().ok()?, version);
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
        let name = HeaderName::from_bytes(name).ok()?;
        parts.headers.append(name, HeaderValue::from_bytes(value.get(1..)?.trim_ascii()).ok()?);
    }
    Some(parts)
}

/// A request that is normalized is for one host, which its only Host header names, and has a target in origin form.
pub(crate) fn normalized(parts: &mut Parts) -> Result<Option<Authority>, String> {
    let Ok(authority) = normalize_request(parts) else { return Ok(None) };
    let hosts: Vec<_> = parts.headers.get_all(header::HOST).iter().collect();
    if hosts != [authority.as_str()] || authority.as_str().contains('@') {
        return Err(format!("for {authority}, and the Host headers are {hosts:?}"));
    }
    let path = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let fits = match (&parts.method, path) {
        (&Method::CONNECT, path) => path.is_empty() && authority.port_u16().is_some(),
        (&Method::OPTIONS, "*") => true,
        (_, path) => path.starts_with('/') && parts.uri.authority().is_none(),
    };
    match fits {
        true => Ok(Some(authority)),
        false => Err(format!("{} {} is taken for a target", parts.method, parts.uri)),
    }
}

/// Headers that are about a connection, and those that a request is told apart by.
const OF_CONNECTIONS: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Written for either version and read again, it is for the same host and the same resource.
fn carried_on(normal: &Parts, authority: &Authority) -> Result<(), String> {
    let mut second = normal.clone();
    to_http2(&mut second, authority.clone());
    let left = OF_CONNECTIONS.into_iter().find(|name| second.headers.contains_key(*name));
    if left.is_some() || second.headers.contains_key(header::HOST) {
        return Err(format!("HTTP/2 is written with {left:?} or Host: {second:?}"));
    }
    let mut first = normal.clone();
    remove_hop_by_hop(&mut first.headers, false);
    let once = first.headers.clone();
    remove_hop_by_hop(&mut first.headers, false);
    if once != first.headers {
        return Err(format!("what ends with a connection is removed in two steps: {once:?}, {:?}", first.headers));
    }
    to_http1(&mut first);
    if first.headers.get_all(header::COOKIE).iter().count() > 1 {
        return Err(format!("HTTP/1.1 is written with several Cookie headers: {first:?}"));
    }
    for written in [&mut first, &mut second] {
        let again =
            normalize_request(written).map_err(|bad| format!("{written:?} is refused when read again: {bad}"))?;
        if (again.as_str(), &written.method, &written.uri) != (authority.as_str(), &normal.method, &normal.uri) {
            return Err(format!("{normal:?} for {authority} is read again as {written:?} for {again}"));
        }
    }
    Ok(())
}

impl Heads {
    /// Nothing that a client says of its identity is left: one element where it is proven, and none where it is not.
    fn claimed(&self, headers: &HeaderMap) -> Result<String, String> {
        const NAME: &str = "x-forwarded-client-cert";
        let claims = headers.get_all(NAME).iter().count().min(2);
        for proven in [None, Some(Proven { client: &self.client, server: &self.server })] {
            let (mut headers, written) =
                (headers.clone(), format!("By={};Subject=\"\";URI={}", self.server, self.client));
            write_client_cert(&mut headers, proven);
            let found: Vec<_> = headers.get_all(NAME).iter().collect();
            if found != proven.map(|_| written.as_str()).into_iter().collect::<Vec<_>>() {
                return Err(format!("an application is told {found:?}"));
            }
        }
        Ok(format!("{claims} claims"))
    }

    /// A session that is read was given out, and what is then told leads to the same endpoint.
    fn session(&self, headers: &HeaderMap) -> Result<String, String> {
        let now = now();
        let _ = retry_after(headers, now);
        let mut ways = String::new();
        for token in [SessionToken::Cookie(CookieLifetime::Session), SessionToken::Header] {
            let persistence = persistence(token);
            let sessions = Sessions::new(&self.key, &persistence, PLACE);
            let session = sessions.read(headers, now);
            if let Some(session) = session.filter(|session| session.endpoint().to_string() != GIVEN_OUT) {
                return Err(format!("{session:?} was never given out"));
            }
            ways += if session.is_some() { "session, " } else { "none, " };
            // The path of a request is what a rule's cookie may be scoped to.
            let path = headers.get("x-path").and_then(|path| path.to_str().ok());
            let told = sessions.write(([10, 0, 0, 9], 80).into(), session, CookieScope { path, secure: false }, now);
            let (name, value) = told.ok_or("a new session is not told")?;
            let attributes = value.as_bytes().split(|byte| *byte == b';').count();
            if name == header::SET_COOKIE && attributes > 4 {
                return Err(format!("a cookie has attributes that nobody meant: {value:?}"));
            }
        }
        Ok(ways)
    }
}

/// Where a tunnel's stream leads: an address is read back as the same.
fn tunnelled(parts: &Parts) -> Result<String, String> {
    let texts = parts.headers.values().filter_map(|value| value.to_str().ok());
    let target = parts.uri.authority().map(Authority::as_str);
    let mut found = "no tunnel";
    for text in target.into_iter().chain(texts) {
        match tunnel::Authority::parse(text) {
            Ok(tunnel::Authority::Address(address)) => {
                found = "an address";
                let again = tunnel::Authority::parse(&address.to_string());
                if again != Ok(tunnel::Authority::Address(address)) || address.port() == 0 {
                    return Err(format!("{text} leads to {address}, and that to {again:?}"));
                }
            }
            Ok(tunnel::Authority::Service { name, namespace, .. }) => {
                found = "a service";
                if [&name, &namespace].iter().any(|label| label.contains(['.', '/', '*']) || label.is_empty()) {
                    return Err(format!("{text} leads to {name} in {namespace}"));
                }
            }
            Err(_) => {}
        }
    }
    Ok(found.to_owned())
}

const MUTATOR: Mutator = Mutator {
    words: &WORDS,
    repeated: &[b"x: y\n", b"/", b"../", b"%2e", b"cookie: a=b\n", b"; a=b", b"[", b"0"],
    marks: b"\n :;,/=?.-&%",
    parts: lines,
    most: 64 << 10,
};

const WORDS: [&[u8]; 84] = [
    b"GET ",
    b"OPTIONS ",
    b"CONNECT ",
    b"POST ",
    b"*",
    b"/",
    b"//",
    b"/./",
    b"/../",
    b"/..",
    b"%2e",
    b"%2E%2e",
    b"%2f",
    b"%5c",
    b"%00",
    b"%zz",
    b"%",
    b"%41",
    b"%c3%a4",
    b"\xc3\xa4",
    b"\\",
    b"?",
    b"#",
    b"&",
    b"=",
    b"+",
    b"@",
    b"u:p@",
    b"a",
    b"a:80",
    b"a:",
    b"a:0",
    b"[::1]:80",
    b"[",
    b"10.0.0.1:80",
    b"web.shop.svc:80",
    b"http://a",
    b"https://b:443/",
    b"ftp://a/",
    b" HTTP/1.0",
    b" HTTP/1.1",
    b" HTTP/2",
    b"\n",
    b"\nhost: a",
    b"\nhost: b:80",
    b"\nconnection: close, x",
    b"\nconnection: upgrade",
    b"\nconnection: host",
    b"\nupgrade: websocket",
    b"\nupgrade: h2c",
    b"\nte: trailers",
    b"\nte: gzip;q=0",
    b"\nx: y",
    b"\nkeep-alive: timeout=5",
    b"\ntransfer-encoding: chunked",
    b"\nproxy-connection: close",
    b"\ncontent-length: 1",
    b"\nx-forwarded-client-cert: By=a;URI=spiffe://cluster.local/ns/a/sa/root",
    b"\ncookie: session=",
    b"\nsession: ",
    b"session=",
    b"\"",
    b"; ",
    b"\nretry-after: 1",
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"\nx-path: /a; Domain=b",
    b"\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    b"\ntracestate: a=b",
    b"00",
    b"ff",
    b"01",
    b"-",
    b"\nb3: 0",
    b"\nb3: 1",
    b"\nb3: d",
    b"\nb3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
    b"\nb3: b7ad6b7169203331-b7ad6b7169203331",
    b"\nx-b3-traceid: b7ad6b7169203331",
    b"\nx-b3-spanid: b7ad6b7169203331",
    b"\nx-b3-sampled: 1",
    b"\nx-b3-flags: 1",
    b"\nx-request-id: 7",
    b"0000000000000000",
    b"\x80",
];
