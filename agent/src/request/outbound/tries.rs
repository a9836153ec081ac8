//! One request to one endpoint after the other, until one answers: those of its backend, then of the fallback.

use std::time::{Duration, SystemTime};

use http::Response;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Asked,
    backend::Backend,
    forward::Forwarding,
    plan::Plan,
    send::{Told, Untold},
};
use crate::{
    balance::{
        Answered, Candidate, Lease as EndpointLease, TryResult, breaker::Underway, health::HealthEvent,
        retry_after::retry_after,
    },
    connect::http::{HttpVersion, Lease, Replay, answer},
    connection::{ABSENT_AGENT, LOOK_AGAIN},
    node::Node,
    observe::{FallbackOf, FallbackReason, OverflowLimit, RequestRecord, RetryResult},
    request::{exchange::grpc_status_in, failed::RequestFailed},
    route::{
        fallback::{Tried, takes_over},
        retry::{GiveUp, Next, TryEnd, decide},
    },
};

/// The tries of one request.
pub(super) struct Tries<'a, 'p> {
    forwarding: &'a Forwarding<'a>,
    plan: &'p Plan<'p>,
    replay: &'a Replay,
    began: Instant,
    record: &'a mut RequestRecord,
    tried: Tried,
}

/// A request as the endpoints of one backend get it.
pub(super) struct Leg<'p> {
    pub(super) backend: &'p Backend<'p>,
    pub(super) asked: Asked,
    pub(super) version: HttpVersion,
}

/// A try that got an answer.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Lease,
    pub(super) endpoint: Option<EndpointLease>,
    pub(super) candidate: Candidate,
    /// Counts the request among those under way to its backend.
    pub(super) underway: Option<Underway>,
    /// Why it is passed on although its status was to be tried again.
    pub(super) gave_up: Option<GiveUp>,
}

impl<'p> Leg<'p> {
    fn new(mut asked: Asked, plan: &Plan<'_>, backend: &'p Backend<'p>) -> Self {
        let version = asked.version_for(backend.port());
        asked.prepare(&plan.request, plan.target.as_deref(), version);
        Self { backend, asked, version }
    }
}

impl<'a, 'p> Tries<'a, 'p> {
    pub(super) fn new(
        forwarding: &'a Forwarding<'a>,
        plan: &'p Plan<'p>,
        replay: &'a Replay,
        began: Instant,
        record: &'a mut RequestRecord,
    ) -> Self {
        Self { forwarding, plan, replay, began, record, tried: Tried::default() }
    }

    /// Tries at the backend, and at the fallback if that takes over; who answers, too.
    pub(super) async fn run(mut self, asked: Asked) -> Result<(Answer, &'p Backend<'p>), RequestFailed> {
        let plan = self.plan;
        // The fallback may be spoken to in another version.
        let fallback = plan.fallback.as_ref().map(|fallback| (fallback, asked.clone()));
        if plan.backend.is_fallback {
            self.falls_back(&plan.backend, FallbackReason::NoEndpoint);
        }
        let failed = match self.at(Leg::new(asked, plan, &plan.backend)).await {
            Ok(answer) => return Ok((answer, &plan.backend)),
            Err(failed) => failed,
        };
        match fallback {
            Some((fallback, asked)) if takes_over(self.tried, self.replay.state(), self.left()) => {
                self.falls_back(fallback, failed.fallback_reason());
                Ok((self.at(Leg::new(asked, plan, fallback)).await?, fallback))
            }
            _ => Err(failed),
        }
    }

    fn falls_back(&mut self, fallback: &Backend<'_>, reason: FallbackReason) {
        self.node().observer.metrics().fell_back(FallbackOf::Request, reason);
        if let Some(service) = fallback.to.service() {
            self.record.set_service(service.clone());
        }
    }

    /// Tries at one backend. From the number of tries before follows how many there may be: one at least.
    async fn at(&mut self, leg: Leg<'_>) -> Result<Answer, RequestFailed> {
        let underway = self.forwarding.underway(leg.backend)?;
        let answer = self.until_answered(&leg).await?;
        Ok(Answer { underway, ..answer })
    }

    async fn until_answered(&mut self, leg: &Leg<'_>) -> Result<Answer, RequestFailed> {
        let patience = Instant::now() + ABSENT_AGENT;
        let has_fallback = !leg.backend.is_fallback && self.plan.fallback.is_some();
        let mut excluded = Vec::new();
        let mut _retry = None;
        loop {
            if let Some(limit) = self.plan.limits.request.filter(|limit| self.began.elapsed() >= *limit) {
                // A delay, or a wait for an agent, took all of it.
                return Err(RequestFailed::Late(limit));
            }
            self.record.set_tries(self.tried.count() + 1);
            let (candidate, endpoint) = self.forwarding.pick(leg.backend, &excluded, has_fallback)?;
            self.record.set_server(candidate.party(None));
            let result = self.one(leg, &candidate, endpoint).await;
            if result.as_ref().is_err_and(|untold| untold.why.is_absent_agent()) && Instant::now() < patience {
                // It is just being started anew.
                sleep(LOOK_AGAIN).await;
                continue;
            }
            let end = end(&result);
            self.tried.add(end);
            if result.as_ref().err().is_none_or(|untold| untold.is_endpoint) {
                excluded.push(candidate.address);
            }
            match self.allowed(leg, end) {
                Ok((after, retry)) => {
                    self.node().observer.metrics().retry(RetryResult::Again);
                    _retry = retry;
                    drop(result);
                    sleep(after).await;
                }
                Err(reason) => return self.gave_up(reason, result),
            }
        }
    }

