//! Who gets it: what documents say of the backend, which endpoint is picked, how that is reached, and what its node decides.

use std::{fmt::Write as _, net::SocketAddr, sync::Arc};

use serde_json::json;

use super::{
    Arrival, View,
    question::Says,
    report::{Possible, StepName, Verdict},
    server::{self, Carried},
    telling::{Refused, Telling, answered},
    through::Caught,
};
use crate::{
    balance::{
        Bound, Candidate, Chooser, Forecast, Foreseen, NoEndpoint, Wanted, Way, WhyPlain,
        breaker::{Overflow, PoolSettings},
        candidate,
        health::Use,
    },
    connect::{ConnectError, http::PoolError},
    failure::Failed,
    mesh::{Locality, ServicePort},
    observe::OverflowLimit,
    request::RequestFailed,
    route::{Route, backend::Resolved, http::is_grpc},
    rules::destination_rule::PortSettings,
};

/// Endpoints that are named in a line of text; programs get all that were looked at.
const NAMED: usize = 8;

/// Endpoints that end otherwise than the likeliest, and are told too.
const TOLD: usize = 3;

/// Where something is to go.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    route: Route,
    is_fallback: bool,
    fallback: Option<Arc<ServicePort>>,
}

/// What ties a request to an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ties {
    pub(super) hash: Option<u64>,
    /// The same for who takes over, by what documents say of it.
    pub(super) hash_of_fallback: Option<u64>,
    pub(super) session: Option<SocketAddr>,
}

impl Goal {
    pub(super) fn only(route: Route) -> Self {
        Self { route, is_fallback: false, fallback: None }
    }

    pub(super) fn of(resolved: Resolved) -> Self {
        let Resolved { port, is_fallback, fallback } = resolved;
        Self { route: Route::Service(port), is_fallback, fallback }
    }

    pub(super) fn port(&self) -> Option<&Arc<ServicePort>> {
        match &self.route {
            Route::Service(port) => Some(port),
            Route::Workload(..) | Route::External(..) => None,
        }
    }

    pub(super) fn is_fallback(&self) -> bool {
        self.is_fallback
    }

    /// Who takes over.
    pub(super) fn fallback(&self) -> Option<&Arc<ServicePort>> {
        self.fallback.as_ref()
    }
}

/// A connection that is carried as bytes.
pub(super) fn reach(caught: &Caught<'_>, goal: Goal, share: f64, says: &Says, telling: &mut Telling) {
    reach_by(caught, goal, share, (says, Carried::Bytes, Ties::default()), telling);
}

/// Anything, as the client's agent carries it.
pub(super) fn reach_by(
    caught: &Caught<'_>,
    goal: Goal,
    share: f64,
    (says, carried, ties): (&Says, Carried, Ties),
    telling: &mut Telling,
) {
    let backend = goal.port().map(|port| format!("{} port {}", port.service, port.port));
    let reaching = Reaching { caught, says, carried, ties, share, backend };
    reaching.to(goal, telling);
}

/// What tells ends apart: whether the server gets it, the flag, and what decided.
type End = (bool, Option<String>, Option<String>);

struct Reaching<'a> {
    caught: &'a Caught<'a>,
    says: &'a Says,
    carried: Carried,
    ties: Ties,
    share: f64,
    backend: Option<String>,
}

