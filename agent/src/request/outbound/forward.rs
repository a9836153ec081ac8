//! One request on its way: to who gets it, and its answer back.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, Method, Response, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::time::{Instant, sleep};

use super::{
    Asked, Outbound,
    backend::Backend,
    mirrors::Copies,
    plan::Plan,
    tries::{Answer, Tries},
};
use crate::{
    balance::breaker::Underway,
    connect::http::Replay,
    mesh::{ServicePort, Snapshot, Workload},
    observe::{Failure, OverflowLimit, RequestRecord, ResponseFlag},
    request::{
        body::{AnswerBody, Limit},
        exchange::{answered, body_limits, refuse, switched},
        failed::RequestFailed,
        upgrade,
    },
    route::retry::budget::Budget,
};

/// Sends one request on.
pub(super) struct Forwarding<'a> {
    pub(super) at: &'a Arc<Outbound>,
    pub(super) snapshot: &'a Snapshot,
    pub(super) source: &'a Arc<Workload>,
}

/// What of a client decides how it gets its answer, whoever gives that.
struct Client {
    /// Its half of an upgrade or CONNECT.
    half: Option<OnUpgrade>,
    is_connect: bool,
    limit: Limit,
}

impl Forwarding<'_> {
    /// Tries until there is an answer or no more to try; the answer, with the end of its body as the end of the request.
    pub(super) async fn run(
        &self,
        mut asked: Asked,
        plan: Plan<'_>,
        body: Incoming,
        mut record: RequestRecord,
    ) -> Response<AnswerBody> {
        let (is_grpc, began) = (asked.is_grpc, Instant::now());
        if let Some(delay) = plan.delay {
            sleep(plan.limits.request.map_or(delay, |limit| delay.min(limit))).await;
        }
        let version = asked.version_for(plan.backend.port());
        let client = Client {
            half: upgrade::client_half(&mut asked.parts, version),
            is_connect: asked.parts.method == Method::CONNECT,
            limit: Limit { deadline: plan.limits.request.map(|timeout| began + timeout), is_grpc },
        };
        let http = &self.at.thread.node.http;
        let keep = if plan.keeps_body() { http.replay_bytes } else { 0 };
        let limits = body_limits(asked.version, is_grpc, keep, http);
        let replay = Replay::new(body, limits, record.bytes(), &self.at.pod.account);
        let copies = Copies::prepare(self, &asked, &plan);
        let tried = Tries::new(self, &plan, &replay, began, &mut record).run(asked).await;
        copies.send(|| replay.whole());
        let mut response = match tried {
            Ok((answer, backend)) => {
                let endpoint = answer.candidate.address;
                let mut response = self.passed_on(answer, client, replay, record);
                write_cookies(backend, endpoint, response.headers_mut());
                response
            }
            Err(failed) => refuse(&failed, is_grpc, record),
        };
        plan.response.apply(response.headers_mut());
        response
    }

    /// Counts the request among those under way to its backend.
    pub(super) fn underway(&self, backend: &Backend<'_>) -> Result<Option<Underway>, RequestFailed> {
        let (Some(port), Some(breaker)) = (backend.port(), &backend.breaker) else { return Ok(None) };
        self.budget(port).request(std::time::Instant::now());
        Ok(Some(self.at.thread.node.begin(breaker, OverflowLimit::Requests, backend.pool())?))
    }

    /// How much of what goes to a Service port may be tried again.
    pub(super) fn budget(&self, port: &ServicePort) -> Arc<Budget> {
        let constraint = self.snapshot.backend_policy(&port.service).and_then(|policy| policy.retry_constraint);
        self.at.thread.node.budgets.of(&port.service, constraint)
    }

    fn passed_on(&self, answer: Answer, client: Client, replay: Replay, record: RequestRecord) -> Response<AnswerBody> {
        let Client { half, is_connect, limit } = client;
        let flagged = exhausted(&answer);
        let Answer { response, connection, endpoint, underway, .. } = answer;
        match half.filter(|_| upgrade::is_agreed(is_connect, &response)) {
            Some(half) => {
                self.at.thread.node.observer.metrics().upgraded(upgrade::kind(is_connect, &response));
                switched(response, (half, &self.at.upgrades), record, (connection, endpoint, underway))
            }
            None => answered(response, (connection, replay), limit, record, flagged, (endpoint, underway)),
        }
    }
}

/// Writes what keeps the client with the endpoint that answered it.
fn write_cookies(backend: &Backend<'_>, endpoint: SocketAddr, headers: &mut HeaderMap) {
    if let Some((name, value)) = backend.stay.as_ref().and_then(|stay| stay.told(endpoint)) {
        headers.append(name, value);
    }
    if let Some(cookie) = &backend.hash_cookie {
        headers.append(header::SET_COOKIE, cookie.header.clone());
    }
}

/// Why the metrics and logs of an answer say that it was to be tried again.
fn exhausted(answer: &Answer) -> Option<Failure> {
    let reason = answer.gave_up?;
    let error = format!("the answer {} was to be tried again, and is not: {reason:?}", answer.response.status());
    Some(Failure { flag: ResponseFlag::RetriesExhausted, error, denied_by: None })
}
