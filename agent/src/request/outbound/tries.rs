//! One request to one endpoint after the other, until one answers.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Method, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Asked, Outbound,
    mirrors::Copies,
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
    mesh::{ServicePort, Snapshot, Workload},
    observe::{Failure, OverflowLimit, RequestRecord, ResponseFlag, RetryResult},
    request::{
        body::{AnswerBody, Limit},
        exchange::{answered, grpc_status_in, refuse, switched},
        failed::RequestFailed,
        upgrade,
    },
    route::retry::{GiveUp, Next, TryEnd, budget::Budget, decide},
};

/// Sends one request on.
pub(super) struct Forwarding<'a> {
    pub(super) at: &'a Arc<Outbound>,
    pub(super) snapshot: &'a Snapshot,
    pub(super) source: &'a Arc<Workload>,
}

/// A try that got an answer.
struct Answer {
    response: Response<Incoming>,
    connection: Lease,
    endpoint: Option<EndpointLease>,
    candidate: Candidate,
    /// Why it is passed on although its status was to be tried again.
    gave_up: Option<GiveUp>,
}

impl Forwarding<'_> {
    /// Tries until there is an answer or no more to try; the answer, with the end of its body as the end of the request.
    pub(super) async fn run(
        &self,
        mut asked: Asked,
        mut plan: Plan<'_>,
        body: Incoming,
        mut record: RequestRecord,
    ) -> Response<AnswerBody> {
        let (is_grpc, is_connect) = (asked.is_grpc, asked.parts.method == Method::CONNECT);
        let began = Instant::now();
        if let Some(delay) = plan.delay {
            sleep(plan.limits.request.map_or(delay, |limit| delay.min(limit))).await;
        }
        let version = asked.version_for(plan.port());
        let client_half = upgrade::client_half(&mut asked.parts, version);
        let keep = if plan.keeps_body() { self.at.thread.node.http.replay_bytes } else { 0 };
        let replay = Replay::new(body, keep, record.bytes());
        let copies = Copies::prepare(self, &asked, &plan);
        asked.prepare(&plan.request, plan.target.as_deref(), version);
        let result = match self.underway(&plan) {
            Ok(underway) => {
                let tries = self.tries(&asked, version, &plan, &replay, began, &mut record).await;
                tries.map(|answer| (answer, underway))
            }
            Err(failed) => Err(failed),
        };
        copies.send(|| replay.whole());
        let deadline = plan.limits.request.map(|timeout| began + timeout);
        let mut response = match result {
            Ok((answer, underway)) => {
                let endpoint = answer.candidate.address;
                let mut response = match client_half.filter(|_| upgrade::is_agreed(is_connect, &answer.response)) {
                    Some(client_half) => {
                        let kind = upgrade::kind(is_connect, &answer.response);
                        self.at.thread.node.observer.metrics().upgraded(kind);
                        let Answer { response, connection, endpoint, .. } = answer;
                        switched(response, client_half, record, (connection, endpoint, underway))
                    }
                    None => {
                        let (limit, flagged) = (Limit { deadline, is_grpc }, exhausted(&answer));
                        let Answer { response, connection, endpoint, .. } = answer;
                        answered(response, (connection, replay), limit, record, flagged, (endpoint, underway))
                    }
                };
                if let Some((name, value)) = plan.stay.as_ref().and_then(|stay| stay.told(endpoint)) {
                    response.headers_mut().append(name, value);
                }
                let cookie = plan.hash_cookie.take().map(|cookie| cookie.header);
                if let Some(cookie) = cookie {
                    response.headers_mut().append(http::header::SET_COOKIE, cookie);
                }
                response
            }
            Err(failed) => refuse(&failed, is_grpc, record),
        };
        plan.response.apply(response.headers_mut());
        response
    }

    /// Counts the request among those under way to its destination.
    fn underway(&self, plan: &Plan<'_>) -> Result<Option<Underway>, RequestFailed> {
        let (Some(port), Some(breaker)) = (plan.port(), &plan.breaker) else { return Ok(None) };
        self.budget(port).request(std::time::Instant::now());
        Ok(Some(self.at.thread.node.begin(breaker, OverflowLimit::Requests, plan.pool())?))
    }

    fn budget(&self, port: &ServicePort) -> Arc<Budget> {
        let constraint = self.snapshot.backend_policy(&port.service).and_then(|policy| policy.retry_constraint);
        self.at.thread.node.budgets.of(&port.service, constraint)
    }

    async fn tries(
        &self,
        asked: &Asked,
        version: HttpVersion,
        plan: &Plan<'_>,
        replay: &Replay,
        began: Instant,
        record: &mut RequestRecord,
    ) -> Result<Answer, RequestFailed> {
        let patience = Instant::now() + ABSENT_AGENT;
        let (mut excluded, mut tries) = (Vec::new(), 1);
        let mut _retry = None;
        loop {
            if let Some(limit) = plan.limits.request.filter(|limit| began.elapsed() >= *limit) {
                // A delay, or a wait for an agent, took all of it.
                return Err(RequestFailed::Late(limit));
            }
            record.set_tries(tries);
            let (candidate, endpoint) = self.pick(plan, &excluded)?;
            record.set_server(candidate.party(None));
            let tried = self.one(asked, version, plan, &candidate, endpoint, replay, began, record).await;
            let (end, result) = match tried {
                Ok(answer) => {
                    let wait = retry_after(answer.response.headers(), SystemTime::now());
                    (TryEnd::Answered(answer.response.status(), wait), Ok(answer))
                }
                Err(untold) if untold.why.is_absent_agent() && Instant::now() < patience => {
                    // It is just being started anew.
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
                Err(untold) => (untold.end, Err(untold)),
            };
            if result.as_ref().err().is_none_or(|untold| untold.is_endpoint) {
                excluded.push(candidate.address);
            }
            let left = plan.limits.request.map(|timeout| timeout.saturating_sub(began.elapsed()));
            let next = decide(&plan.retry, tries, end, &asked.parts.method, replay.state(), left);
            match self.allowed(plan, next) {
                Ok((after, retry)) => {
                    self.at.thread.node.observer.metrics().retry(RetryResult::Again);
                    _retry = retry;
                    tries += 1;
                    drop(result);
                    sleep(after).await;
                }
                Err(GiveUp::OverBudget) => return Err(RequestFailed::OverBudget),
                Err(reason) => {
                    self.gave_up(reason);
                    return match result {
                        Ok(answer) if reason == GiveUp::NotRetried => Ok(answer),
                        Ok(answer) => Ok(Answer { gave_up: Some(reason), ..answer }),
                        Err(untold) => Err(untold.why),
                    };
                }
            }
        }
    }

    /// Whether budget and breaker allow another try.
    fn allowed(&self, plan: &Plan<'_>, next: Next) -> Result<(Duration, Option<Underway>), GiveUp> {
        let after = match next {
            Next::GiveUp(reason) => return Err(reason),
            Next::Again { after } => after,
        };
        let node = &self.at.thread.node;
        let (Some(port), Some(breaker)) = (plan.port(), &plan.breaker) else { return Ok((after, None)) };
        if !self.budget(port).try_retry(std::time::Instant::now()) {
            node.observer.metrics().retry(RetryResult::NoBudget);
            return Err(GiveUp::OverBudget);
        }
        let retry = node.begin(breaker, OverflowLimit::Retries, plan.pool());
        Ok((after, Some(retry.map_err(|_| GiveUp::TooManyRetries)?)))
    }

    fn gave_up(&self, reason: GiveUp) {
        let result = match reason {
            GiveUp::NotIdempotent => RetryResult::NotIdempotent,
            GiveUp::AttemptsEnded | GiveUp::NoTimeLeft | GiveUp::RetryAfterTooLong => RetryResult::Attempts,
            GiveUp::BodyTooLong => RetryResult::BodyTooLong,
            GiveUp::TooManyRetries => RetryResult::Overflow,
            GiveUp::NotRetried | GiveUp::OverBudget => return,
        };
        self.at.thread.node.observer.metrics().retry(result);
    }

    /// One try.
    #[expect(clippy::too_many_arguments, reason = "one call, and each is another thing")]
    async fn one(
        &self,
        asked: &Asked,
        version: HttpVersion,
        plan: &Plan<'_>,
        candidate: &Candidate,
        endpoint: Option<EndpointLease>,
        replay: &Replay,
        began: Instant,
        record: &mut RequestRecord,
    ) -> Result<Answer, Untold> {
        let started = Instant::now();
        let send = self.send(asked, version, plan, candidate, replay, record);
        let result = match plan.limits.next_try(began.elapsed()) {
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
        Ok(Answer { response, connection, endpoint, candidate: candidate.clone(), gave_up: None })
    }

    fn tell(&self, event: HealthEvent, candidate: &Candidate) {
        if let HealthEvent::Ejected(reason) = event {
            self.at.thread.node.observer.metrics().ejected(reason);
        }
        tracing::debug!(endpoint = %candidate.address, ?event, "the health of an endpoint changed");
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
            TryEnd::ConnectFailed => Some(TryResult::ConnectFailed),
            TryEnd::Timeout => Some(TryResult::Timeout),
            // The client's own doing is nobody's failure, and no success either.
            _ if matches!(untold.why, RequestFailed::Body) => None,
            _ => Some(TryResult::Reset),
        },
    }
}

/// Why the metrics and logs of an answer say that it was to be tried again.
fn exhausted(answer: &Answer) -> Option<Failure> {
    let reason = answer.gave_up?;
    let error = format!("the answer {} was to be tried again, and is not: {reason:?}", answer.response.status());
    Some(Failure { flag: ResponseFlag::RetriesExhausted, error, denied_by: None })
}
