//! One case: sent for real, and where what came of it is not what is expected.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use heddle_tests::peer::http::report::{Answer, Ask, Line, Raw, Seen};

use super::super::tools::is_share;
use super::case::{Case, Connection, Expected, Group, Sent};
use super::stage::Stage;
use crate::world::{SOON, eventually};

/// Requests of which shares are counted.
const MANY: u32 = 1_000;
/// The header that tells the requests of one case from all others.
const MARK: &str = "x-case";

/// What was found in a case.
#[derive(Default)]
pub(super) struct Told {
    /// Whether anything was looked at.
    pub(super) judged: bool,
    pub(super) differences: Vec<String>,
}

impl Stage {
    pub(super) fn judge(&mut self, group: &Group, case: &Case) -> Result<Told> {
        self.next += 1;
        match (&case.request, &case.connection) {
            // Which of several backends is drawn cannot be chosen here.
            (Some(sent), None) if sent.draw != 0.0 => Ok(Told::default()),
            (None, Some(connection)) if connection.draw != 0.0 => Ok(Told::default()),
            // HTTP/1.1 has no request without a target.
            (Some(sent), None) if sent.path.is_empty() => Ok(Told::default()),
            (Some(sent), None) => self.of_request(group, sent, &case.expect),
            (None, Some(connection)) => self.of_connection(connection, &case.expect),
            _ => anyhow::bail!("a case has a request or a connection"),
        }
    }

    fn of_request(&mut self, group: &Group, sent: &Sent, expected: &Expected) -> Result<Told> {
        let mut told = Told { judged: true, ..Told::default() };
        let ask = self.ask(sent)?;
        if expected.share.is_some() || expected.mirrored.is_some() {
            self.of_many(ask, sent, expected, &mut told)?;
            return Ok(told);
        }
        if expected.refused {
            // No route of requests decides, so a route of connections does, which carries HTTP as any other bytes.
            let answer = self.client(&sent.from)?.ask(ask)?;
            told.compare("carried", &200, &answer.status);
            return Ok(told);
        }
        if sent.host.is_empty() || sent.host.contains('/') {
            // A decision has something to say about such a host; a server of HTTP has to refuse it (RFC 9112, 3.2).
            let answer = self.client(&sent.from)?.ask(ask)?;
            told.compare("status", &400, &answer.status);
            told.compare("reached a server", &0, &self.seen(&self.next.to_string()).len());
            return Ok(told);
        }
        let answer = self.client(&sent.from)?.ask(ask)?;
        let mark = self.next.to_string();
        let is_answered_by_mesh =
            expected.status.is_some() || expected.grpc_status.is_some() || expected.location.is_some();
        if is_answered_by_mesh {
            of_mesh(&answer, sent, expected, &mut told);
            told.compare("reached a server", &0, &self.seen(&mark).len());
        } else {
            self.of_server(group, sent, &answer, expected, &mut told);
        }
        let mut headers = answer.headers.clone();
        for (_, value) in headers.iter_mut().filter(|(name, _)| name == "access-control-expose-headers") {
            // What a star stands for has the server's own two headers in it.
            *value = value.replace(", x-server, date", "");
        }
        told.headers("response", &expected.response, &headers);
        if let Some(mirrors) = &expected.mirrors {
            self.of_mirrors(&mark, mirrors, &answer, &mut told);
        }
        if !told.differences.is_empty() {
            told.differences
                .push(format!("found: {} {:?} {:?} {}", answer.status, answer.error, answer.headers, answer.body));
        }
        Ok(told)
    }

    /// What the server saw.
    fn of_server(&self, group: &Group, sent: &Sent, answer: &Answer, expected: &Expected, told: &mut Told) {
        told.compare("status", &200, &answer.status);
        // The server's body may be one that an answer must not have.
        let seen = answer.seen().or_else(|| self.seen(&self.next.to_string()).into_iter().next()).unwrap_or_default();
        let by_rule = expected.rule.as_deref().and_then(|rule| only_backend(group, rule));
        let implicit = expected.implicit.then(|| sent.to.clone());
        told.wanted("backend", &expected.backend.clone().or(by_rule).or(implicit), &seen.server);
        told.wanted("path", &expected.path, &seen.target);
        told.wanted("host", &expected.host, &seen.host.clone().unwrap_or_default());
        let mut headers = seen.headers.clone();
        headers.retain(|(name, _)| name != "host");
        headers.extend(seen.host.clone().map(|host| ("host".to_owned(), host)));
        told.headers("headers", &expected.headers, &headers);
    }

    /// Copies come some time after the answer, or never.
    fn of_mirrors(&self, mark: &str, mirrors: &[String], answer: &Answer, told: &mut Told) {
        let mut wanted: Vec<String> = mirrors.iter().filter(|mirror| *mirror != "dropped").cloned().collect();
        wanted.extend(answer.header("x-server"));
        wanted.sort();
        let found = || {
            let mut servers: Vec<String> = self.seen(mark).into_iter().map(|seen| seen.server).collect();
            servers.sort();
            servers
        };
        let _ = eventually("all copies have come", SOON / 2, || Ok(found() == wanted));
        std::thread::sleep(Duration::from_millis(100));
        told.compare("request and copies", &wanted, &found());
    }