    /// Whether there is to be another try, and budget and breaker allow it.
    fn allowed(&self, leg: &Leg<'_>, end: TryEnd) -> Result<(Duration, Option<Underway>), GiveUp> {
        let (method, body) = (&leg.asked.parts.method, self.replay.state());
        let after = match decide(&self.plan.retry, self.tried.count(), end, method, body, self.left()) {
            Next::GiveUp(reason) => return Err(reason),
            Next::Again { after } => after,
        };
        let node = self.node();
        let (Some(port), Some(breaker)) = (leg.backend.port(), &leg.backend.breaker) else { return Ok((after, None)) };
        if !self.forwarding.budget(port).try_retry(std::time::Instant::now()) {
            node.observer.metrics().retry(RetryResult::NoBudget);
            return Err(GiveUp::OverBudget);
        }
        let retry = node.begin(breaker, OverflowLimit::Retries, leg.backend.pool());
        Ok((after, Some(retry.map_err(|_| GiveUp::TooManyRetries)?)))
    }

    fn gave_up(&self, reason: GiveUp, result: Result<Answer, Untold>) -> Result<Answer, RequestFailed> {
        let counted = match reason {
            GiveUp::OverBudget => return Err(RequestFailed::OverBudget),
            GiveUp::NotRetried => None,
            GiveUp::NotIdempotent => Some(RetryResult::NotIdempotent),
            GiveUp::AttemptsEnded | GiveUp::NoTimeLeft | GiveUp::RetryAfterTooLong => Some(RetryResult::Attempts),
            GiveUp::BodyTooLong => Some(RetryResult::BodyTooLong),
            GiveUp::TooManyRetries => Some(RetryResult::Overflow),
        };
        if let Some(counted) = counted {
            self.node().observer.metrics().retry(counted);
        }
        let answer = result.map_err(|untold| untold.why)?;
        Ok(Answer { gave_up: counted.map(|_| reason), ..answer })
    }

    /// One try.
    async fn one(
        &mut self,
        leg: &Leg<'_>,
        candidate: &Candidate,
        endpoint: Option<EndpointLease>,
    ) -> Result<Answer, Untold> {
        let started = Instant::now();
        let send = self.forwarding.send(leg, candidate, self.replay, self.record);
        let result = match self.plan.limits.next_try(self.began.elapsed()) {
            Some(limit) => timeout(limit, send).await.unwrap_or_else(|_| {
                Err(Untold { why: RequestFailed::Late(limit), end: TryEnd::Timeout, is_endpoint: true })
            }),
            None => send.await,
        };
        if let Some(endpoint) = &endpoint {
            let latency = result.as_ref().map_or_else(|_| started.elapsed(), |told| told.latency);
            let event = how(&result).and_then(|result| endpoint.responded(Answered { latency, result }));
            event.into_iter().for_each(|event| self.tell(event, candidate));
        }
        let Told { response, connection, .. } = result?;
        Ok(Answer { response, connection, endpoint, candidate: candidate.clone(), underway: None, gave_up: None })
    }

    fn tell(&self, event: HealthEvent, candidate: &Candidate) {
        if let HealthEvent::Ejected(reason) = event {
            self.node().observer.metrics().ejected(reason);
        }
        tracing::debug!(endpoint = %candidate.address, ?event, "the health of an endpoint changed");
    }

    /// What the request still has of its time.
    fn left(&self) -> Option<Duration> {
        self.plan.limits.request.map(|timeout| timeout.saturating_sub(self.began.elapsed()))
    }

    fn node(&self) -> &Node {
        &self.forwarding.at.thread.node
    }
}

/// A try as retries see it.
fn end(result: &Result<Answer, Untold>) -> TryEnd {
    match result {
        Ok(Answer { response, .. }) => {
            TryEnd::Answered(response.status(), retry_after(response.headers(), SystemTime::now()))
        }
        Err(untold) => untold.end,
    }
}

/// A try as balancing sees it; `None` where it says nothing of the endpoint. A gRPC call tells its failure in a head without
/// a body.
fn how(result: &Result<Told, Untold>) -> Option<TryResult> {
    match result {
        Ok(Told { response, .. }) => {
            let of_call = grpc_status_in(response.headers()).and_then(|status| u16::try_from(status).ok());
            let status = of_call.map_or(response.status(), answer::from_grpc_status);
            Some(TryResult::Status(status, retry_after(response.headers(), SystemTime::now())))
        }
        Err(untold) => match untold.end {
            // A breaker is the whole destination's: were it the endpoint's fault, the others would get yet more.
            TryEnd::Overflow => None,
            TryEnd::ConnectFailed | TryEnd::Denied => Some(TryResult::ConnectFailed),
            TryEnd::Timeout => Some(TryResult::Timeout),
            // The client's own doing is nobody's failure, and no success either.
            _ if matches!(untold.why, RequestFailed::Body(_)) => None,
            _ => Some(TryResult::Reset),
        },
    }
}
