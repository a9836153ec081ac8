//! Tests of reading FaultInjection documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::rules::{RuleKind, Spec, testing::*, value::Word as _};

const KIND: RuleKind = RuleKind::FaultInjection;

fn fault(spec: &str) -> FaultInjection {
    match accepted(KIND, spec) {
        Spec::FaultInjection(fault) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_is_read() {
    let found = fault(
        "headers: [{name: X-Test, value: \"1\"}]\ndelay: {percentage: 0.5, fixedDelay: 5s}\n\
         abort: {percentage: 10, grpcStatus: UNAVAILABLE}",
    );
    let expected = FaultInjection {
        headers: vec![FaultHeader { name: "x-test".parse().unwrap(), value: "1".to_owned() }],
        delay: Some(Delay {
            percentage: Percentage::from_parts_per_million(5_000).unwrap(),
            fixed_delay: Duration::from_secs(5),
        }),
        abort: Some(Abort {
            percentage: Percentage::from_parts_per_million(100_000).unwrap(),
            status: AbortStatus::Grpc(GrpcStatus::Unavailable),
        }),
    };
    assert_eq!(found, expected);
}

#[test]
fn a_fault_without_percentage_strikes_every_request() {
    let found = fault("abort: {httpStatus: 503}");
    assert_eq!(found.abort, Some(Abort { percentage: Percentage::ALL, status: AbortStatus::Http(503) }));
    assert_eq!(fault("delay: {fixedDelay: 10ms}").delay.unwrap().percentage, Percentage::ALL);
}

#[test]
fn grpc_codes_are_those_of_the_specification() {
    let codes: Vec<u8> = GrpcStatus::ALL.iter().map(|status| status.code()).collect();
    assert_eq!(codes, (1..=16).collect::<Vec<u8>>());
    let named = [(GrpcStatus::NotFound, 5), (GrpcStatus::PermissionDenied, 7), (GrpcStatus::Unavailable, 14)];
    assert!(named.iter().all(|(status, code)| status.code() == *code));
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let table: &[(&str, &[&str])] = &[
        ("{}", &["5:3: spec: has neither delay nor abort, and needs one of them"]),
        (
            "delay: {percentage: 101}
abort: {percentage: 0.00001}",
            &[
                "5:10: spec.delay.fixedDelay: missing, must be a duration such as 5s",
                "5:23: spec.delay.percentage: found the number 101, allowed: a percentage from 0 to 100 with at most four decimals",
                "6:10: spec.abort: has neither httpStatus nor grpcStatus, and needs one of them",
                "6:23: spec.abort.percentage: found the number 0.00001, allowed: a percentage from 0 to 100 with at most four decimals",
            ],
        ),
        (
            "abort: {httpStatus: 503, grpcStatus: UNAVAILABLE}",
            &["5:40: spec.abort.grpcStatus: cannot be there together with httpStatus; remove one of them"],
        ),
        (
            r#"abort: {httpStatus: 199}
headers: [{name: a}, {name: "a b", value: 1, type: Exact}]"#,
            &[
                "5:23: spec.abort.httpStatus: found the number 199, allowed: a status from 200 to 599",
                "6:13: spec.headers[0].value: missing, must be text",
                r#"6:31: spec.headers[1].name: found "a b", allowed: a header's name"#,
                "6:45: spec.headers[1].value: found the number 1, allowed: text (quote numbers and booleans)",
                r#"6:48: unknown key "type" in spec.headers[1], allowed: name, value"#,
            ],
        ),
        (
            "abort: {grpcStatus: unavailable}
delay: {fixedDelay: 5}",
            &[
                r#"5:23: spec.abort.grpcStatus: found "unavailable", allowed: CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED; did you mean UNAVAILABLE?"#,
                "6:23: spec.delay.fixedDelay: found the number 5, allowed: a duration from 1ms to 8760h, such as 250ms, 10s or 1.5h",
            ],
        ),
    ];
    all_refused(KIND, table);
}

fn aborts() -> impl Strategy<Value = Abort> {
    let status = prop_oneof![
        (200u16..=599).prop_map(AbortStatus::Http),
        prop::sample::select(GrpcStatus::ALL).prop_map(AbortStatus::Grpc)
    ];
    (any::percentage(), status).prop_map(|(percentage, status)| Abort { percentage, status })
}

fn delays() -> impl Strategy<Value = Delay> {
    (any::percentage(), any::duration()).prop_map(|(percentage, fixed_delay)| Delay { percentage, fixed_delay })
}

prop_compose! {
    fn faults()(
        headers in vec((any::header_name(), any::text()), 0..3),
        delay in delays(),
        abort in aborts(),
        has in 0..3,
    ) -> FaultInjection {
        let headers = headers.into_iter().map(|(name, value)| FaultHeader { name, value }).collect();
        let (delay, abort) = (Some(delay).filter(|_| has != 1), Some(abort).filter(|_| has != 2));
        FaultInjection { headers, delay, abort }
    }
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(fault in faults()) {
        comes_back(KIND, &Spec::FaultInjection(fault))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(fault in faults(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::FaultInjection(fault), &damage)?;
    }
}
