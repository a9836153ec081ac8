//! Where a request goes, before anything is sent: its route, its limits and faults, and what its destination's documents say.

use std::time::Duration;

use http::Response;

use super::{Asked, Outbound, backend::Backend, plan::Plan, stay::Stay};
use crate::{
    authorize::limits::{LimitSource, Limited},
    balance::hash_key::{hash_key, new_cookie},
    mesh::{AppliedLimits, Snapshot, Workload},
    observe::{FaultKind, LimitedAt, RequestRecord},
    request::{body::AnswerBody, failed::RequestFailed},
    route::{
        self, Route,
        backend::{Draw, Resolved},
        fault,
        http::{Decision, Failure, Matched, Outcome, Request, ResponseEdits, Scene},
        timeouts,
    },
    rules::{
        destination_rule::{Algorithm, HashKey},
        gateway::ExtensionKind,
        http_route::Scheme,
    },
    target::RequestTarget,
};

/// What is done with a request.
pub(super) enum Planned<'s> {
    Forward(Box<Plan<'s>>),
    Answer(Response<AnswerBody>),
}

/// A request that goes nowhere.
pub(super) struct Unplanned<'s> {
    pub(super) failed: RequestFailed,
    /// What its rule changes in the answer.
    pub(super) edits: ResponseEdits<'s>,
    /// How long it waits first, on purpose.
    pub(super) delay: Option<Duration>,
}

impl<E: Into<RequestFailed>> From<E> for Box<Unplanned<'_>> {
    fn from(failed: E) -> Self {
        Self::new(Unplanned { failed: failed.into(), edits: ResponseEdits::default(), delay: None })
    }
}

impl Unplanned<'_> {
    /// The same of a request that may take so long. What is injected is part of that time.
    fn within(mut self: Box<Self>, limit: Option<Duration>) -> Box<Self> {
        if let Some(limit) = limit.filter(|limit| self.delay.is_some_and(|delay| delay >= *limit)) {
            (self.failed, self.delay) = (RequestFailed::Late(limit), Some(limit));
        }
        self
    }
}

