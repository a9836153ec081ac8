//! Whether a request is tried again: pure, by the rule's `retry` (GEP-1731) or the default of every request.
//!
//! The budget ([`budget`]) and the breaker of retries are asked by the caller, after [`decide`] said to try again.

pub mod budget;
#[cfg(test)]
mod tests;

use std::time::Duration;

use http::{Method, StatusCode};

use crate::rules::http_route::Retry;

/// Which tries are followed by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    codes: Vec<StatusCode>,
    attempts: u32,
    backoff: Duration,
    /// A document asks for retries.
    configured: bool,
}

/// How a try ended, as seen by who may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryEnd {
    /// With an answer, and its `Retry-After`.
    Answered(StatusCode, Option<Duration>),
    /// No connection could be opened, to the endpoint or from its agent to the application.
    ConnectFailed,
    /// The endpoint's agent refuses the client, by a policy about connections.
    Denied,
    /// The server has not looked at it: REFUSED_STREAM, or a GOAWAY for a lower stream.
    Refused,
    /// A connection from the pool was closed without a byte of an answer.
    StaleConnection,
    /// The connection broke.
    Reset,
    /// The try took too long.
    Timeout,
    /// It was not sent, since as much is under way to the whole destination as may be.
    Overflow,
}

/// Whether the body can be sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyState {
    /// There is none, or nothing of it has been read.
    Untouched,
    /// All that was read of it is kept.
    Kept,
    /// More of it was read than is kept.
    TooLong,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another try, after this pause.
    Again {
        /// How long to wait.
        after: Duration,
    },
    /// The request ends as the try did.
    GiveUp(GiveUp),
}

/// Why there is no other try. A closed list, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// It is an answer, or an end that nobody wants retried.
    NotRetried,
    /// It may have been processed, and twice is not the same as once.
    NotIdempotent,
    /// There were as many tries as there may be.
    AttemptsEnded,
    /// The body is gone.
    BodyTooLong,
    /// The server wants to be left alone for longer than a client should wait.
    RetryAfterTooLong,
    /// The request's time would be over.
    NoTimeLeft,
    /// Said by the caller: over the retry budget.
    OverBudget,
    /// Said by the caller: as many retries are under way as may be.
    TooManyRetries,
}

/// What a `retry` without attempts means, and every request without `retry`.
const ATTEMPTS: u32 = 1;

const BACKOFF: Duration = Duration::from_millis(25);

/// The least pause doubles up to so many times the first; with jitter, a pause is up to twice that.
const LARGEST_FACTOR: u32 = 5;

/// A `Retry-After` up to this is waited for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(1);

impl RetryPolicy {
    /// From a rule's `retry`, if it has one.
    pub fn new(retry: Option<&Retry>) -> Self {
        let Some(retry) = retry else { return Self::default() };
        Self {
            codes: retry.codes.clone(),
            attempts: retry.attempts.unwrap_or(ATTEMPTS),
            backoff: retry.backoff.unwrap_or(BACKOFF),
            configured: true,
        }
    }

    /// How many tries may follow the first.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// One more try, at once since it goes to another endpoint, for what was certainly not processed.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self { codes: Vec::new(), attempts: ATTEMPTS, backoff: Duration::ZERO, configured: false }
    }
}

/// What follows a try, the first of which has number 1. `left` is what the request still has of its time.
pub fn decide(
    policy: &RetryPolicy,
    try_number: u32,
    end: TryEnd,
    method: &Method,
    body: BodyState,
    left: Option<Duration>,
) -> Next {
    match pause(policy, try_number, end, method, body) {
        Ok(after) if left.is_some_and(|left| after >= left) => Next::GiveUp(GiveUp::NoTimeLeft),
        Ok(after) => Next::Again { after },
        Err(reason) => Next::GiveUp(reason),
    }
}

fn pause(
    policy: &RetryPolicy,
    try_number: u32,
    end: TryEnd,
    method: &Method,
    body: BodyState,
) -> Result<Duration, GiveUp> {
    wanted(policy, end, method)?;
    if try_number > policy.attempts {
        return Err(GiveUp::AttemptsEnded);
    }
    if body == BodyState::TooLong {
        return Err(GiveUp::BodyTooLong);
    }
    let backoff = backoff(policy.backoff, try_number);
    match end {
        TryEnd::Answered(_, Some(wait)) if wait > LONGEST_RETRY_AFTER => Err(GiveUp::RetryAfterTooLong),
        TryEnd::Answered(_, Some(wait)) => Ok(wait.max(backoff)),
        _ => Ok(backoff),
    }
}

fn wanted(policy: &RetryPolicy, end: TryEnd, method: &Method) -> Result<(), GiveUp> {
    match end {
        TryEnd::Answered(status, _) if policy.codes.contains(&status) => Ok(()),
        TryEnd::Answered(..) => Err(GiveUp::NotRetried),
        TryEnd::ConnectFailed | TryEnd::Denied | TryEnd::Refused => Ok(()),
        // GEP-1731: what reached `timeouts.backendRequest` is tried again where the rule has `retry`.
        TryEnd::Timeout if policy.configured => Ok(()),
        // RFC 9110, 9.2.2: a client may repeat it by itself.
        TryEnd::StaleConnection if method.is_idempotent() => Ok(()),
        TryEnd::Reset if policy.configured && method.is_idempotent() => Ok(()),
        // GEP-1731: the server may have done it, and `retry` alone does not say that twice is as good as once.
        TryEnd::Reset if policy.configured => Err(GiveUp::NotIdempotent),
        TryEnd::StaleConnection => Err(GiveUp::NotIdempotent),
        // Another try would only add to what is under way; Envoy does not make one either.
        TryEnd::Reset | TryEnd::Timeout | TryEnd::Overflow => Err(GiveUp::NotRetried),
    }
}

/// GEP-1731: the configured pause is the least.
fn backoff(first: Duration, try_number: u32) -> Duration {
    let factor = 1_u32.checked_shl(try_number.saturating_sub(1)).unwrap_or(LARGEST_FACTOR).clamp(1, LARGEST_FACTOR);
    let least = first.saturating_mul(factor);
    least.saturating_add(least.mul_f64(fastrand::f64()))
}
