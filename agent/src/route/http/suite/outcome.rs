//! One case: what the decision makes of it, and where that is not what is expected.

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{
    case::{Case, Connection, Expected, Sent},
    world::World,
};
use crate::{
    mesh::ServicePort,
    route::{
        backend::Draw,
        http::{Answer, Decision, Failure, Forward, Matched, Outcome, Request, Scene, decide, explain},
        streams::{self, StreamDecision},
    },
    rules::http_route::Scheme,
    target::RequestTarget,
};

/// Requests of which shares are counted.
const MANY: u64 = 1_000;

impl World {
    /// Where a case comes out otherwise than it has to.
    pub(super) fn differences(&self, case: &Case) -> Vec<String> {
        match (&case.request, &case.connection) {
            (Some(sent), None) => self.of_request(sent, &case.expect),
            (None, Some(connection)) => self.of_connection(connection, &case.expect),
            _ => panic!("a case has a request or a connection: {case:?}"),
        }
    }

    fn of_request(&self, sent: &Sent, expected: &Expected) -> Vec<String> {
        let mut told = Told::default();
        let Ok(target) = RequestTarget::parse(&sent.path) else {
            told.compare("status", &expected.status, &Some(400));
            return told.0;
        };
        let headers = headers(sent);
        let method = sent.method.as_deref().map_or(Method::GET, |method| method.parse().unwrap());
        let method = if sent.grpc { Method::POST } else { method };
        let request = Request {
            method: &method,
            target: &target,
            headers: &headers,
            scheme: Scheme::Http,
            authority: &sent.host,
        };
        let (dialled, table) = self.dialled(&sent.to, &sent.from);
        let decision = decide(table, &request);
        told.compare("implicit", &expected.implicit, &matches!(decision, Decision::Implicit));
        told.compare("refused", &expected.refused, &matches!(decision, Decision::OfConnections));
        match decision {
            Decision::Implicit | Decision::OfConnections => {}
            Decision::NoRule => {
                told.wanted("rule", &expected.rule, &"none".to_owned());
                told.wanted("status", &expected.status, &Failure::NoRule.status().as_u16());
                told.wanted("grpc", &expected.grpc_status, &grpc(&Failure::NoRule));
            }
            Decision::Rule(matched) => self.of_rule(&matched, &request, sent, dialled, expected, &mut told),
        }
        if let Some(table) = table {
            let explanation = explain(table, &request);
            let decided = explanation.decided.map(|matched| name(&matched));
            let by_index = match decision {
                Decision::Rule(matched) => Some(name(&matched)),
                _ => None,
            };
            told.compare("explained", &by_index, &decided);
            let because = explanation.tried.iter().filter_map(|tried| tried.unmet.as_ref()).map(ToString::to_string);
            told.wanted("because", &expected.because, &because.collect());
        }
        told.0
    }

    fn of_rule(
        &self,
        matched: &Matched<'_>,
        request: &Request<'_>,
        sent: &Sent,
        dialled: &ServicePort,
        expected: &Expected,
        told: &mut Told,
    ) {
        let with_match = expected.rule.as_ref().is_some_and(|rule| rule.contains('.'));
        let found = name(matched);
        let shown = if with_match { found } else { found.split('.').next().unwrap().to_owned() };
        told.wanted("rule", &expected.rule, &shown);
        let extensions = matched.extensions().map(|one| format!("{:?}/{}", one.kind, one.name)).collect();
        told.wanted("extensions", &expected.extensions, &extensions);
        told.wanted("timeouts", &expected.timeouts, &timeouts(matched));
        told.wanted("retry", &expected.retry, &retry(matched));
        let session = matched.session().and_then(|session| session.session_name.clone()).unwrap_or_default();
        told.wanted("session", &expected.session, &session);

        let scene = |draw| Scene { snapshot: &self.snapshot, dialled, draw, session: None };
        let many = || (0..MANY).map(|turn| Draw(u64::MAX / MANY * turn + MANY));
        if let Some(share) = &expected.share {
            let mut found = BTreeMap::<String, usize>::new();
            many().for_each(|draw| *found.entry(taker(&matched.outcome(&scene(draw), request))).or_default() += 1);
            told.compare("share", share, &found);
        }
        if let Some(mirrored) = expected.mirrored {
            let has_copy =
                |draw| matches!(matched.outcome(&scene(draw), request), Outcome::Forward(f) if !f.mirrors.is_empty());
            let found = many().filter(|draw| has_copy(*draw)).count();
            if mirrored.abs_diff(found) > MANY as usize / 20 {
                told.compare("mirrored", &mirrored, &found);
            }
        }
        let draw = Draw((sent.draw * u64::MAX as f64) as u64);
        match matched.outcome(&scene(draw), request) {
            Outcome::Forward(forward) => of_forward(&forward, request, sent, expected, told),
            Outcome::Answer(answer) => of_answer(&answer, expected, told),
            Outcome::Failure(failure, edits) => {
                told.wanted("backend", &expected.backend, &"none".to_owned());
                told.wanted("status", &expected.status, &failure.status().as_u16());
                told.wanted("grpc", &expected.grpc_status, &grpc(&failure));
                let mut response = HeaderMap::new();
                edits.apply(&mut response);
                told.headers("response", &expected.response, &response);
            }
        }
    }

