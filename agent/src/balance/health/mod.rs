//! Which endpoints are left out: those that fail in a row (outlier detection), and those that asked to be left alone.
//!
//! In come the results of tries, out comes whether an endpoint may be used. Time is passed in and nothing waits: an
//! ejection that is over makes the endpoint half-open, where one real request finds out whether it works again. What
//! happens when no endpoint at all may be used is the balancer's to decide.

mod group;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;

pub use self::group::GroupHealth;
use self::group::Place;
use super::answered::{Answered, TryResult};
use crate::{observe::EjectionReason, rules::destination_rule::OutlierDetection};

/// Whether an endpoint may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// As any other.
    Yes,
    /// By this one request, whose result decides.
    Probe,
    /// Not now.
    No,
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HealthEvent {
    /// The endpoint is left out from now on.
    Ejected(EjectionReason),
    /// It would be, but too many are already.
    Spared(EjectionReason),
    /// It is used again.
    Restored,
    /// It asked to be left alone for a while.
    LeftAlone,
}

/// The health of one endpoint. Shared by all connections of the node.
#[derive(Debug, Default)]
pub struct EndpointHealth {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streaks: Streaks,
    ejection: Option<Ejection>,
    /// How often it was ejected, as of `restored`: one less for each interval since.
    ejections: u32,
    restored: Option<Instant>,
    left_alone_until: Option<Instant>,
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Streaks {
    server_errors: u32,
    gateway_errors: u32,
    local_failures: u32,
}

#[derive(Debug)]
struct Ejection {
    until: Instant,
    probe_since: Option<Instant>,
    place: Place,
}

/// What config.md says where a document says nothing.
const FAILURES: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(10);
const EJECTION: Duration = Duration::from_secs(30);
const LONGEST_EJECTION: Duration = Duration::from_secs(300);

/// An ejection is longer by up to this part of itself, so that endpoints do not return at one time.
const JITTER: f64 = 0.1;

/// A server that asks for more does not know better than its clients' next try.
const LONGEST_LEFT_ALONE: Duration = Duration::from_secs(60);

/// A probe without a result for so long is lost, and another request is let through.
pub const PROBE_LOST: Duration = Duration::from_secs(30);

impl EndpointHealth {
    /// Whether a request may go there now. [`Use::Probe`] is given to one caller until its result is recorded, it is
    /// given back, or [`PROBE_LOST`] has passed.
    pub fn may_use(&self, now: Instant) -> Use {
        let mut state = self.state.lock();
        let standing = state.standing(now);
        if let (Use::Probe, Some(ejection)) = (standing, &mut state.ejection) {
            ejection.probe_since = Some(now);
        }
        standing
    }

    /// The same, without taking the probe: for who only looks.
    pub fn standing(&self, now: Instant) -> Use {
        self.state.lock().standing(now)
    }

    /// Takes back a [`Use::Probe`] that was not made use of.
    pub fn give_back_probe(&self) {
        if let Some(ejection) = &mut self.state.lock().ejection {
            ejection.probe_since = None;
        }
    }

    /// Notes how a try ended. Without settings nothing is ejected, and what is ejected returns.
    pub fn record(
        &self,
        answered: &Answered,
        settings: Option<&OutlierDetection>,
        group: &GroupHealth,
        now: Instant,
    ) -> Option<HealthEvent> {
        group.keep_healthy(settings.and_then(|settings| settings.min_health_percent));
        let mut state = self.state.lock();
        let left_alone = state.leave_alone(answered.result, now);
        let event = match settings {
            Some(settings) => state.judge(answered, settings, group, now),
            None => state.forget(),
        };
        event.or(left_alone.then_some(HealthEvent::LeftAlone))
    }

    /// Whether it is ejected, half-open included.
    pub fn ejected(&self) -> bool {
        self.state.lock().ejection.is_some()
    }
}

impl Ejection {
    fn may_probe(&self, now: Instant) -> Use {
        let probed = self.probe_since.is_some_and(|since| now.saturating_duration_since(since) < PROBE_LOST);
        if now < self.until || probed { Use::No } else { Use::Probe }
    }

    /// Only a request sent since the probe was given says anything: older ones may still be coming in.
    fn answers_probe(&self, answered: &Answered, now: Instant) -> bool {
        let sent = now.checked_sub(answered.latency);
        self.probe_since.is_some_and(|since| sent.is_some_and(|sent| sent >= since))
    }
}

impl State {
    fn standing(&self, now: Instant) -> Use {
        if self.left_alone_until.is_some_and(|until| now < until) {
            return Use::No;
        }
        match &self.ejection {
            None => Use::Yes,
            // Probes go on while the group is too ill to leave any out: it could not recover otherwise.
            Some(ejection) => match ejection.may_probe(now) {
                Use::No if ejection.place.group_too_ill() => Use::Yes,
                standing => standing,
            },
        }
    }

