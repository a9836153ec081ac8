//! One HTTP request at the client's agent: its limits, its rule, and each backend that may get it.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;

use super::{
    endpoints::{self, Goal, Ties},
    question::{Asked, Says},
    report::{Possible, StepName},
    rule,
    server::Carried,
    streams::tell_backends,
    telling::{Refused, Telling, refused},
    through::Caught,
};
use crate::{
    balance::hash_key::hash_key,
    connect::http::head,
    mesh::ServicePort,
    observe::ResponseFlag,
    request::{RequestFailed, Stay},
    route::{
        self, Route,
        backend::{Draw, Resolved},
        http::{Decision, Failure, Forward, Matched, Outcome, Request, Scene},
        timeouts::Limits,
    },
    rules::{
        destination_rule::{Algorithm, HashKey},
        http_route::Scheme,
    },
    target::RequestTarget,
};

/// A request that is being explained.
pub(super) struct Asking<'a, 'r> {
    pub(super) caught: &'a Caught<'a>,
    pub(super) asked: &'a Asked,
    pub(super) request: Request<'r>,
}

pub(super) fn decide(caught: &Caught<'_>, route: Route, asked: &Asked, telling: &mut Telling) {
    let mut asked = asked.clone();
    let host = http::HeaderValue::from_str(caught.host);
    if let Ok(host) = host {
        asked.headers.entry(http::header::HOST).or_insert(host);
    }
    let is_grpc = route::http::is_grpc(&asked.headers);
    let authority = match head::authority(&asked.headers) {
        Ok(authority) => authority,
        Err(bad) => return telling.request_fails(1.0, &bad.into(), Refused { is_grpc, backend: None }),
    };
    let target = match RequestTarget::parse(&asked.path) {
        Ok(target) => target,
        Err(bad) => return telling.request_fails(1.0, &bad.into(), Refused { is_grpc, backend: None }),
    };
    let request = Request {
        method: &asked.method,
        target: &target,
        headers: &asked.headers,
        scheme: Scheme::Http,
        authority: authority.as_str(),
    };
    let asking = Asking { caught, asked: &asked, request };
    match route {
        Route::Service(port) => asking.to_service(&port, telling),
        elsewhere => asking.reach(Goal::only(elsewhere), 1.0, asked.clone(), None, telling),
    }
}

impl Asking<'_, '_> {
    fn to_service(&self, port: &Arc<ServicePort>, telling: &mut Telling) {
        let snapshot = self.caught.world.snapshot;
        for limits in snapshot.rate_limits_of_service(&port.service) {
            if let Err(limited) = rule::within(limits, self, telling) {
                self.fails(1.0, &limited.into(), telling);
                return;
            }
        }
        let table = snapshot.routes().table(&port.service, port.port, &self.caught.source.namespace).map(AsRef::as_ref);
        let decision = route::http::decide(table, &self.request);
        rule::tell(table, &decision, self, telling);
        let matched = match decision {
            Decision::Implicit => None,
            Decision::OfConnections | Decision::NoRule => {
                self.fails(1.0, &Failure::NoRule.into(), telling);
                return;
            }
            Decision::Rule(matched) => Some(matched),
        };
        let of_rule = matched.as_ref().and_then(Matched::timeouts);
        let limits = match Limits::of_request(of_rule.as_ref(), &self.request) {
            Ok(limits) => limits,
            Err(bad) => {
                self.fails(1.0, &RequestFailed::GrpcTimeout(bad), telling);
                return;
            }
        };
        let stays =
            Stay::possible(self.caught.world.sessions, snapshot, &port.service, matched.as_ref(), self.request.headers);
        let session = stays.iter().find_map(Stay::endpoint);
        match &matched {
            None => {
                rule::patience(None, limits, telling);
                self.reach(Goal::of(Resolved::of(snapshot, port)), 1.0, self.asked.clone(), session, telling);
            }
            Some(matched) => self.by_rule(matched, port, (limits, session), telling),
        }
    }