impl Reaching<'_> {
    fn to(&self, goal: Goal, telling: &mut Telling) {
        let (snapshot, source) = (self.caught.world.snapshot, self.caught.source);
        let port = match &goal.route {
            Route::Service(port) => port,
            Route::Workload(pod, address) => {
                let only = candidate(snapshot, *address, Some(Arc::clone(pod)), source);
                return self.by(&only, self.share, telling);
            }
            Route::External(address, _) => {
                return self.by(&candidate(snapshot, *address, None, source), self.share, telling);
            }
        };
        if goal.is_fallback {
            let step = telling.step(StepName::Backend, format!("{} takes over, by a Fallback document", self.name()));
            step.because("the Service that was meant has no ready endpoint");
        }
        let settings = snapshot.destination_settings(&port.service, port.port, &source.namespace).map(AsRef::as_ref);
        self.tell_settings(port, settings, telling);
        if let Some(overflow) = self.full(port, settings) {
            return self.overflows(overflow, goal.fallback, telling);
        }
        let chooser = Chooser { balancer: self.caught.world.balancer, snapshot, source, client: self.caught.client };
        let wanted = Wanted {
            settings,
            hash: self.ties.hash,
            sticky: self.ties.session,
            excluded: &[],
            has_fallback: goal.fallback.is_some(),
        };
        let (forecast, candidates) = chooser.forecast(port, &wanted);
        tell_endpoints(&forecast, matches!(self.caught.world.view, View::Agent { .. }), telling);
        let picked: Vec<(&Foreseen, &Candidate)> =
            forecast.endpoints.iter().zip(&candidates).filter(|(seen, _)| seen.share > 0.0).collect();
        if picked.is_empty() {
            return match goal.fallback {
                Some(fallback) => self.falls_back(fallback, "all its endpoints are left out", telling),
                None => self.fails(NoEndpoint { service: port.service.clone(), port: port.port }.into(), telling),
            };
        }
        self.each(&picked, telling);
    }

    /// Each endpoint's outcome; the steps of the likeliest, and of those that end otherwise.
    fn each(&self, picked: &[(&Foreseen, &Candidate)], telling: &mut Telling) {
        let mut ends: Vec<Vec<End>> = Vec::new();
        for (seen, candidate) in picked {
            let mut aside = Telling::default();
            self.by(candidate, self.share * seen.share, &mut aside);
            let Telling { steps, result, notes } = aside;
            let end: Vec<_> = result.iter().map(|one| (one.answered, one.flag.clone(), one.policy.clone())).collect();
            if !ends.contains(&end) && ends.len() < TOLD {
                ends.push(end);
                telling.steps.extend(steps);
            }
            result.into_iter().for_each(|possible| telling.possible(possible));
            notes.into_iter().for_each(|note| telling.note(note));
        }
    }

    /// One endpoint: how it is reached, and what its node decides.
    fn by(&self, candidate: &Candidate, share: f64, telling: &mut Telling) {
        let to = candidate.address;
        let told = server::Told { share, backend: self.backend.as_deref(), is_told: true, carried: self.carried };
        let client = self.caught.client;
        let arrival = |identity| {
            let workload = candidate.workload.as_deref()?;
            Some(Arrival { workload, identity, client, to })
        };
        let (says, why, arrival) = match &candidate.way {
            Way::Tunnel(expected) => (
                format!("by a tunnel (HBONE, TLS 1.3 with certificates of both sides) to {}", to.ip()),
                format!("the pod is enrolled; its agent has to prove {expected}"),
                arrival(Some(&self.caught.source.identity)),
            ),
            Way::Plain(WhyPlain::OutsideMesh) => {
                (format!("by plain TCP to {to}"), "it is not in the mesh: no agent is there".to_owned(), None)
            }
            Way::Plain(WhyPlain::Itself) => {
                (format!("by plain TCP to {to}"), "the pod connects to itself".to_owned(), arrival(None))
            }
            Way::Plain(WhyPlain::Disabled) => (
                format!("by plain TCP to {to}"),
                "a PeerAuthentication says DISABLE of the port, so clients in the mesh come in plaintext".to_owned(),
                arrival(None),
            ),
        };
        let is_tunnel = matches!(candidate.way, Way::Tunnel(_));
        let step = telling.step(StepName::Way, says);
        step.because(why).verdict(if is_tunnel { Verdict::Passes } else { Verdict::Bypasses });
        if is_tunnel && !self.caught.can_prove {
            step.refuses();
            let identity = self.caught.source.identity.clone();
            let error = ConnectError::Identity { identity };
            return match self.carried {
                Carried::Requests => {
                    self.request_fails(share, &RequestFailed::Connect(Arc::new(PoolError::Connect(error))), telling);
                }
                Carried::Bytes | Carried::ByNobody => {
                    telling.connection_fails(share, &Failed::Connect(error), self.backend.as_deref());
                }
            };
        }
        match arrival {
            Some(arrival) => server::arrives(self.caught.world, &arrival, self.says, told, telling),
            None => {
                let backend = self.backend.clone();
                let says = "it goes to its destination, which is outside the mesh";
                telling.possible(Possible { endpoint: Some(to), backend, ..answered(share, says) });
            }
        }
    }

    fn tell_settings(&self, port: &ServicePort, settings: Option<&PortSettings>, telling: &mut Telling) {
        let world = self.caught.world;
        let rule = world.snapshot.destination_rule(&port.service, &self.caught.source.namespace);
        let says = match rule {
            Some(rule) => format!("DestinationRule {} is for {}", rule.document, self.name()),
            None => format!("no DestinationRule is for {}", self.name()),
        };
        let step = telling.step(StepName::Policy, says);
        if let Some(settings) = settings {
            step.because(serde_json::to_string(settings).unwrap_or_default()).details(settings);
        }
        let own = PoolSettings::of(settings).own_connect_timeout();
        step.because(match own {
            Some(after) => format!("opening a connection may take {after:?}, as the DestinationRule says"),
            None => format!(
                "opening a connection may take {:?}, as limits.connectTimeout of agent.yaml says",
                world.connect_timeout
            ),
        });
        if let Some(policy) = world.snapshot.backend_policy(&port.service) {
            step.because(format!("XBackendTrafficPolicy: {}", serde_json::to_string(policy).unwrap_or_default()));
        }
    }

    /// Whether as much is under way as may be.
    fn full(&self, port: &ServicePort, settings: Option<&PortSettings>) -> Option<Overflow> {
        let limit = match self.carried {
            Carried::Requests => OverflowLimit::Requests,
            Carried::Bytes | Carried::ByNobody => OverflowLimit::Connections,
        };
        self.caught.world.breakers.full(&port.service, port.port, limit, PoolSettings::of(settings))
    }

    fn overflows(&self, overflow: Overflow, fallback: Option<Arc<ServicePort>>, telling: &mut Telling) {
        match fallback {
            Some(fallback) => self.falls_back(fallback, &overflow.to_string(), telling),
            None => self.fails(overflow.into(), telling),
        }
    }

    fn falls_back(&self, fallback: Arc<ServicePort>, why: &str, telling: &mut Telling) {
        let backend = format!("{} port {}", fallback.service, fallback.port);
        let step = telling.step(StepName::Backend, format!("{backend} takes over, by a Fallback document"));
        step.because(why);
        let ties = Ties { hash: self.ties.hash_of_fallback, ..Ties::default() };
        let instead = Reaching { backend: Some(backend), ties, ..*self };
        instead.to(Goal::only(Route::Service(fallback)), telling);
    }

    fn fails(&self, why: Nobody, telling: &mut Telling) {
        match (self.carried, why) {
            (Carried::Requests, Nobody::Endpoint(none)) => self.request_fails(self.share, &none.into(), telling),
            (Carried::Requests, Nobody::Room(overflow)) => self.request_fails(self.share, &overflow.into(), telling),
            (_, Nobody::Endpoint(none)) => telling.connection_fails(self.share, &none.into(), self.backend.as_deref()),
            (_, Nobody::Room(overflow)) => {
                telling.connection_fails(self.share, &overflow.into(), self.backend.as_deref());
            }
        }
    }

    fn request_fails(&self, share: f64, failed: &RequestFailed, telling: &mut Telling) {
        let is_grpc = matches!(self.says, Says::Request(asked) if is_grpc(&asked.headers));
        telling.request_fails(share, failed, Refused { is_grpc, backend: self.backend.as_deref() });
    }

    fn name(&self) -> &str {
        self.backend.as_deref().unwrap_or("it")
    }
}

