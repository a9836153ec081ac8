//! What became of a connection or request, before it is decided anew with the same inputs.
//!
//! The same inputs as far as they are kept: no headers but the host, and no query. What was not kept is said.

use std::net::SocketAddr;

use super::{
    Arrival, Unanswerable, World, explain, explain_arrival,
    question::{Asked, Origin, Question, Says, Target},
    report::{Past, Report},
};
use crate::{
    mesh::{SpiffeId, Workload},
    observe::{CUT, ConnectionView, Ended, EndedRequest, Reporter},
};

/// What of a request is not kept.
const NOT_KEPT: &str = "headers other than the host, and the query of the path, are not kept: what depends on them may have been \
                        decided otherwise then";

/// What of a long path is not kept.
const PATH_CUT: &str = "of the path only the beginning is kept, and it is decided anew as if that were all: rules and policies may have \
                        decided otherwise on the whole";

/// Explains an open connection.
///
/// # Errors
/// Its client is not there any more.
pub fn explain_open(world: &World<'_>, open: &ConnectionView) -> Result<Report, Unanswerable> {
    let says = match open.protocol.as_str() {
        "http" => None,
        _ => Some(Says::Bytes),
    };
    let mut report = match open.direction.as_str() {
        "outbound" => {
            let from = origin(open.source.pod.as_deref(), open.source.address);
            explain(world, &Question { from, to: target(open.destination), says })?
        }
        _ => {
            let identity = open.source.identity.as_deref().and_then(|identity| identity.parse().ok());
            let says = says.unwrap_or_else(|| Says::Request(Box::new(Asked::root())));
            arrived(world, open.source.address, identity.as_ref(), open.destination, &says)
        }
    };
    report.past = vec![Past {
        says: in_words(open),
        remedy: None,
        generation: open.generation,
        fields: serde_json::to_value(open).unwrap_or_default(),
    }];
    Ok(report)
}

/// Explains requests that ended, the newest first: at the client's side where that was seen here.
pub fn explain_ended(world: &World<'_>, ended: &[Ended]) -> Report {
    let seen = ended.iter().find(|one| one.reporter == Reporter::Source).or(ended.first());
    let mut report = seen.map(|one| anew(world, one)).unwrap_or_default();
    report.past = ended.iter().map(past).collect();
    report
}

fn anew(world: &World<'_>, ended: &Ended) -> Report {
    let says = asked(&ended.request);
    let (client, to) = (&ended.client, ended.original_dst);
    let explained = match ended.reporter {
        Reporter::Source => {
            let pod = client.workload.as_deref().map(|pod| format!("{}/{}", pod.namespace, pod.name));
            let from = origin(pod.as_deref(), client.address);
            explain(world, &Question { from, to: target(to), says: Some(says) })
        }
        Reporter::Destination => Ok(arrived(world, client.address, client.identity.as_ref(), to, &says)),
    };
    let mut report = explained.unwrap_or_else(|unanswerable| Report {
        notes: vec![format!("it cannot be decided anew: {unanswerable}")],
        generation: world.snapshot.generation,
        asked: format!("{} to {to}", client.address),
        ..Report::default()
    });
    report.notes.push(NOT_KEPT.to_owned());
    if ended.request.path.ends_with(CUT) {
        report.notes.push(PATH_CUT.to_owned());
    }
    report
}

fn arrived(world: &World<'_>, client: SocketAddr, identity: Option<&SpiffeId>, to: SocketAddr, says: &Says) -> Report {
    let asked = format!("{} to {to}", identity.map_or_else(|| client.ip().to_string(), ToString::to_string));
    let workload: Option<&Workload> = world.snapshot.workload(to.ip()).map(AsRef::as_ref);
    match workload {
        Some(workload) => explain_arrival(world, &Arrival { workload, identity, client: client.ip(), to }, says, asked),
        None => Report {
            notes: vec!["it cannot be decided anew: the pod is gone".to_owned()],
            generation: world.snapshot.generation,
            asked,
            ..Report::default()
        },
    }
}

fn origin(pod: Option<&str>, address: SocketAddr) -> Origin {
    pod.and_then(|pod| pod.parse().ok()).unwrap_or(Origin::Address(address.ip()))
}

fn target(to: SocketAddr) -> Target {
    Target { host: to.ip().to_string(), port: to.port() }
}

fn asked(request: &EndedRequest) -> Says {
    let mut asked = Asked { path: request.path.clone(), ..Asked::root() };
    asked.method = request.method.parse().unwrap_or(asked.method);
    if let Some(host) = request.host.as_deref().and_then(|host| host.parse().ok()) {
        asked.headers.insert(http::header::HOST, host);
    }
    if request.is_grpc {
        asked.headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    }
    Says::Request(Box::new(asked))
}

fn past(ended: &Ended) -> Past {
    let field = |name: &str| match ended.fields.get(name) {
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    let EndedRequest { method, path, status, .. } = &ended.request;
    let answer = status.map_or_else(|| "without an answer".to_owned(), |status| format!("answered {status}"));
    let mut says = vec![ended.reporter.direction().to_owned(), format!("{method} {path}"), answer];
    let told = [
        ("flag", "flag"),
        ("error", ""),
        ("policy", "decided by"),
        ("service", "service"),
        ("route", "route"),
        ("endpoint", "endpoint"),
        ("tries", "tries"),
        ("duration_ms", "ms"),
    ];
    says.extend(told.into_iter().filter_map(|(name, word)| Some(format!("{word} {}", field(name)?).trim().to_owned())));
    let at = field("time").unwrap_or_default();
    Past {
        says: format!("{at} {}", says.join(", ")),
        remedy: ended.failure.as_ref().map(|failure| failure.flag.remedy().to_owned()),
        generation: ended.generation,
        fields: ended.fields.clone(),
    }
}

fn in_words(open: &ConnectionView) -> String {
    let mut says = format!("open since {}, {}, {}", open.since, open.direction, open.protocol);
    if let Some(service) = &open.service {
        says += &format!(", service {service}");
    }
    if let Some(endpoint) = &open.endpoint {
        says += &format!(", endpoint {}", endpoint.address);
        if let Some(identity) = &endpoint.identity {
            says += &format!(" ({identity})");
        }
    }
    if let (Some(sent), Some(received)) = (open.sent_bytes, open.received_bytes) {
        says += &format!(", {sent} bytes sent, {received} received");
    }
    says
}
