//! The rule of an HTTPRoute or GRPCRoute that decides over a request, and what it does before anybody gets it.

use std::time::{Duration, Instant};

use super::{
    report::{StepName, Verdict},
    requests::Asking,
    telling::Telling,
};
use crate::{
    authorize::limits::{LimitSource, Limited},
    mesh::{AppliedLimits, RouteTable, ServiceName},
    request::RequestFailed,
    route::{
        fault,
        http::{Decision, Explanation, Matched, explain},
        retry::RetryPolicy,
        timeouts::Limits,
    },
    rules::{
        fault_injection::FaultInjection,
        gateway::{ExtensionKind, ServiceRef},
        value::Percentage,
    },
};

/// Matches that are told; of a table with more, the last of them.
const MOST: usize = 50;

/// A backend by the name that it has everywhere here.
pub(super) fn backend_of(namespace: &std::sync::Arc<str>, reference: &ServiceRef) -> String {
    let service = ServiceName::referred(namespace, reference.namespace.as_deref(), &reference.name);
    format!("{service} port {}", reference.port)
}

/// Tells which rule decides, and each match that was compared before it.
pub(super) fn tell(
    table: Option<&RouteTable>,
    decision: &Decision<'_>,
    asking: &Asking<'_, '_>,
    telling: &mut Telling,
) {
    let Some(table) = table else {
        telling
            .step(StepName::Route, "no route is for this port and client: the endpoints of the Service itself serve");
        return;
    };
    let Explanation { tried, decided: _ } = explain(table, &asking.request);
    let step = match decision {
        Decision::Rule(matched) => {
            let named = matched.rule_name().map(|name| format!(" ({name})")).unwrap_or_default();
            telling.step(StepName::Route, format!("{} rules[{}]{named} decides", matched.route(), matched.rule()))
        }
        Decision::OfConnections => {
            telling.step(StepName::Route, "the routes of this port are about connections, not requests")
        }
        Decision::Implicit | Decision::NoRule => {
            telling.step(StepName::Route, "no rule of the routes of this port matches")
        }
    };
    if !matches!(decision, Decision::Rule(_)) {
        step.refuses().because("routes replace the Service's own endpoints: what no rule matches is answered 404");
    }
    let skipped = tried.len().saturating_sub(MOST);
    if skipped > 0 {
        step.instead_of(format!("{skipped} matches that come before these"));
    }
    for one in tried.iter().skip(skipped) {
        match one.unmet {
            Some(_) => step.instead_of(one.to_string()),
            None => step.because(one.to_string()),
        };
    }
}

/// Whether a RateLimit would let the request pass now.
pub(super) fn within(applied: &AppliedLimits, asking: &Asking<'_, '_>, telling: &mut Telling) -> Result<(), Limited> {
    let caught = asking.caught;
    let source = LimitSource::Identity(&caught.source.identity);
    let look =
        caught.world.limiter.look(&applied.document, &applied.limits, source, asking.request.headers, Instant::now());
    let step = telling.step(StepName::Limits, format!("RateLimit {} counts it, on this node", applied.document));
    for limit in &*applied.limits {
        step.because(serde_json::to_string(limit).unwrap_or_default());
    }
    if let Err(limited) = &look {
        step.refuses().because(limited.to_string());
    }
    look
}

/// What part of all requests goes on after the limits and faults of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Going {
    /// In time.
    pub(super) in_time: f64,
    /// After a wait, on purpose, that takes all the time which the request may take.
    pub(super) late: f64,
}

/// The limits and faults of a rule, in their order; what part of the requests goes on. `limit` is how long one may take.
pub(super) fn extensions(
    matched: &Matched<'_>,
    asking: &Asking<'_, '_>,
    limit: Option<Duration>,
    telling: &mut Telling,
) -> Going {
    const NONE: Going = Going { in_time: 0.0, late: 0.0 };
    let snapshot = asking.caught.world.snapshot;
    let namespace = &matched.route().name.namespace;
    let mut going = Going { in_time: 1.0, late: 0.0 };
    for extension in matched.extensions() {
        let missing = RequestFailed::Extension { kind: extension.kind, name: extension.name.clone() };
        match extension.kind {
            ExtensionKind::RateLimit => match snapshot.rate_limit(namespace, &extension.name) {
                None => {
                    asking.fails(going.all(), &missing, telling);
                    return NONE;
                }
                Some(limits) => {
                    if let Err(limited) = within(limits, asking, telling) {
                        asking.fails(going.all(), &limited.into(), telling);
                        return NONE;
                    }
                }
            },
            ExtensionKind::FaultInjection => match snapshot.fault(namespace, &extension.name) {
                None => {
                    asking.fails(going.all(), &missing, telling);
                    return NONE;
                }
                Some(fault) => {
                    let document = format!("FaultInjection {namespace}/{}", extension.name);
                    going = faulted(fault, &document, asking, (going, limit), telling);
                }
            },
        }
    }
    going
}