    fn by_rule(
        &self,
        matched: &Matched<'_>,
        port: &Arc<ServicePort>,
        (limits, session): (Limits, Option<std::net::SocketAddr>),
        telling: &mut Telling,
    ) {
        let going = rule::extensions(matched, self, limits.request, telling);
        if going.all() <= 0.0 {
            return;
        }
        rule::filters(matched, telling);
        if let Some(session) = matched.session() {
            let step = telling.step(StepName::Backend, "the rule keeps a client with the endpoint that it had first");
            step.because(serde_json::to_string(session).unwrap_or_default());
        }
        for (draw, part) in self.draws(matched, session, telling) {
            let scene = Scene { snapshot: self.caught.world.snapshot, dialled: port, draw, session };
            let outcome = matched.outcome(&scene, &self.request);
            let going = match &outcome {
                // Nobody waits before a rule answers by itself.
                Outcome::Answer(_) => going.all(),
                Outcome::Forward(_) | Outcome::Failure(..) => {
                    self.late(going.late * part, limits.request, telling);
                    going.in_time
                }
            };
            if going > 0.0 {
                self.outcome(matched, outcome, going * part, (limits, session), telling);
            }
        }
    }

    /// A number that the data path would draw for each backend, with the backend's share. Where there is no choice, any number
    /// will do.
    fn draws(
        &self,
        matched: &Matched<'_>,
        session: Option<std::net::SocketAddr>,
        telling: &mut Telling,
    ) -> Vec<(Draw, f64)> {
        let backends = matched.backends();
        let weights: Vec<u32> = backends.iter().map(|backend| backend.backend.weight).collect();
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        if !backends.is_empty() {
            let namespace = &matched.route().name.namespace;
            let name = |service| rule::backend_of(namespace, service);
            tell_backends(
                backends.iter().map(|backend| (name(&backend.backend.service), backend.backend.weight)),
                total,
                telling,
            );
        }
        let numbers: Vec<(Draw, f64)> = (0..weights.len())
            .filter_map(|turn| Some((Draw::of_turn(&weights, turn)?, f64::from(*weights.get(turn)?) / total)))
            .collect();
        if numbers.is_empty() || session.is_some_and(|endpoint| self.is_in_use(matched, endpoint)) {
            return vec![(Draw(0), 1.0)];
        }
        numbers
    }

    /// Whether a session's endpoint decides before chance does.
    fn is_in_use(&self, matched: &Matched<'_>, endpoint: std::net::SocketAddr) -> bool {
        let snapshot = self.caught.world.snapshot;
        matched.backend_services().any(|service| {
            let ports = snapshot.service(&service).into_iter().flat_map(|service| &service.ports);
            ports.into_iter().any(|port| port.ready.on(endpoint.ip()) == Some(endpoint))
        })
    }

