//! One request to one endpoint after the other, until one answers.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::{Asked, Outbound, mirrors::Copies, plan::Plan};
use crate::{
    balance::{self, Answered, Ask, Candidate, Lease as EndpointLease, TryResult, Way},
    connect::{
        Opener,
        http::{BodyState, HttpVersion, Lease, OpenWay, PoolError, PoolKey, Replay, SendError, head},
        tunnel::ConnectHeaders,
    },
    connection::{ABSENT_AGENT, LOOK_AGAIN, bypass},
    mesh::{Snapshot, Workload},
    observe::{Party, RequestRecord},
    request::{
        body::AnswerBody,
        exchange::{ending, grpc_status_in, passed_on, refuse, switched},
        failed::RequestFailed,
        upgrade,
    },
    route::{Route, http::RequestEdits},
};

/// More tries than this are no help to anyone.
const MOST_TRIES: u32 = 10;
/// Pause before another try, where nobody says another.
const BACKOFF: Duration = Duration::from_millis(25);

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
}

/// A try that got none.
struct Untold {
    why: RequestFailed,
    /// Whether the server may have acted on the request.
    may_be_processed: bool,
    /// Whether this endpoint is to be left out from now on: it is not where the connection was only used up.
    is_endpoint: bool,
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
        let (is_grpc, is_connect) = (asked.is_grpc, asked.parts.method == Method::CONNECT);
        let client_half = upgrade::client_half(&mut asked.parts).filter(|_| head::is_upgrade(&asked.parts));
        let deadline = plan.request_timeout().map(|timeout| (Instant::now() + timeout, timeout));
        let is_kept = plan.retry.is_some() || !plan.mirrors.is_empty();
        let keep = if is_kept { self.at.thread.node.http.replay_bytes } else { 0 };
        let replay = Replay::new(body, keep, record.bytes());
        let copies = Copies::prepare(self, &asked, &plan.mirrors, &plan.target);
        let result = self.tries(asked, &plan, &replay, deadline, &mut record).await;
        copies.send(|| replay.whole());
        let mut response = match result {
            Ok(answer) => match client_half.filter(|_| upgrade::is_agreed(is_connect, &answer.response)) {
                Some(client_half) => {
                    let Answer { response, connection, endpoint } = answer;
                    switched(response, client_half, record, (connection, endpoint))
                }
                None => answered(answer, replay, deadline.map(|(at, _)| at), record),
            },
            Err(failed) => refuse(&failed, is_grpc, record),
        };
        plan.response.apply(response.headers_mut());
        response
    }

    async fn tries(
        &self,
        mut asked: Asked,
        plan: &Plan<'_>,
        replay: &Replay,
        deadline: Option<(Instant, Duration)>,
        record: &mut RequestRecord,
    ) -> Result<Answer, RequestFailed> {
        let version = version(&asked);
        asked.prepare(&plan.request, &plan.target, version);
        let give_up = Instant::now() + ABSENT_AGENT;
        let mut excluded = Vec::new();
        let mut tries = 0;
        loop {
            let (candidate, endpoint) = self.pick(plan, &excluded)?;
            record.set_server(party(&candidate));
            let limits = [deadline, plan.try_timeout().map(|timeout| (Instant::now() + timeout, timeout))];
            let limit = limits.into_iter().flatten().min_by_key(|(at, _)| *at);
            let failed = match self.one(&asked, version, &candidate, endpoint, replay, limit, record).await {
                Ok(answer) => match again_after_answer(plan, &answer, tries, replay) {
                    None => {
                        record.set_tries(tries + 1);
                        return Ok(answer);
                    }
                    Some(pause) => {
                        excluded.push(candidate.address);
                        tries += 1;
                        self.pause(pause, deadline).await?;
                        continue;
                    }
                },
                Err(failed) => failed,
            };
            if failed.why.is_absent_agent() && Instant::now() < give_up {
                // It is just being started anew.
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            }
            if failed.is_endpoint {
                excluded.push(candidate.address);
            }
            match again_after_failure(plan, &failed, &asked.parts.method, tries, replay) {
                None => {
                    record.set_tries(tries + 1);
                    return Err(failed.why);
                }
                Some(pause) => {
                    tries += 1;
                    self.pause(pause, deadline).await?;
                }
            }
        }
    }

    async fn pause(&self, pause: Duration, deadline: Option<(Instant, Duration)>) -> Result<(), RequestFailed> {
        match deadline {
            Some((at, timeout)) if Instant::now() + pause >= at => Err(RequestFailed::Late(timeout)),
            _ => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
        }
    }

    /// The endpoint that this try goes to.
    fn pick(
        &self,
        plan: &Plan<'_>,
        excluded: &[SocketAddr],
    ) -> Result<(Candidate, Option<EndpointLease>), RequestFailed> {
        let port = match &plan.to {
            Route::Service(port) => port,
            Route::Workload(workload, address) => {
                let workload = Some(Arc::clone(workload));
                return Ok((balance::candidate(self.snapshot, *address, workload, self.source), None));
            }
            Route::External(address, _) => {
                return Ok((balance::candidate(self.snapshot, *address, None, self.source), None));
            }
        };
        let lease = self.at.thread.node.balancer.pick(&Ask {
            port,
            load_balancer: None,
            outliers: None,
            hash: None,
            client: self.at.client.ip(),
            sticky: None,
            excluded,
            now: std::time::Instant::now(),
        })?;
        let workload = self.snapshot.workload(lease.address().ip()).cloned();
        Ok((balance::candidate(self.snapshot, lease.address(), workload, self.source), Some(lease)))
    }

    /// One try.
    #[expect(clippy::too_many_arguments, reason = "one call, and each is another thing")]
    async fn one(
        &self,
        asked: &Asked,
        version: HttpVersion,
        candidate: &Candidate,
        endpoint: Option<EndpointLease>,
        replay: &Replay,
        limit: Option<(Instant, Duration)>,
        record: &mut RequestRecord,
    ) -> Result<Answer, Untold> {
        let started = std::time::Instant::now();
        let result = match limit {
            Some((at, timeout)) => {
                let sent = timeout_at(at, self.send(asked, version, candidate, replay, record)).await;
                let late = || Untold { why: RequestFailed::Late(timeout), may_be_processed: true, is_endpoint: true };
                sent.unwrap_or_else(|_| Err(late()))
            }
            None => self.send(asked, version, candidate, replay, record).await,
        };
        if let Some(endpoint) = &endpoint {
            endpoint.responded(Answered { latency: started.elapsed(), result: told(&result) });
        }
        let (response, connection) = result?;
        Ok(Answer { response, connection, endpoint })
    }

    async fn send(
        &self,
        asked: &Asked,
        version: HttpVersion,
        candidate: &Candidate,
        replay: &Replay,
        record: &mut RequestRecord,
    ) -> Result<(Response<Incoming>, Lease), Untold> {
        let key = self.key(candidate, version);
        loop {
            let unreached =
                |error: Arc<PoolError>| Untold { why: error.into(), may_be_processed: false, is_endpoint: true };
            let mut lease = self.at.thread.http.get(&key, || self.open(candidate.clone())).await.map_err(unreached)?;
            record.set_transport(lease.facts().transport);
            if let Some(peer) = lease.facts().peer.clone() {
                record.set_server(Party { identity: Some(peer), ..party(candidate) });
            }
            let request = Request::from_parts(asked.parts.clone(), replay.next_try());
            match lease.send(request).await {
                Ok(response) => return Ok((response, lease)),
                // The server had closed a connection that was kept: that says nothing of the endpoint.
                Err(SendError::NotSent(..)) if lease.is_used && replay.state() == BodyState::Untouched => {}
                Err(error) => {
                    let may_be_processed = matches!(error, SendError::Broken(_));
                    return Err(Untold { why: error.into(), may_be_processed, is_endpoint: !lease.is_used });
                }
            }
        }
    }

    pub(super) fn key(&self, candidate: &Candidate, version: HttpVersion) -> PoolKey {
        let expected = match &candidate.way {
            Way::Tunnel(identity) => Some(identity.clone()),
            Way::Plain(_) => None,
        };
        let Workload { uid, identity, .. } = self.source.as_ref();
        PoolKey { source: uid.clone(), identity: identity.clone(), to: candidate.address, expected, version }
    }

    /// Opens the way, by itself: others may wait for it too.
    pub(super) fn open(
        &self,
        candidate: Candidate,
    ) -> impl Future<Output = Result<OpenWay, PoolError>> + Send + 'static {
        let (thread, pod) = (Arc::clone(&self.at.thread), Arc::clone(&self.at.pod));
        let source = Arc::clone(self.source);
        let headers =
            ConnectHeaders::new(&thread.node.cluster, &source, self.at.client, &candidate.address.to_string());
        async move {
            if let Some(reason) = bypass(&candidate.way) {
                thread.node.observer.metrics().bypassed(reason, 1);
            }
            let node = &thread.node;
            let opener = Opener { node, tunnels: &thread.tunnels, pod: &pod, source: &source, headers: &headers };
            Ok(opener.open_only(candidate).await?.into())
        }
    }
}