fn faulted(
    fault: &FaultInjection,
    document: &str,
    asking: &Asking<'_, '_>,
    (mut going, limit): (Going, Option<Duration>),
    telling: &mut Telling,
) -> Going {
    if !fault::concerns(fault, asking.request.headers) {
        telling
            .step(StepName::Faults, format!("{document} is not about this request"))
            .because("it lacks the headers that the document names");
        return going;
    }
    let step = telling.step(StepName::Faults, format!("{document} has some requests wait or fail, on purpose"));
    step.verdict(Verdict::Partly);
    if let Some(delay) = fault.delay {
        let part = percent(delay.percentage);
        step.because(format!("{part:.2} % wait {:?}", delay.fixed_delay));
        going = going.delayed(part / 100.0, limit.is_some_and(|limit| delay.fixed_delay >= limit));
    }
    if let Some(abort) = fault.abort {
        let part = percent(abort.percentage) / 100.0;
        step.because(format!("{:.2} % fail", part * 100.0));
        let failed = RequestFailed::Fault { status: abort.status, document: document.to_owned() };
        asking.fails(going.in_time * part, &failed, telling);
        // Whether it would fail in the end, nobody waits to see.
        asking.late(going.late * part, limit, telling);
        going = Going { in_time: going.in_time * (1.0 - part), late: going.late * (1.0 - part) };
    }
    going
}

impl Going {
    /// All that goes on.
    pub(super) fn all(self) -> f64 {
        self.in_time + self.late
    }

    /// A part waits. The last of several delays counts.
    fn delayed(self, part: f64, is_late: bool) -> Self {
        let (waits, stays) = (self.all() * part, 1.0 - part);
        let (in_time, late) = if is_late { (0.0, waits) } else { (waits, 0.0) };
        Self { in_time: self.in_time * stays + in_time, late: self.late * stays + late }
    }
}

fn percent(share: Percentage) -> f64 {
    f64::from(share.parts_per_million()) / 10_000.0
}

/// What its filters do.
pub(super) fn filters(matched: &Matched<'_>, telling: &mut Telling) {
    let written = matched.written_filters();
    if written.is_empty() {
        return;
    }
    let step = telling.step(StepName::Filters, format!("{} filters of the rule", written.len()));
    written.iter().for_each(|filter| step.because.push(filter.to_string()));
    step.details(written);
}

/// How long it may take, and what is tried again.
pub(super) fn patience(matched: Option<&Matched<'_>>, limits: Limits, telling: &mut Telling) {
    let rule = matched.and_then(Matched::timeouts);
    let step = telling.step(
        StepName::Timeouts,
        match limits.request {
            Some(limit) => format!("the request may take {limit:?} in all"),
            None => "no limit for the request".to_owned(),
        },
    );
    if let Some(limit) = limits.backend_request {
        step.because(format!("each try may take {limit:?}, by backendRequest of the rule"));
    }
    let of_rule = rule.and_then(|timeouts| timeouts.request).filter(|limit| !limit.is_zero());
    match (limits.request, of_rule) {
        (None, _) => step.because("neither the rule's timeouts nor a grpc-timeout of the client say one"),
        (Some(limit), Some(own)) if limit == own => step.because("by timeouts.request of the rule"),
        (Some(_), _) => step.because("by grpc-timeout of the client"),
    };
    let policy = RetryPolicy::new(matched.and_then(Matched::retry));
    let step = telling.step(StepName::Retries, format!("at most {} after the first try", policy.attempts()));
    step.because(match matched.and_then(Matched::retry) {
        Some(retry) => format!("by retry of the rule: {}", serde_json::to_string(retry).unwrap_or_default()),
        None => "the default: once more where nothing of the request can have been processed".to_owned(),
    });
}
