//! Telemetry: parts that another document for the same pods takes everything from, and a share of nothing.

use super::{Found, Input};
use crate::rules::{Rule, Spec, telemetry::Telemetry, value::Percentage};

/// A part of a document, by its name, and whether a document has it.
type Part = (&'static str, fn(&Telemetry) -> bool);

const PARTS: [Part; 2] = [("accessLog", |spec| spec.access_log.is_some()), ("tracing", |spec| spec.tracing.is_some())];

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for (rule, telemetry) in documents(input) {
        PARTS.iter().for_each(|part| younger(input, found, (rule, telemetry), *part));
        if let Some(log) = telemetry.access_log
            && !log.enabled
            && log.sampling_percentage != Percentage::ALL
        {
            let message = "has no effect: there are no lines with enabled: false";
            input.warn(found, &rule.key, "spec.accessLog.samplingPercentage", message);
        }
    }
}

fn documents<'a>(input: &Input<'a>) -> impl Iterator<Item = (&'a Rule, &'a Telemetry)> + use<'a> {
    input.rules().filter_map(|rule| match &rule.spec {
        Spec::Telemetry(telemetry) => Some((rule, telemetry)),
        _ => None,
    })
}

/// Of two for the same pods only the older counts, in each part.
fn younger(input: &Input<'_>, found: &mut Found, (rule, telemetry): (&Rule, &Telemetry), (name, has): Part) {
    if !has(telemetry) {
        return;
    }
    let age = |rule: &Rule| (rule.created.is_none(), rule.created, rule.key.name.clone());
    let is_same = |other: &Rule, spec: &Telemetry| {
        other.key.name.namespace == rule.key.name.namespace && spec.selector == telemetry.selector && has(spec)
    };
    let same = documents(input).filter(|(other, spec)| is_same(other, spec)).map(|(other, _)| other);
    if let Some(oldest) = same.min_by_key(|other| age(other)).filter(|oldest| oldest.key != rule.key) {
        let message =
            format!("has no effect: {} is for the same pods and comes first; make one of the two", oldest.key);
        input.warn(found, &rule.key, &format!("spec.{name}"), message);
    }
}