    fn outcome(
        &self,
        matched: &Matched<'_>,
        outcome: Outcome<'_>,
        share: f64,
        (limits, session): (Limits, Option<std::net::SocketAddr>),
        telling: &mut Telling,
    ) {
        match outcome {
            Outcome::Answer(answer) => {
                let location = answer.headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok());
                let to = location.map(|location| format!(" to {location}")).unwrap_or_default();
                let step =
                    telling.step(StepName::Filters, format!("a filter of the rule answers {}{to}", answer.status));
                step.because("a redirect, or what a browser may send (CORS): no backend is asked");
                let says = format!("the mesh itself answers {}{to}, as the rule says", answer.status);
                telling.possible(Possible {
                    status: Some(answer.status.as_u16()),
                    ..super::telling::answered(share, says)
                });
            }
            Outcome::Failure(failure, _) => {
                telling
                    .step(StepName::Backend, "the backend whose turn it is leads nowhere")
                    .refuses()
                    .because(failure.to_string());
                self.fails(share, &failure.into(), telling);
            }
            Outcome::Forward(forward) => {
                rule::patience(Some(matched), limits, telling);
                let edited = self.edited(&forward);
                for mirror in &forward.mirrors {
                    let to = mirror
                        .port
                        .as_ref()
                        .map_or_else(ToString::to_string, |port| format!("{} port {}", port.service, port.port));
                    telling.step(StepName::Filters, format!("a copy goes to {to}; its answer is thrown away"));
                }
                self.reach(Goal::of(forward.to), share, edited, session, telling);
            }
        }
    }

    /// The request as the backend gets it.
    fn edited(&self, forward: &Forward<'_>) -> Asked {
        let mut headers: HeaderMap = self.asked.headers.clone();
        head::remove_hop_by_hop(&mut headers, false);
        forward.request.apply(&mut headers);
        let sent = &self.asked.path;
        let path = forward.request.target().map(ToOwned::to_owned).or_else(|| self.request.target.rewritten(sent));
        Asked { method: self.asked.method.clone(), path: path.unwrap_or_else(|| sent.clone()), headers }
    }

    fn reach(
        &self,
        goal: Goal,
        share: f64,
        edited: Asked,
        session: Option<std::net::SocketAddr>,
        telling: &mut Telling,
    ) {
        let hash = goal.port().and_then(|port| self.hash(port, goal.is_fallback(), telling));
        let ties = Ties {
            hash,
            hash_of_fallback: goal.fallback().and_then(|port| self.hash(port, true, telling)),
            // Who takes over knows nothing of sessions.
            session: session.filter(|_| !goal.is_fallback()),
        };
        let says = Says::Request(Box::new(edited));
        endpoints::reach_by(self.caught, goal, share, (&says, Carried::Requests, ties), telling);
    }

    /// The hash of what requests of this one's kind have in common, where that counts.
    fn hash(&self, port: &ServicePort, is_fallback: bool, telling: &mut Telling) -> Option<u64> {
        let snapshot = self.caught.world.snapshot;
        let settings = snapshot.destination_settings(&port.service, port.port, &self.caught.source.namespace)?;
        let algorithm = settings.load_balancer.as_ref()?.algorithm.as_ref()?;
        let Algorithm::ConsistentHash(alike) = algorithm else { return None };
        let hash = hash_key(&alike.key, &self.request, self.caught.client);
        if hash.is_none() && !is_fallback && matches!(alike.key, HashKey::Cookie(_)) {
            telling.note("the client has no cookie to be hashed yet: it may be given one, and any endpoint with it");
        }
        hash
    }

    /// The mesh answers a part of the requests.
    pub(super) fn fails(&self, share: f64, failed: &RequestFailed, telling: &mut Telling) {
        telling.request_fails(share, failed, Refused { is_grpc: self.request.is_grpc(), backend: None });
    }

    /// A part of the requests waits, on purpose, for all the time that it may take.
    pub(super) fn late(&self, share: f64, limit: Option<Duration>, telling: &mut Telling) {
        if let Some(limit) = limit.filter(|_| share > 0.0) {
            self.fails(share, &RequestFailed::Late(limit), telling);
        }
    }
}

impl Telling {
    /// The server's agent refuses the connection of the client's agent, which answers its client's request.
    pub(super) fn refused_by_peer(&mut self, share: f64, failed: &crate::failure::Failed, asking: Refused<'_>) {
        let failure = crate::observe::Failure::from(failed);
        let status = http::StatusCode::SERVICE_UNAVAILABLE;
        let says =
            format!("it is answered {status}, since the server's agent refuses the connection: {}", failure.error);
        self.possible(Possible {
            policy: failure.denied_by,
            backend: asking.backend.map(ToOwned::to_owned),
            status: Some(if asking.is_grpc { http::StatusCode::OK } else { status }.as_u16()),
            // UNAVAILABLE, as of 503.
            grpc_status: asking.is_grpc.then_some(14),
            ..refused(share, ResponseFlag::Denied, says)
        });
    }
}
