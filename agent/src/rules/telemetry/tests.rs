//! Tests of reading Telemetry documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::rules::{RuleKind, Spec, testing::*};

const KIND: RuleKind = RuleKind::Telemetry;

fn telemetry(spec: &str) -> Telemetry {
    match accepted(KIND, spec) {
        Spec::Telemetry(telemetry) => telemetry,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_is_read() {
    let found = telemetry(
        "selector: {matchLabels: {app: web}}\naccessLog: {enabled: false, samplingPercentage: 12.5}\n\
         tracing: {samplingPercentage: 0}",
    );
    let share = |parts| Percentage::from_parts_per_million(parts).unwrap();
    let expected = Telemetry {
        selector: Selector { match_labels: [("app".to_owned(), "web".to_owned())].into() },
        access_log: Some(AccessLogging { enabled: false, sampling_percentage: share(125_000) }),
        tracing: Some(Tracing { sampling_percentage: share(0) }),
    };
    assert_eq!(found, expected);
}

#[test]
fn an_access_log_is_on_and_whole_unless_said_otherwise() {
    let found = telemetry("accessLog: {samplingPercentage: 100}");
    let whole = AccessLogging { enabled: true, sampling_percentage: Percentage::ALL };
    assert_eq!(found.access_log, Some(whole));
    assert_eq!(telemetry("accessLog: {enabled: true}").access_log, Some(whole));
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let table: &[(&str, &[&str])] = &[
        ("{}", &["5:3: spec: has neither accessLog nor tracing, and needs one of them"]),
        (
            r#"accessLog: {enabled: "no", samplingPercentage: -1}
tracing: {}"#,
            &[
                r#"5:24: spec.accessLog.enabled: found "no", allowed: true or false"#,
                "5:50: spec.accessLog.samplingPercentage: found the number -1, allowed: a percentage from 0 to 100 with at most four decimals",
                "6:12: spec.tracing.samplingPercentage: missing, must be a percentage from 0 to 100",
            ],
        ),
        (
            "tracing: {samplingPercentage: 100.5}
metrics: []",
            &[
                "5:33: spec.tracing.samplingPercentage: found the number 100.5, allowed: a percentage from 0 to 100 with at most four decimals",
                r#"6:3: unknown key "metrics" in spec, allowed: selector, accessLog, tracing"#,
            ],
        ),
    ];
    all_refused(KIND, table);
}

prop_compose! {
    fn telemetries()(
        selector in any::selector(),
        enabled in proptest::bool::ANY,
        log in any::percentage(),
        spans in any::percentage(),
        has in 0..3,
    ) -> Telemetry {
        let access_log = Some(AccessLogging { enabled, sampling_percentage: log }).filter(|_| has != 1);
        let tracing = Some(Tracing { sampling_percentage: spans }).filter(|_| has != 2);
        Telemetry { selector, access_log, tracing }
    }
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(telemetry in telemetries()) {
        comes_back(KIND, &Spec::Telemetry(telemetry))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(telemetry in telemetries(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::Telemetry(telemetry), &damage)?;
    }
}
