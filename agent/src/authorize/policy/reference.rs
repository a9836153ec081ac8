//! A second evaluator, for tests: slow, and written another way. It expands each rule to every combination of a source, an
//! operation and its conditions, each a list of attributes with the texts that they must and must not be, and compares
//! texts only.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Facts, RuleRef, Ruling};
use crate::{
    identify::TrustDomains,
    mesh::Policy,
    rules::authorization_policy::{AccessRule, Action, Condition, OperationField, PathMatch, SourceField},
};

/// An attribute, and what it must be and not be.
struct Clause {
    key: String,
    values: Vec<String>,
    not_values: Vec<String>,
}

/// What [`decide`](super::decide) must rule.
pub(super) fn decide<'a>(policies: &[&'a Policy], domains: &TrustDomains, facts: &Facts<'_>) -> Ruling<'a> {
    let in_force: Vec<&'a Policy> = policies.iter().copied().filter(|policy| !policy.is_dry_run).collect();
    let matching = |action: Action| -> Vec<RuleRef<'a>> {
        let of_action = in_force.iter().copied().filter(|policy| policy.spec.action == action);
        let rules = of_action.flat_map(|policy| policy.spec.rules.iter().enumerate().map(move |rule| (policy, rule)));
        rules
            .filter(|(policy, (_, rule))| matches(policy, rule, domains, facts))
            .map(|(policy, (rule, _))| RuleRef { policy: &policy.name, rule })
            .collect()
    };
    let allowing = in_force.iter().find(|policy| policy.spec.action == Action::Allow);
    match (matching(Action::Deny).first(), matching(Action::Allow).first(), allowing) {
        (Some(rule), _, _) => Ruling::DeniedBy(*rule),
        (None, Some(rule), _) => Ruling::AllowedBy(*rule),
        (None, None, Some(policy)) => Ruling::NothingAllows(&policy.name),
        (None, None, None) => Ruling::Unrestricted,
    }
}

/// Whether one rule matches.
pub(super) fn matches(policy: &Policy, rule: &AccessRule, domains: &TrustDomains, facts: &Facts<'_>) -> bool {
    let mut combinations = combinations(rule);
    if facts.request.is_none() {
        let is_of_requests = |clause: &Clause| clause.key.starts_with("request.");
        if policy.spec.action != Action::Deny && combinations.iter().flatten().any(is_of_requests) {
            return false;
        }
        combinations.iter_mut().for_each(|clauses| clauses.retain(|clause| !is_of_requests(clause)));
    }
    let holds = |clause: &Clause| {
        let found = attribute(&clause.key, facts);
        let has = |wanted: &String| found.iter().any(|found| compare(&clause.key, wanted, found, policy, domains));
        (clause.values.is_empty() || clause.values.iter().any(has)) && !clause.not_values.iter().any(has)
    };
    combinations.iter().any(|clauses| clauses.iter().all(holds))
}

fn combinations(rule: &AccessRule) -> Vec<Vec<Clause>> {
    let sources = rule.from.iter().map(|from| {
        let entries = |field: SourceField| field.entries(&from.source);
        use SourceField::*;
        vec![
            ("source.principal", entries(Principals), entries(NotPrincipals)),
            ("source.namespace", entries(Namespaces), entries(NotNamespaces)),
            ("source.serviceAccount", entries(ServiceAccounts), entries(NotServiceAccounts)),
            ("source.ip", entries(IpBlocks), entries(NotIpBlocks)),
            ("remote.ip", entries(RemoteIpBlocks), entries(NotRemoteIpBlocks)),
            ("request.auth.principal", entries(RequestPrincipals), entries(NotRequestPrincipals)),
        ]
    });
    let operations = rule.to.iter().map(|to| {
        let entries = |field: OperationField| field.entries(&to.operation);
        use OperationField::*;
        vec![
            ("destination.port", entries(Ports), entries(NotPorts)),
            ("request.host", entries(Hosts), entries(NotHosts)),
            ("request.method", entries(Methods), entries(NotMethods)),
            ("request.path", entries(Paths), entries(NotPaths)),
        ]
    });
    let or_anything = |list: Vec<_>| if list.is_empty() { vec![vec![]] } else { list };
    let (sources, operations) = (or_anything(sources.collect()), or_anything(operations.collect()));
    let mut all = Vec::new();
    for source in &sources {
        for operation in &operations {
            let asked = source.iter().chain(operation).cloned();
            let asked = asked.filter(|(_, values, not_values)| !values.is_empty() || !not_values.is_empty());
            let clauses = asked.map(|(key, values, not_values)| Clause { key: key.to_owned(), values, not_values });
            all.push(clauses.chain(rule.when.iter().map(condition)).collect());
        }
    }
    all
}

fn condition(condition: &Condition) -> Clause {
    let [values, not_values] = condition.entries();
    Clause { key: condition.key(), values, not_values }
}