    fn of_many(&mut self, ask: Ask, sent: &Sent, expected: &Expected, told: &mut Told) -> Result<()> {
        let answers = self.client(&sent.from)?.all(ask.times(MANY, 8))?;
        let mut found = BTreeMap::<String, usize>::new();
        for answer in &answers {
            let who = if answer.status == 200 {
                answer.header("x-server").unwrap_or_default()
            } else {
                answer.status.to_string()
            };
            *found.entry(who).or_default() += 1;
        }
        if let Some(share) = &expected.share {
            let names = |map: &BTreeMap<String, usize>| map.keys().cloned().collect::<Vec<_>>();
            told.compare("shares", &names(share), &names(&found));
            for (name, wanted) in share {
                let count = found.get(name).copied().unwrap_or(0);
                if !is_share(count, MANY, *wanted as f64 / 1_000.0) {
                    told.compare(&format!("share of {name}"), wanted, &count);
                }
            }
        }
        if let Some(mirrored) = expected.mirrored {
            let mark = self.next.to_string();
            let answered = found.values().sum::<usize>();
            let copies = || self.seen(&mark).len().saturating_sub(answered);
            // Until no more come.
            let mut last = usize::MAX;
            eventually("the copies have come", SOON, || {
                std::thread::sleep(Duration::from_millis(500));
                let before = std::mem::replace(&mut last, copies());
                Ok(before == last)
            })?;
            if !is_share(last, MANY, mirrored as f64 / 1_000.0) {
                told.compare("mirrored", &mirrored, &last);
            }
        }
        Ok(())
    }

    fn of_connection(&mut self, connection: &Connection, expected: &Expected) -> Result<Told> {
        let mut told = Told { judged: true, ..Told::default() };
        let bytes = match &connection.sni {
            Some(name) => client_hello(name)?,
            None => "\u{1}no HTTP and no TLS".to_owned(),
        };
        let to = self.address(&connection.to)?;
        let raw = Raw { to, pieces: vec![bytes], pause_ms: 0, wait_ms: 5_000, until: None };
        let answer = self.client(&connection.from)?.pieces(raw)?;
        let server = answer.received.trim().to_owned();
        // Where only HTTP is expected, anything else is answered as a bad request.
        let is_refused = server.is_empty() || server.starts_with("HTTP/1.1 400");
        told.compare("refused", &expected.refused, &is_refused);
        told.compare("left open", &false, &(answer.ended == "open"));
        let implicit = expected.implicit.then(|| connection.to.clone());
        told.wanted("backend", &expected.backend.clone().or(implicit), &server);
        Ok(told)
    }

    fn ask(&self, sent: &Sent) -> Result<Ask> {
        let method = sent.method.clone().unwrap_or_else(|| if sent.grpc { "POST" } else { "GET" }.to_owned());
        let mut ask = Ask::to(self.address(&sent.to)?).target(&sent.path).host(&sent.host).method(&method);
        ask.headers.extend(sent.headers.iter().cloned());
        ask.headers
            .extend(sent.answered.iter().map(|(name, value)| ("x-answer".to_owned(), format!("{name}: {value}"))));
        ask.headers.push((MARK.to_owned(), self.next.to_string()));
        ask.timeout_ms = 10_000;
        if sent.grpc {
            ask = ask.header("content-type", "application/grpc").header("te", "trailers").h2();
        }
        Ok(ask)
    }

    fn client(&mut self, namespace: &str) -> Result<&mut super::super::tools::Client> {
        self.clients.get_mut(namespace).with_context(|| format!("no client in {namespace}"))
    }

    /// What the servers saw of a case.
    fn seen(&self, mark: &str) -> Vec<Seen> {
        let requests = self.servers.iter().flat_map(super::super::tools::Server::requests);
        requests.filter(|seen| seen.header(MARK).as_deref() == Some(mark)).collect()
    }
}

/// What the mesh answered.
fn of_mesh(answer: &Answer, sent: &Sent, expected: &Expected, told: &mut Told) {
    if sent.grpc {
        let number = answer
            .header("grpc-status")
            .or_else(|| heddle_tests::peer::http::report::values(&answer.trailers, "grpc-status"));
        let name =
            number.and_then(|number| NAMES.get(number.parse::<usize>().ok()?).copied()).unwrap_or("none").to_owned();
        told.compare("status", &200, &answer.status);
        told.wanted("grpc", &expected.grpc_status, &name);
    } else {
        told.wanted("status", &expected.status, &answer.status);
    }
    told.wanted("location", &expected.location, &answer.header("location").unwrap_or_default());
}

/// gRPC statuses by their numbers, as far as the suite names them.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The one backend of the rule `route#rule` or `route#rule.match`, if it has one only.
fn only_backend(group: &Group, rule: &str) -> Option<String> {
    let (name, place) = rule.split_once('#')?;
    let number: usize = place.split('.').next()?.parse().ok()?;
    let mut routes = group.routes.iter().filter(|route| route.name == name);
    let (route, None) = (routes.next()?, routes.next()) else { return None };
    let [backend] = route.spec.get("rules")?.get(number)?.get("backendRefs")?.as_array()?.as_slice() else {
        return None;
    };
    let namespace = backend.get("namespace").and_then(|namespace| namespace.as_str()).unwrap_or(&route.namespace);
    Some(format!("{namespace}/{}:{}", backend["name"].as_str()?, backend["port"]))
}

/// The first bytes of a TLS client that asks for a name, each a character.
fn client_hello(name: &str) -> Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name.to_owned().try_into()?)?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes)?;
    Ok(bytes.into_iter().map(char::from).collect())
}

impl Told {
    fn compare<T: PartialEq + Debug>(&mut self, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.differences.push(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    }

    /// Where anything is expected of it.
    fn wanted<T: PartialEq + Debug>(&mut self, what: &str, expected: &Option<T>, found: &T) {
        expected.iter().for_each(|expected| self.compare(what, expected, found));
    }

    fn headers(&mut self, what: &str, expected: &BTreeMap<String, Option<String>>, found: &[Line]) {
        for (name, value) in expected {
            let found = heddle_tests::peer::http::report::values(found, name);
            self.compare(&format!("{what} {name}"), value, &found);
        }
    }
}