/// Why nobody gets it.
enum Nobody {
    Endpoint(NoEndpoint),
    Room(Overflow),
}

impl From<NoEndpoint> for Nobody {
    fn from(none: NoEndpoint) -> Self {
        Self::Endpoint(none)
    }
}

impl From<Overflow> for Nobody {
    fn from(overflow: Overflow) -> Self {
        Self::Room(overflow)
    }
}

fn tell_endpoints(forecast: &Forecast, is_live: bool, telling: &mut Telling) {
    let step = telling.step(StepName::Endpoint, in_shares(forecast));
    match forecast.bound {
        Some((_, Bound::Session)) => step.because("the request's session keeps to its endpoint"),
        Some((_, Bound::Hash)) => step.because("the hash of what its kind has in common finds it"),
        Some((_, Bound::Client)) => {
            step.because("sessionAffinity: ClientIP of the Service: the client's address decides")
        }
        None => step.because(format!("picked: {}", forecast.algorithm)),
    };
    if let Some(near) = forecast.near {
        step.because(format!("{:.0} % of picks are made in this node's zone", near * 100.0));
    }
    if forecast.all_left_out {
        step.because("all endpoints are left out, so all are used unless a fallback takes over");
    }
    for out in forecast.endpoints.iter().filter(|seen| seen.standing == Use::No).take(NAMED) {
        step.instead_of(format!("{}: left out, since it failed too often, asked to be left alone, or is outside the mesh where only the mesh may be used", out.address));
    }
    if forecast.endpoints.len() < forecast.count {
        step.because(format!("{} of {} endpoints were looked at", forecast.endpoints.len(), forecast.count));
    }
    let each = |seen: &Foreseen| {
        let standing = match seen.standing {
            Use::Yes => "used",
            Use::Probe => "probed",
            Use::No => "left out",
        };
        let zone = match seen.locality {
            Locality::SameZone => "same",
            Locality::OtherZone => "other",
            Locality::Unknown => "unknown",
        };
        let scores = is_live.then(|| json!({"inFlight": seen.in_flight, "expectedWaitMs": seen.wait * 1000.0}));
        json!({
            "address": seen.address, "share": seen.share, "standing": standing, "zone": zone, "scores": scores,
            "warmup": (seen.part < 1.0).then_some(seen.part),
        })
    };
    step.details(forecast.endpoints.iter().map(each).collect::<Vec<_>>());
    if is_live {
        for seen in forecast.endpoints.iter().filter(|seen| seen.share > 0.0).take(NAMED) {
            step.because(format!(
                "{}: {} under way from this node, {:.1} ms expected{}",
                seen.address,
                seen.in_flight,
                seen.wait * 1000.0,
                if seen.standing == Use::Probe { ", back from ejection: one request finds out" } else { "" },
            ));
        }
    }
}

fn in_shares(forecast: &Forecast) -> String {
    let used: Vec<&Foreseen> = forecast.endpoints.iter().filter(|seen| seen.share > 0.0).collect();
    if used.is_empty() {
        return format!("none of {} endpoints can be used", forecast.count);
    }
    let mut text = String::new();
    for (index, seen) in used.iter().take(NAMED).enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        // Writing to a String cannot fail.
        let _ = match used.len() {
            1 => write!(text, "{}", seen.address),
            _ => write!(text, "{comma}{} {:.1} %", seen.address, seen.share * 100.0),
        };
    }
    if used.len() > NAMED {
        let _ = write!(text, " and {} more", used.len() - NAMED);
    }
    text
}