/// Every text that an attribute has.
fn attribute(key: &str, facts: &Facts<'_>) -> Vec<String> {
    let identity = facts.identity.map(|identity| identity.to_string().replacen("spiffe://", "", 1));
    let part =
        |index: usize| identity.iter().filter_map(|text| text.split('/').nth(index).map(str::to_owned)).collect();
    let request = |of: fn(&super::RequestFacts<'_>) -> String| facts.request.into_iter().map(of).collect();
    match key {
        "source.principal" => identity.into_iter().collect(),
        "source.namespace" => part(2),
        "source.serviceAccount" => {
            identity.iter().map(|text| text.split('/').skip(2).step_by(2).collect::<Vec<_>>().join("/")).collect()
        }
        "source.ip" => vec![facts.source.to_string()],
        "remote.ip" => vec![facts.remote.to_string()],
        "destination.ip" => vec![facts.destination.ip().to_string()],
        "destination.port" => vec![facts.destination.port().to_string()],
        "connection.sni" => facts.sni.iter().map(ToString::to_string).collect(),
        "request.host" => request(|request| request.host.to_owned()),
        "request.method" => request(|request| request.method.to_owned()),
        "request.path" => request(|request| request.path.split('?').next().unwrap_or_default().to_owned()),
        "request.auth.principal" => {
            let claim = |name: &str| claim(facts, &[name]).into_iter().next().filter(|text| !text.is_empty());
            claim("iss").into_iter().zip(claim("sub")).map(|(issuer, subject)| format!("{issuer}/{subject}")).collect()
        }
        "request.auth.audiences" => claim(facts, &["aud"]),
        "request.auth.presenter" => claim(facts, &["azp"]),
        _ => named(key, facts),
    }
}

fn named(key: &str, facts: &Facts<'_>) -> Vec<String> {
    if let Some(name) = key.strip_prefix("request.headers[") {
        let Some(request) = facts.request else { return Vec::new() };
        let name = name.trim_end_matches(']');
        let values: Vec<String> =
            request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect();
        return match name {
            "host" if values.is_empty() && !request.host.is_empty() => vec![request.host.to_owned()],
            _ => values,
        };
    }
    let path = key.trim_start_matches("request.auth.claims[").trim_end_matches(']');
    claim(facts, &path.split("][").collect::<Vec<_>>())
}

fn claim(facts: &Facts<'_>, path: &[&str]) -> Vec<String> {
    let Some(token) = facts.request.and_then(|request| request.token) else { return Vec::new() };
    let pointer: String = path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
    let claims = serde_json::Value::Object(token.claims.clone());
    let is_words = path.len() == 1
        && (path == ["scope"] || path == ["permission"] || token.space_delimited.iter().any(|name| name == path[0]));
    match claims.pointer(&pointer) {
        Some(serde_json::Value::String(text)) if is_words => text.split_whitespace().map(str::to_owned).collect(),
        Some(serde_json::Value::String(text)) => vec![text.clone()],
        Some(serde_json::Value::Array(list)) => {
            list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}

fn compare(key: &str, wanted: &str, found: &str, policy: &Policy, domains: &TrustDomains) -> bool {
    match key {
        "source.principal" => {
            names_of(wanted, domains).iter().any(|wanted| wild(wanted, found)) || is_alias(wanted, found, domains)
        }
        "source.serviceAccount" if wanted.contains('/') => wanted == found,
        "source.serviceAccount" => format!("{}/{wanted}", policy.name.namespace) == found,
        "source.ip" | "remote.ip" | "destination.ip" => is_in_network(wanted, found),
        "request.host" => wild(&wanted.to_lowercase(), &found.to_lowercase()),
        "request.path" if wanted.contains('{') => {
            wanted.parse::<PathMatch>().is_ok_and(|template| template.matches(found))
        }
        _ => wild(wanted, found),
    }
}

/// A principal under every name of the own trust domain.
fn names_of(wanted: &str, domains: &TrustDomains) -> Vec<String> {
    let mut all = vec![wanted.to_owned()];
    if let Some((domain, rest)) = wanted.split_once('/')
        && (domain == "cluster.local" || domains.names().any(|name| name.as_str() == domain))
    {
        all.extend(domains.names().map(|name| format!("{name}/{rest}")));
    }
    all
}

/// Whether a suffix fits the identity under another name of the own trust domain.
fn is_alias(wanted: &str, found: &str, domains: &TrustDomains) -> bool {
    let Some((domain, rest)) = found.split_once('/') else { return false };
    let mut names = domains.names().map(ToString::to_string);
    wanted.starts_with('*')
        && domains.names().any(|name| name.as_str() == domain)
        && names.any(|name| wild(wanted, &format!("{name}/{rest}")))
}

fn wild(wanted: &str, found: &str) -> bool {
    match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        (Some(""), _) => !found.is_empty(),
        (Some(end), _) => found.len() >= end.len() && found[found.len() - end.len()..] == *end,
        (_, Some(start)) => found.len() >= start.len() && found[..start.len()] == *start,
        (None, None) => wanted == found,
    }
}

/// By bits: IPv4 addresses are those of `::ffff:0:0/96`, and no IPv6 network but one within that has them.
fn is_in_network(network: &str, address: &str) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address),
    };
    let (Ok(network), Ok(address)) = (network.parse::<IpNet>(), address.parse::<IpAddr>()) else { return false };
    let length = match network {
        IpNet::V4(network) => u32::from(network.prefix_len()) + 96,
        IpNet::V6(network) => u32::from(network.prefix_len()),
    };
    let (network, address) = (bits(network.addr()), bits(address));
    let shift = |bits: u128| bits.checked_shr(128 - length).unwrap_or_default();
    let is_ipv4 = |bits: u128| bits >> 32 == 0xffff;
    shift(network) == shift(address) && is_ipv4(address) == (length >= 96 && is_ipv4(network))
}