impl Asked {
    /// Makes the head that an endpoint gets.
    pub(super) fn prepare(&mut self, edits: &RequestEdits<'_>, target: &str, version: HttpVersion) {
        let is_upgrade = head::is_upgrade(&self.parts);
        head::remove_hop_by_hop(&mut self.parts.headers, is_upgrade);
        self.parts.headers.remove(http::header::EXPECT);
        edits.apply(&mut self.parts.headers);
        let authority = edits.authority().unwrap_or(&self.authority).to_owned();
        match version {
            HttpVersion::Http1 => head::to_http1(&mut self.parts, &authority, target),
            HttpVersion::Http2 => head::to_http2(&mut self.parts, &authority, target),
        }
    }
}

/// The version in which the server is spoken to.
pub(super) fn version(asked: &Asked) -> HttpVersion {
    match asked.version {
        Version::HTTP_2 => HttpVersion::Http2,
        _ => HttpVersion::Http1,
    }
}

fn party(candidate: &Candidate) -> Party {
    Party { address: candidate.address, workload: candidate.workload.clone(), identity: None }
}

/// A try as balancing sees it.
fn told(result: &Result<(Response<Incoming>, Lease), Untold>) -> TryResult {
    match result {
        Ok((response, _)) => TryResult::Status(response.status(), None),
        Err(Untold { why: RequestFailed::Connect(_), .. }) => TryResult::ConnectFailed,
        Err(Untold { why: RequestFailed::Late(_), .. }) => TryResult::Timeout,
        Err(_) => TryResult::Reset,
    }
}

