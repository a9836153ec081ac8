//! Routes: the Services that they name, and shares that add up to nothing.

use std::sync::Arc;

use super::{
    Found, Input,
    route_view::{RouteView, RuleView, Target, view},
};
use crate::{
    config::yaml::nearest,
    mesh::{ParentRefusal, ServiceName},
    objects::{EndpointSlice, Kind, ObjectName, Protocol, Service, ServiceKind},
    rules::Rule,
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for (rule, route) in input.rules().filter_map(|rule| Some((rule, view(rule)?))) {
        route.rules.iter().for_each(|part| weights(input, found, rule, part));
        if input.has(Kind::Service, found) {
            services(input, found, rule, &route);
        }
    }
}

/// The Service of a name, as a document of a namespace refers to it.
pub(super) fn name_of(rule: &Rule, namespace: Option<&String>, name: &str) -> ObjectName {
    let namespace = namespace.map_or_else(|| Arc::clone(&rule.key.name.namespace), |name| name.as_str().into());
    ObjectName { namespace, name: name.into() }
}

/// What to say about a Service that nobody has.
pub(super) fn missing(input: &Input<'_>, name: &ObjectName) -> String {
    let of_namespace = input.objects.services.keys().filter(|other| other.namespace == name.namespace);
    let names: Vec<&str> = of_namespace.map(|other| &*other.name).collect();
    let hint = nearest(&name.name, &names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    format!("there is no Service {name}{hint}")
}

fn weights(input: &Input<'_>, found: &mut Found, rule: &Rule, part: &RuleView<'_>) {
    if !part.backends.is_empty() && part.backends.iter().all(|backend| backend.weight == 0) {
        let message = format!("all weights are 0, so everything {}; give one backend a weight", part.failure);
        input.warn(found, &rule.key, &format!("{}.backendRefs", part.path), message);
    }
}

fn services(input: &Input<'_>, found: &mut Found, rule: &Rule, route: &RouteView<'_>) {
    for problem in input.snapshot.parent_problems(rule) {
        let message = match &problem.refusal {
            // Here is who else there is.
            ParentRefusal::NoService(ServiceName { namespace, name }) => {
                let name = ObjectName { namespace: Arc::clone(namespace), name: Arc::clone(name) };
                format!("{}, so the route is for nothing", missing(input, &name))
            }
            other => other.to_string(),
        };
        input.warn(found, &rule.key, &format!("spec.parentRefs[{}]", problem.index), message);
    }
    for part in &route.rules {
        for target in part.backends.iter().chain(&part.mirrors) {
            target_problem(input, found, rule, part, target);
        }
    }
}

fn target_problem(input: &Input<'_>, found: &mut Found, rule: &Rule, part: &RuleView<'_>, target: &Target<'_>) {
    let name = name_of(rule, target.service.namespace.as_ref(), &target.service.name);
    let is_backend = part.backends.iter().any(|backend| backend.path == target.path);
    let effect = match (is_backend, target.weight) {
        (true, 0) => "which is harmless as long as its weight is 0".to_owned(),
        (true, _) => format!("so its share {}", part.failure),
        (false, _) => "so copies are dropped".to_owned(),
    };
    let port = target.service.port.get();
    let message = match unfit(input, &name, port) {
        Some(cause) => format!("{cause}, {effect}"),
        None if is_backend && target.weight > 0 && has_no_endpoint(input, found, &name) => {
            format!("Service {name} has no endpoints, so nobody answers there")
        }
        None => return,
    };
    input.warn(found, &rule.key, &target.path, message);
}

/// Why nothing can be sent to a port of a Service, whatever its endpoints.
pub(super) fn unfit(input: &Input<'_>, name: &ObjectName, port: u16) -> Option<String> {
    match input.objects.services.get(name) {
        None => Some(missing(input, name)),
        Some(service) if service.kind == ServiceKind::ExternalName => {
            Some(format!("Service {name} is of type ExternalName and has no endpoints"))
        }
        Some(service) => (!has_port(service, port)).then(|| no_port(service, port)),
    }
}

pub(super) fn has_no_endpoint(input: &Input<'_>, found: &mut Found, name: &ObjectName) -> bool {
    let is_its =
        |slice: &EndpointSlice| slice.name.namespace == name.namespace && slice.service.as_ref() == Some(&name.name);
    let mut slices = input.objects.endpoint_slices.values();
    input.has(Kind::EndpointSlice, found) && !slices.any(|slice| is_its(slice) && !slice.endpoints.is_empty())
}

fn ports(service: &Service) -> impl Iterator<Item = u16> {
    service.ports.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.port)
}

pub(super) fn has_port(service: &Service, port: u16) -> bool {
    ports(service).any(|own| own == port)
}

pub(super) fn no_port(service: &Service, port: u16) -> String {
    let own: Vec<String> = ports(service).map(|port| port.to_string()).collect();
    let own = if own.is_empty() { "none".to_owned() } else { own.join(", ") };
    format!("Service {} has no TCP port {port} (it has {own})", service.name)
}
