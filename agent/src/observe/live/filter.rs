//! What of all that happens a watcher wants to see.
//!
//! In: the pairs of a query, `source=shop/web&status=5xx`. Out: a filter; all that it names has to be met.

use std::net::IpAddr;

use super::super::access_log::Story;
use crate::observe::Party;

/// What has to be met. Empty for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapFilter(Vec<Condition>);

/// A query that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// No such key.
    #[error("there is no filter {0:?}; there are {known}", known = KEYS.join(", "))]
    Key(String),
    /// The value is none of this key.
    #[error("{key}={found:?} means nothing; {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

/// Every key.
const KEYS: [&str; 9] =
    ["source", "destination", "service", "direction", "protocol", "method", "path", "status", "failed"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Source(Who),
    Destination(Who),
    /// Host name, `name`, or `namespace/name`.
    Service(String),
    Direction(&'static str),
    Protocol(&'static str),
    Method(String),
    /// The beginning of it.
    Path(String),
    /// From and to, both included.
    Status(u16, u16),
    Failed(bool),
}

/// A workload or pod by name, of any namespace or of one; or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Named { namespace: Option<String>, name: String },
    Address(IpAddr),
}

impl TapFilter {
    /// Reads the pairs of a query.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, BadFilter> {
        pairs.into_iter().map(|(key, value)| condition(key, value)).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn passes(&self, story: &Story) -> bool {
        self.0.iter().all(|condition| condition.is_met(story))
    }
}

fn condition(key: &str, value: &str) -> Result<Condition, BadFilter> {
    let bad = |key, allowed| BadFilter::Value { key, found: value.to_owned(), allowed };
    let one_of = |key, words: &[&'static str], allowed| {
        words.iter().copied().find(|word| *word == value).ok_or_else(|| bad(key, allowed))
    };
    Ok(match key {
        "source" => Condition::Source(who(value).ok_or_else(|| bad("source", WHO))?),
        "destination" => Condition::Destination(who(value).ok_or_else(|| bad("destination", WHO))?),
        "service" if !value.is_empty() => Condition::Service(value.to_owned()),
        "service" => return Err(bad("service", "allowed are a name, NAMESPACE/NAME or a host name")),
        "direction" => {
            Condition::Direction(one_of("direction", &["outbound", "inbound"], "allowed are outbound, inbound")?)
        }
        "protocol" => Condition::Protocol(one_of(
            "protocol",
            &["tcp", "http/1", "http/2", "grpc"],
            "allowed are tcp, http/1, http/2, grpc",
        )?),
        "method" if !value.is_empty() => Condition::Method(value.to_ascii_uppercase()),
        "method" => return Err(bad("method", "allowed is a method such as GET")),
        "path" if value.starts_with('/') => Condition::Path(value.to_owned()),
        "path" => return Err(bad("path", "allowed is the beginning of a path, with its first slash")),
        "status" => {
            let (from, to) = statuses(value).ok_or_else(|| {
                bad("status", "allowed are a status, a class such as 5xx, or a range such as 400-499")
            })?;
            Condition::Status(from, to)
        }
        "failed" => Condition::Failed(value.parse().map_err(|_| bad("failed", "allowed are true, false"))?),
        other => return Err(BadFilter::Key(other.to_owned())),
    })
}

const WHO: &str = "allowed are the name of a workload or pod, NAMESPACE/NAME, or an IP address";

fn who(text: &str) -> Option<Who> {
    if let Ok(address) = text.parse() {
        return Some(Who::Address(address));
    }
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, text),
    };
    let is_whole = !name.is_empty() && !name.contains('/') && namespace.as_deref() != Some("");
    is_whole.then(|| Who::Named { namespace, name: name.to_owned() })
}

fn statuses(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    Some((from.parse().ok()?, to.parse().ok()?)).filter(|(from, to)| from <= to)
}

impl Condition {
    fn is_met(&self, story: &Story) -> bool {
        let request = story.request.as_deref();
        match self {
            Self::Source(who) => who.is(&story.start.client),
            Self::Destination(who) => story.server.as_ref().is_some_and(|server| who.is(server)),
            Self::Service(name) => story.service.as_ref().is_some_and(|service| match name.split_once('/') {
                Some((namespace, name)) => *service.namespace == *namespace && *service.name == *name,
                None => *service.name == **name || service.host() == *name,
            }),
            Self::Direction(direction) => story.start.reporter.direction() == *direction,
            Self::Protocol(protocol) => story.protocol() == *protocol,
            Self::Method(method) => request.is_some_and(|request| request.method() == *method),
            Self::Path(path) => request.is_some_and(|request| request.path().starts_with(path)),
            Self::Status(from, to) => story.status().is_some_and(|status| (*from..=*to).contains(&status)),
            Self::Failed(failed) => story.has_failed() == *failed,
        }
    }
}

impl Who {
    fn is(&self, party: &Party) -> bool {
        match self {
            Self::Address(address) => party.address.ip() == *address,
            Self::Named { namespace, name } => party.workload.as_ref().is_some_and(|workload| {
                let of_namespace = namespace.as_deref().is_none_or(|namespace| *workload.namespace == *namespace);
                of_namespace && (*workload.name == **name || *workload.owner == **name)
            }),
        }
    }
}