/// How long to wait before the next try, where an answer is to be tried again.
fn again_after_answer(plan: &Plan<'_>, answer: &Answer, tries: u32, replay: &Replay) -> Option<Duration> {
    let retry = plan.retry?;
    let is_wanted = retry.codes.contains(&answer.response.status());
    let may = tries < retry.attempts.unwrap_or(1).min(MOST_TRIES) && replay.state() != BodyState::TooLong;
    (is_wanted && may).then(|| retry.backoff.unwrap_or(BACKOFF))
}

/// The same where there was none.
fn again_after_failure(
    plan: &Plan<'_>,
    failed: &Untold,
    method: &Method,
    tries: u32,
    replay: &Replay,
) -> Option<Duration> {
    let attempts = plan.retry.map_or(1, |retry| retry.attempts.unwrap_or(1).min(MOST_TRIES));
    let is_safe = !failed.may_be_processed || method.is_idempotent();
    let can = matches!(failed.why, RequestFailed::Connect(_) | RequestFailed::Send(_))
        || plan.retry.is_some() && matches!(failed.why, RequestFailed::Late(_));
    (can && is_safe && tries < attempts && replay.state() != BodyState::TooLong).then_some(BACKOFF)
}

/// A server's answer for the client.
fn answered(
    answer: Answer,
    replay: Replay,
    deadline: Option<Instant>,
    mut record: RequestRecord,
) -> Response<AnswerBody> {
    let Answer { mut response, connection, endpoint } = answer;
    head::remove_hop_by_hop(response.headers_mut(), false);
    record.responded(response.status());
    if let Some(status) = grpc_status_in(response.headers()) {
        record.grpc_status(status);
    }
    let bytes = record.bytes();
    let ending = ending(record, move |is_whole| {
        drop(endpoint);
        if is_whole && replay.has_ended() {
            connection.give_back();
        }
    });
    passed_on(response, bytes, deadline, ending)
}