impl Outbound {
    /// Decides.
    pub(super) fn plan<'s>(
        &'s self,
        snapshot: &'s Snapshot,
        source: &Workload,
        asked: &Asked,
        record: &mut RequestRecord,
    ) -> Result<Planned<'s>, Box<Unplanned<'s>>> {
        self.pod.account.admit_request()?;
        let route = route::route(snapshot, self.original_dst)?;
        if let Some(service) = route.service() {
            record.set_service(service.clone());
        }
        let sent = asked.parts.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
        let target = RequestTarget::parse(sent)?;
        let rewritten = target.rewritten(sent);
        let request = Request {
            method: &asked.parts.method,
            target: &target,
            headers: &asked.parts.headers,
            scheme: Scheme::Http,
            authority: asked.authority.as_str(),
        };
        let Route::Service(port) = &route else {
            return Ok(Planned::Forward(Box::new(Plan::to(route, rewritten))));
        };
        for limits in snapshot.rate_limits_of_service(&port.service) {
            self.limited(limits, source, &request, LimitedAt::Service)?;
        }
        let table = snapshot.routes().table(&port.service, port.port, &source.namespace);
        let matched = match route::http::decide(table.map(AsRef::as_ref), &request) {
            Decision::Implicit => None,
            // The routes of the port came to be about connections while this one was open: those that come from now on
            // are decided by them.
            Decision::OfConnections | Decision::NoRule => return Err(Failure::NoRule.into()),
            Decision::Rule(matched) => Some(matched),
        };
        let of_route = matched.as_ref().and_then(Matched::timeouts);
        let limits = timeouts::Limits::of_request(of_route.as_ref(), &request).map_err(RequestFailed::GrpcTimeout)?;
        let key = &self.thread.node.session_key;
        let stays = Stay::possible(key, snapshot, &port.service, matched.as_ref(), request.headers);
        let mut plan = match &matched {
            None => Plan::to_service(Resolved::of(snapshot, port), rewritten),
            Some(matched) => {
                record.set_route(format_args!("{} rules[{}]", matched.route(), matched.rule()));
                let delay = self.extensions(snapshot, source, matched, &request);
                let delay = delay.map_err(|unplanned| unplanned.within(limits.request))?;
                let endpoint = stays.iter().find_map(Stay::endpoint);
                let scene = Scene { snapshot, dialled: port, draw: Draw(fastrand::u64(..)), session: endpoint };
                match matched.outcome(&scene, &request) {
                    Outcome::Forward(forward) => Plan { delay, ..Plan::of_rule(matched, forward, rewritten) },
                    Outcome::Answer(answer) => {
                        let mut response = Response::new(AnswerBody::own(""));
                        (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
                        return Ok(Planned::Answer(response));
                    }
                    Outcome::Failure(failure, edits) => {
                        let unplanned = Unplanned { failed: failure.into(), edits, delay };
                        return Err(Box::new(unplanned).within(limits.request));
                    }
                }
            }
        };
        let lasting = plan.backend.port().filter(|_| !plan.backend.is_fallback);
        plan.backend.stay = lasting.and_then(|port| Stay::of(stays, &port.service));
        plan.limits = limits;
        for backend in [Some(&mut plan.backend), plan.fallback.as_mut()].into_iter().flatten() {
            self.destination(snapshot, source, &request, backend);
        }
        Ok(Planned::Forward(Box::new(plan)))
    }

    /// What the documents about who gets this request say of it.
    fn destination(&self, snapshot: &Snapshot, source: &Workload, request: &Request<'_>, backend: &mut Backend<'_>) {
        backend.look_up(&self.thread.node, snapshot, &source.namespace);
        let balancer = backend.settings.as_ref().and_then(|settings| settings.load_balancer.as_ref());
        let Some(Algorithm::ConsistentHash(alike)) = balancer.and_then(|balancer| balancer.algorithm.as_ref()) else {
            return;
        };
        backend.hash = hash_key(&alike.key, request, self.client.ip());
        if let (None, HashKey::Cookie(cookie), false) = (backend.hash, &alike.key, backend.is_fallback) {
            let cookie = new_cookie(cookie);
            backend.hash = cookie.as_ref().map(|cookie| cookie.hash);
            backend.hash_cookie = cookie;
        }
    }

    /// The limits and faults that a rule refers to, in their order; the delay that is to come, if any.
    fn extensions(
        &self,
        snapshot: &Snapshot,
        source: &Workload,
        matched: &Matched<'_>,
        request: &Request<'_>,
    ) -> Result<Option<Duration>, Box<Unplanned<'static>>> {
        let namespace = &matched.route().name.namespace;
        let mut delay = None;
        for extension in matched.extensions() {
            let missing = || RequestFailed::Extension { kind: extension.kind, name: extension.name.clone() };
            match extension.kind {
                ExtensionKind::RateLimit => {
                    let limits = snapshot.rate_limit(namespace, &extension.name).ok_or_else(missing)?;
                    self.limited(limits, source, request, LimitedAt::Route)?;
                }
                ExtensionKind::FaultInjection => {
                    let fault = snapshot.fault(namespace, &extension.name).ok_or_else(missing)?;
                    let planned = fault::plan(fault, request.headers, fault::Draw::random());
                    let metrics = self.thread.node.observer.metrics();
                    if planned.delay.is_some() {
                        metrics.fault_injected(FaultKind::Delay);
                        delay = planned.delay;
                    }
                    if let Some(status) = planned.abort {
                        metrics.fault_injected(FaultKind::Abort);
                        let document = format!("FaultInjection {namespace}/{}", extension.name);
                        let failed = RequestFailed::Fault { status, document };
                        return Err(Box::new(Unplanned { failed, edits: ResponseEdits::default(), delay }));
                    }
                }
            }
        }
        Ok(delay)
    }

    fn limited(
        &self,
        limits: &AppliedLimits,
        source: &Workload,
        request: &Request<'_>,
        at: LimitedAt,
    ) -> Result<(), Limited> {
        self.thread.node.limited(limits, LimitSource::Identity(&source.identity), request.headers, at)
    }
}
