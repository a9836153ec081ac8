//! A connection that is carried as bytes: the rule of a TLSRoute or TCPRoute, its backends, and who gets it.

use std::sync::Arc;

use super::{
    endpoints::{self, Goal},
    question::Says,
    report::{StepName, Verdict},
    rule::backend_of,
    telling::Telling,
    through::Caught,
};
use crate::{
    failure::Failed,
    mesh::{RouteTable, ServicePort},
    native,
    route::{
        Route,
        backend::{Draw, Resolved},
        streams::{self, StreamDecision, StreamFailure, StreamMatch},
    },
    rules::gateway::BackendRef,
};

pub(super) fn decide(caught: &Caught<'_>, route: Route, server_name: Option<&str>, says: &Says, telling: &mut Telling) {
    let Route::Service(dialled) = &route else {
        endpoints::reach(caught, Goal::only(route), 1.0, says, telling);
        return tell_who_carries(caught, telling);
    };
    let snapshot = caught.world.snapshot;
    let table = snapshot.routes().table(&dialled.service, dialled.port, &caught.source.namespace).map(AsRef::as_ref);
    let decision = streams::decide(table, server_name);
    tell(table, &decision, server_name, telling);
    let failure = match decision {
        StreamDecision::Implicit => {
            let goal = Goal::of(Resolved::of(snapshot, dialled));
            return endpoints::reach(caught, goal, 1.0, says, telling);
        }
        StreamDecision::Rule(one) => return backends(caught, &one, dialled, says, telling),
        StreamDecision::OfRequests => StreamFailure::OfRequests,
        StreamDecision::NoRule => StreamFailure::NoRule { server_name: server_name.map(ToOwned::to_owned) },
    };
    telling.connection_fails(1.0, &Failed::Streams(failure), None);
}

/// Whether the kernel carries the next ones by itself, of a pod of this node.
fn tell_who_carries(caught: &Caught<'_>, telling: &mut Telling) {
    let Some(setting) = caught.world.fast_path.filter(|_| caught.source.local.is_some()) else { return };
    let (snapshot, learned) = (caught.world.snapshot, caught.world.learned);
    telling.note(match native::goal(setting, snapshot, learned, caught.source, caught.dialled) {
        Ok(native::Goal::Pod(_)) => {
            "from the second on, such connections go natively while they are permitted and nothing changes: the kernel carries \
             them, and has proved both ends"
                .to_owned()
        }
        Ok(native::Goal::Outside) => {
            "from the second on, such connections go natively while nothing changes: the kernel carries them".to_owned()
        }
        Err(why) => format!("the agent carries each such connection: {why}"),
    });
}

fn tell(table: Option<&RouteTable>, decision: &StreamDecision<'_>, server_name: Option<&str>, telling: &mut Telling) {
    let Some(table) = table else {
        telling
            .step(StepName::Route, "no route is for this port and client: the endpoints of the Service itself serve");
        return;
    };
    let others = streams::passed_over(table, server_name);
    let step = match decision {
        StreamDecision::Rule(one) => telling.step(StepName::Route, format!("{} decides", one.route())),
        StreamDecision::OfRequests => {
            telling.step(StepName::Route, "the routes of this port are about HTTP requests, and this is none")
        }
        StreamDecision::Implicit | StreamDecision::NoRule => {
            telling.step(StepName::Route, "no route of this port is for this connection")
        }
    };
    if !matches!(decision, StreamDecision::Rule(_)) {
        step.refuses();
    }
    if !matches!(decision, StreamDecision::OfRequests) {
        step.instead_of.extend(others.into_iter().map(|(route, why)| format!("{route}: {why}")));
    }
}

/// Each backend, by the number that the data path would have drawn for it.
fn backends(
    caught: &Caught<'_>,
    one: &StreamMatch<'_>,
    dialled: &Arc<ServicePort>,
    says: &Says,
    telling: &mut Telling,
) {
    let backends = one.backends();
    let weights: Vec<u32> = backends.iter().map(|backend| backend.weight).collect();
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let draws: Vec<(&BackendRef, Draw, f64)> = (0..)
        .zip(backends)
        .filter_map(|(turn, backend)| {
            Some((backend, Draw::of_turn(&weights, turn)?, f64::from(backend.weight) / total))
        })
        .collect();
    let names =
        backends.iter().map(|backend| (backend_of(&one.route().name.namespace, &backend.service), backend.weight));
    tell_backends(names, total, telling);
    if draws.is_empty() {
        let failed = one.backend(caught.world.snapshot, dialled, Draw(0)).err().unwrap_or(StreamFailure::NoWeight);
        return telling.connection_fails(1.0, &Failed::Streams(failed), None);
    }
    for (backend, draw, share) in draws {
        match one.backend(caught.world.snapshot, dialled, draw) {
            Ok(resolved) => endpoints::reach(caught, Goal::of(resolved), share, says, telling),
            Err(failure) => {
                let name = backend_of(&one.route().name.namespace, &backend.service);
                let step = telling.step(StepName::Backend, format!("{name} leads nowhere"));
                step.refuses().because(failure.to_string());
                telling.connection_fails(share, &Failed::Streams(failure), Some(&name));
            }
        }
    }
}

/// The backends with their shares.
pub(super) fn tell_backends(names: impl Iterator<Item = (String, u32)>, total: f64, telling: &mut Telling) {
    let shares: Vec<String> = names
        .map(|(name, weight)| match total > 0.0 {
            true => format!("{name} {:.1} % (weight {weight})", f64::from(weight) / total * 100.0),
            false => format!("{name} (weight {weight})"),
        })
        .collect();
    let step = telling.step(
        StepName::Backend,
        if shares.is_empty() { "the rule has no backends".to_owned() } else { shares.join(", ") },
    );
    if total == 0.0 {
        step.verdict(Verdict::Refuses);
    }
}
