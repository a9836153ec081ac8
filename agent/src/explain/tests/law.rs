//! The law: what is explained is what the data path decides, over every case of the routing suite.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Rest;
use crate::{
    config::MtlsMode,
    connect::http::head,
    explain::{Report, StepName, Written},
    request::RequestFailed,
    route::{
        backend::{Draw, Resolved},
        http::{
            Decision, Failure, Outcome, Request, Scene, decide, is_grpc,
            suite::{
                AT_LEAST,
                case::{Case, Connection, Sent},
                groups,
                world::World,
            },
        },
        streams,
        timeouts::Limits,
    },
    rules::{gateway::ExtensionKind, http_route::Scheme},
    target::RequestTarget,
};

/// Draws of which shares are counted.
const MANY: u64 = 1_000;

/// What comes of all draws: by backend or by what the mesh answers.
type Shares = BTreeMap<String, f64>;

#[test]
fn what_is_explained_is_what_is_decided() {
    let (mut count, mut failures) = (0, Vec::new());
    for (place, group) in groups() {
        let world = World::new(&place, &group.routes);
        for (index, case) in group.cases.iter().enumerate() {
            let Some((decided, explained)) = both(&world, case) else { continue };
            count += 1;
            if !alike(&decided, &shares(&explained)) {
                failures.push(format!(
                    "{place}: case {index}: decided {decided:?}, explained {:?}\n{case:?}\n{}",
                    shares(&explained),
                    explained.to_text(crate::explain::Paint::Plain)
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} differ:\n{}", failures.len(), failures.join("\n"));
    assert!(count * 10 > AT_LEAST * 9, "only {count} cases");
}

/// What is decided and what is explained; nothing where the Service has no address to dial.
fn both(world: &World, case: &Case) -> Option<(Shares, Report)> {
    let (to, from) = match (&case.request, &case.connection) {
        (Some(sent), _) => (&sent.to, &sent.from),
        (_, Some(connection)) => (&connection.to, &connection.from),
        _ => panic!("{case:?}"),
    };
    let (service, port) = to.split_once(':').unwrap();
    let (namespace, name) = service.split_once('/').unwrap();
    if world.dialled(to, from).0.ready.is_empty() && ["alias", "nobody"].contains(&name) || name == "pods" {
        return None;
    }
    let (decided, more) = match (&case.request, &case.connection) {
        (Some(sent), _) => (of_request(world, sent), written_request(sent)?),
        (_, Some(connection)) => (of_connection(world, connection), written_connection(connection)),
        _ => return None,
    };
    let written = Written { from: format!("{from}/client"), to: format!("{name}.{namespace}:{port}"), ..more };
    let rest = Rest::new(MtlsMode::Permissive);
    // What a question says has to come through a query too.
    let (read, others) = Written::from_query(&written.to_query()).unwrap();
    assert_eq!((&read, others.len()), (&written, 0));
    Some((decided, rest.explain(&world.snapshot, &read).unwrap_or_else(|error| panic!("{error}: {case:?}"))))
}

fn written_request(sent: &Sent) -> Option<Written> {
    let mut headers: Vec<String> = sent.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    if !sent.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        headers.push(format!("host: {}", sent.host));
    }
    if sent.grpc {
        headers.push("content-type: application/grpc".to_owned());
    }
    let method = if sent.grpc { Some("POST".to_owned()) } else { sent.method.clone() };
    // A target without a slash is refused as a question already.
    let is_path = sent.path.starts_with('/') || sent.path == "*";
    is_path.then(|| Written { method, path: Some(sent.path.clone()), headers, ..Written::default() })
}

fn written_connection(connection: &Connection) -> Written {
    Written { sni: Some(connection.sni.clone().unwrap_or_default()), ..Written::default() }
}

fn of_request(world: &World, sent: &Sent) -> Shares {
    let mut headers = HeaderMap::new();
    for (name, value) in &sent.headers {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    if sent.grpc {
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    }
    let method = sent.method.as_deref().map_or(Method::GET, |method| method.parse().unwrap());
    let method = if sent.grpc { Method::POST } else { method };
    let one = |key: String| Shares::from([(key, 1.0)]);
    let is_grpc = is_grpc(&headers);
    let refused = |failed: &RequestFailed| match is_grpc {
        true => format!("grpc {}", failed.grpc_status()),
        false => failed.status().as_u16().to_string(),
    };
    let mut of_host = headers.clone();
    of_host.entry("host").or_insert(HeaderValue::from_str(&sent.host).unwrap());
    let authority = match head::authority(&of_host) {
        Ok(authority) => authority,
        Err(bad) => return one(refused(&bad.into())),
    };
    let Ok(target) = RequestTarget::parse(&sent.path) else {
        return one(refused(&RequestTarget::parse(&sent.path).unwrap_err().into()));
    };
    let request = Request {
        method: &method,
        target: &target,
        headers: &headers,
        scheme: Scheme::Http,
        authority: authority.as_str(),
    };
    let (dialled, table) = world.dialled(&sent.to, &sent.from);
    let matched = match decide(table, &request) {
        Decision::Implicit => {
            return one(match Limits::of_request(None, &request) {
                Ok(_) => taker(&Resolved::of(&world.snapshot, dialled), &refused),
                Err(bad) => refused(&RequestFailed::GrpcTimeout(bad)),
            });
        }
        // The client says HTTP, and the connection is carried as bytes.
        Decision::OfConnections => {
            return many(|draw| match streams::decide(table, None) {
                streams::StreamDecision::Rule(one) => match one.backend(&world.snapshot, dialled, draw) {
                    Ok(resolved) => taker(&resolved, &refused),
                    Err(_) => "reset".to_owned(),
                },
                _ => "reset".to_owned(),
            });
        }
        Decision::NoRule => return one(refused(&Failure::NoRule.into())),
        Decision::Rule(matched) => matched,
    };
    if let Err(bad) = Limits::of_request(matched.timeouts().as_ref(), &request) {
        return one(refused(&RequestFailed::GrpcTimeout(bad)));
    }
    let namespace = &matched.route().name.namespace;
    if let Some(extension) = matched.extensions().find(|extension| match extension.kind {
        ExtensionKind::RateLimit => world.snapshot.rate_limit(namespace, &extension.name).is_none(),
        ExtensionKind::FaultInjection => world.snapshot.fault(namespace, &extension.name).is_none(),
    }) {
        return one(refused(&RequestFailed::Extension { kind: extension.kind, name: extension.name.clone() }));
    }
    many(|draw| {
        let scene = Scene { snapshot: &world.snapshot, dialled, draw, session: None };
        match matched.outcome(&scene, &request) {
            Outcome::Forward(forward) => taker(&forward.to, &refused),
            Outcome::Answer(answer) => answer.status.as_u16().to_string(),
            Outcome::Failure(failure, _) => refused(&failure.into()),
        }
    })
}

fn of_connection(world: &World, connection: &Connection) -> Shares {
    let (dialled, table) = world.dialled(&connection.to, &connection.from);
    let name = connection.sni.as_deref();
    let reset = |_: &RequestFailed| "reset".to_owned();
    match streams::decide(table, name) {
        streams::StreamDecision::Implicit => {
            Shares::from([(taker(&Resolved::of(&world.snapshot, dialled), &reset), 1.0)])
        }
        streams::StreamDecision::OfRequests | streams::StreamDecision::NoRule => {
            Shares::from([("reset".to_owned(), 1.0)])
        }
        streams::StreamDecision::Rule(one) => many(|draw| match one.backend(&world.snapshot, dialled, draw) {
            Ok(resolved) => taker(&resolved, &reset),
            Err(_) => "reset".to_owned(),
        }),
    }
}

/// Who gets it, or that nobody does.
fn taker(resolved: &Resolved, refused: &impl Fn(&RequestFailed) -> String) -> String {
    let port = &resolved.port;
    match port.ready.is_empty() {
        true => refused(&crate::balance::NoEndpoint { service: port.service.clone(), port: port.port }.into()),
        false => format!("{} port {}", port.service, port.port),
    }
}

fn many(of: impl Fn(Draw) -> String) -> Shares {
    let mut shares = Shares::new();
    for turn in 0..MANY {
        *shares.entry(of(Draw(u64::MAX / MANY * turn + MANY))).or_default() += 1.0 / MANY as f64;
    }
    shares
}

fn shares(report: &Report) -> Shares {
    let mut shares = Shares::new();
    for possible in &report.result {
        let key = match (&possible.backend, possible.status, possible.grpc_status) {
            (Some(backend), ..) if possible.answered => backend.clone(),
            (_, _, Some(grpc)) => format!("grpc {grpc}"),
            (_, Some(status), None) => status.to_string(),
            _ => "reset".to_owned(),
        };
        *shares.entry(key).or_default() += possible.share;
    }
    let sum: f64 = shares.values().sum();
    assert!((sum - 1.0).abs() < 1e-6, "shares add up to {sum}: {report:#?}");
    assert!(report.steps.iter().any(|step| step.step == StepName::Capture));
    shares
}

fn alike(decided: &Shares, explained: &Shares) -> bool {
    let keys: std::collections::BTreeSet<&String> = decided.keys().chain(explained.keys()).collect();
    let of = |shares: &Shares, key: &String| shares.get(key).copied().unwrap_or_default();
    // A draw for each thousandth.
    keys.into_iter().all(|key| (of(decided, key) - of(explained, key)).abs() < 2.0 / MANY as f64)
}