    fn leave_alone(&mut self, result: TryResult, now: Instant) -> bool {
        let TryResult::Status(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(wait)) = result
        else {
            return false;
        };
        let until = now + wait.min(LONGEST_LEFT_ALONE);
        // An answer to an earlier request does not shorten what a later one asked for.
        self.left_alone_until = Some(self.left_alone_until.map_or(until, |before| before.max(until)));
        !wait.is_zero()
    }

    fn judge(
        &mut self,
        answered: &Answered,
        settings: &OutlierDetection,
        group: &GroupHealth,
        now: Instant,
    ) -> Option<HealthEvent> {
        if let Some(ejection) = &self.ejection {
            let answers = ejection.answers_probe(answered, now);
            return answers.then(|| self.probed(answered.result, settings, now));
        }
        let reason = self.streaks.count(answered.result, settings)?;
        self.streaks = Streaks::default();
        let Some(place) = group.take(settings.max_ejection_percent) else {
            return Some(HealthEvent::Spared(reason));
        };
        self.eject(place, settings, now);
        Some(HealthEvent::Ejected(reason))
    }

    fn probed(&mut self, result: TryResult, settings: &OutlierDetection, now: Instant) -> HealthEvent {
        let ejection = self.ejection.take();
        self.restored = Some(now);
        match ejection {
            Some(ejection) if failed(result) => {
                self.eject(ejection.place, settings, now);
                HealthEvent::Ejected(EjectionReason::ProbeFailed)
            }
            _ => HealthEvent::Restored,
        }
    }

    fn eject(&mut self, place: Place, settings: &OutlierDetection, now: Instant) {
        self.ejections = self.ejections_left(settings.interval.unwrap_or(INTERVAL), now).saturating_add(1);
        let base = settings.base_ejection_time.unwrap_or(EJECTION);
        let time = base.saturating_mul(self.ejections).min(LONGEST_EJECTION.max(base));
        // No clock reaches a time that cannot be told.
        let until = now.checked_add(time.mul_f64(1.0 + JITTER * fastrand::f64())).unwrap_or(now + LONGEST_EJECTION);
        self.ejection = Some(Ejection { until, probe_since: None, place });
    }

    /// Each interval without an ejection forgives one, as Envoy's does.
    fn ejections_left(&self, interval: Duration, now: Instant) -> u32 {
        let well = self.restored.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let forgiven = well.as_nanos() / interval.as_nanos().max(1);
        self.ejections.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    fn forget(&mut self) -> Option<HealthEvent> {
        self.streaks = Streaks::default();
        self.ejections = 0;
        self.ejection.take().map(|_| HealthEvent::Restored)
    }
}

impl Streaks {
    /// Counts a result, and tells which bound it reaches.
    fn count(&mut self, result: TryResult, settings: &OutlierDetection) -> Option<EjectionReason> {
        let split = settings.split_external_local_origin_errors.unwrap_or(false);
        match result {
            TryResult::Status(status, _) => self.count_status(status),
            TryResult::ConnectFailed | TryResult::Reset | TryResult::Timeout if split => add(&mut self.local_failures),
            // Not counted apart, they are what a gateway would have answered: 503 or 504.
            TryResult::ConnectFailed | TryResult::Reset | TryResult::Timeout => {
                add(&mut self.server_errors);
                add(&mut self.gateway_errors);
            }
        }
        let reached = |count: u32, bound: u32| bound > 0 && count >= bound;
        if reached(self.local_failures, settings.consecutive_local_origin_failures.unwrap_or(FAILURES)) {
            return Some(EjectionReason::LocalOriginFailures);
        }
        if reached(self.gateway_errors, settings.consecutive_gateway_errors.unwrap_or(0)) {
            return Some(EjectionReason::GatewayErrors);
        }
        reached(self.server_errors, settings.consecutive_5xx_errors.unwrap_or(FAILURES))
            .then_some(EjectionReason::Consecutive5xx)
    }

    fn count_status(&mut self, status: StatusCode) {
        self.local_failures = 0;
        follow(&mut self.server_errors, status.is_server_error());
        follow(&mut self.gateway_errors, gateway_error(status));
    }
}

fn follow(streak: &mut u32, failed: bool) {
    *streak = if failed { streak.saturating_add(1) } else { 0 };
}

fn add(count: &mut u32) {
    *count = count.saturating_add(1);
}

fn gateway_error(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

fn failed(result: TryResult) -> bool {
    match result {
        TryResult::Status(status, _) => status.is_server_error(),
        TryResult::ConnectFailed | TryResult::Reset | TryResult::Timeout => true,
    }
}