    fn of_connection(&self, connection: &Connection, expected: &Expected) -> Vec<String> {
        let mut told = Told::default();
        let (dialled, table) = self.dialled(&connection.to, &connection.from);
        let decision = streams::decide(table, connection.sni.as_deref());
        let (mut is_implicit, mut is_refused, mut backend, mut rule) = (false, false, String::new(), String::new());
        let draw = Draw((connection.draw * u64::MAX as f64) as u64);
        match decision {
            StreamDecision::Implicit => is_implicit = true,
            StreamDecision::OfRequests | StreamDecision::NoRule => is_refused = true,
            StreamDecision::Rule(one) => {
                rule = one.route().name.name.to_string();
                match one.backend(&self.snapshot, dialled, draw) {
                    Ok(to) => backend = place(&to.port),
                    Err(_) => is_refused = true,
                }
            }
        }
        told.compare("implicit", &expected.implicit, &is_implicit);
        told.compare("refused", &expected.refused, &is_refused);
        told.wanted("backend", &expected.backend, &backend);
        told.wanted("rule", &expected.rule, &rule);
        told.0
    }
}

fn of_forward(forward: &Forward<'_>, request: &Request<'_>, sent: &Sent, expected: &Expected, told: &mut Told) {
    told.compare("status", &expected.status, &None);
    told.compare("location", &expected.location, &None);
    told.wanted("backend", &expected.backend, &place(&forward.to.port));
    told.wanted("path", &expected.path, &forward.request.target().unwrap_or(&sent.path).to_owned());
    told.wanted("host", &expected.host, &forward.request.authority().unwrap_or(&sent.host).to_owned());
    let mut seen = request.headers.clone();
    forward.request.apply(&mut seen);
    told.headers("headers", &expected.headers, &seen);
    let mut response = header_map(&sent.answered);
    forward.response.apply(&mut response);
    told.headers("response", &expected.response, &response);
    let mirrors = forward.mirrors.iter().map(|mirror| match &mirror.port {
        Ok(port) => place(port),
        Err(_) => "dropped".to_owned(),
    });
    told.wanted("mirrors", &expected.mirrors, &mirrors.collect());
}

fn of_answer(answer: &Answer, expected: &Expected, told: &mut Told) {
    told.wanted("backend", &expected.backend, &"none".to_owned());
    told.wanted("status", &expected.status, &answer.status.as_u16());
    let location = answer.headers.get("location").map(|location| location.to_str().unwrap().to_owned());
    told.wanted("location", &expected.location, &location.unwrap_or_default());
    told.headers("response", &expected.response, &answer.headers);
}

/// Where a case is not as it has to be.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn compare<T: PartialEq + Debug>(&mut self, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.0.push(format!("{what}: expected {expected:?}, found {found:?}"));
        }
    }

    /// Where anything is expected of it.
    fn wanted<T: PartialEq + Debug>(&mut self, what: &str, expected: &Option<T>, found: &T) {
        expected.iter().for_each(|expected| self.compare(what, expected, found));
    }

    fn headers(&mut self, what: &str, expected: &BTreeMap<String, Option<String>>, found: &HeaderMap) {
        for (name, value) in expected {
            let values: Vec<_> = found.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
            let found = (!values.is_empty()).then(|| values.join(" | "));
            self.compare(&format!("{what} {name}"), value, &found);
        }
    }
}

/// `route#rule.match`
fn name(matched: &Matched<'_>) -> String {
    format!("{}#{}.{}", matched.route().name.name, matched.rule(), matched.match_index())
}

fn place(port: &ServicePort) -> String {
    format!("{}:{}", port.service, port.port)
}

/// Who gets a request, or what it is answered.
fn taker(outcome: &Outcome<'_>) -> String {
    match outcome {
        Outcome::Forward(forward) => place(&forward.to.port),
        Outcome::Answer(answer) => answer.status.as_u16().to_string(),
        Outcome::Failure(failure, _) => failure.status().as_u16().to_string(),
    }
}

fn grpc(failure: &Failure) -> String {
    serde_json::to_value(failure.grpc_status()).unwrap().as_str().unwrap().to_owned()
}

fn timeouts(matched: &Matched<'_>) -> String {
    matched.timeouts().map_or_else(
        || "none".to_owned(),
        |timeouts| format!("{} {}", duration(timeouts.request), duration(timeouts.backend_request)),
    )
}

fn retry(matched: &Matched<'_>) -> String {
    matched.retry().map_or_else(
        || "none".to_owned(),
        |retry| {
            let codes: Vec<_> = retry.codes.iter().map(|code| code.as_u16().to_string()).collect();
            let attempts = retry.attempts.map_or_else(|| "-".to_owned(), |attempts| attempts.to_string());
            format!("{} {attempts} {}", codes.join(","), duration(retry.backoff))
        },
    )
}

fn duration(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "-".to_owned(), |duration| format!("{}ms", duration.as_millis()))
}

fn headers(sent: &Sent) -> HeaderMap {
    let mut headers = header_map(&sent.headers);
    if sent.grpc {
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    }
    headers
}

fn header_map(headers: &[(String, String)]) -> HeaderMap {
    let pair = |(name, value): &(String, String)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    headers.iter().map(pair).fold(HeaderMap::new(), |mut map, (name, value)| {
        map.append(name, value);
        map
    })
}
