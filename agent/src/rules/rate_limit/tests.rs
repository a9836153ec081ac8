//! Tests of reading RateLimit documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::rules::{RuleKind, Spec, testing::*};

const KIND: RuleKind = RuleKind::RateLimit;

fn limit(spec: &str) -> RateLimit {
    match accepted(KIND, spec) {
        Spec::RateLimit(limit) => limit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_field_of_a_limit_is_read() {
    let found = limit(
        "targetRefs: [{group: '', kind: Service, name: api}]
limits:
- {requests: 100, interval: 1m, burst: 10, per: {type: Source}}
- {requests: 5, interval: 1s, per: {type: Header, header: X-User}}
- {requests: 1000, interval: 1s}",
    );
    let limit = |requests, seconds, burst, per| Limit {
        requests: NonZeroU32::new(requests).unwrap(),
        interval: Duration::from_secs(seconds),
        burst: NonZeroU32::new(burst),
        per,
    };
    let expected = RateLimit {
        scope: LimitScope::Services(vec![ServiceRef { name: "api".to_owned() }]),
        limits: vec![
            limit(100, 60, 10, Some(LimitPer::Source)),
            limit(5, 1, 0, Some(LimitPer::Header("x-user".parse().unwrap()))),
            limit(1000, 1, 0, None),
        ],
    };
    assert_eq!(found, expected);
}

#[test]
fn a_limit_without_a_target_is_for_routes_and_an_empty_selector_is_for_all_pods() {
    let limits = "limits: [{requests: 1, interval: 1s}]";
    assert_eq!(limit(limits).scope, LimitScope::Routes);
    assert_eq!(limit(&format!("selector: {{}}\n{limits}")).scope, LimitScope::Workloads(Selector::default()));
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let table: &[(&str, &[&str])] = &[
        ("{}", &["5:3: spec.limits: missing, must be a list with at least one limit"]),
        (
            "limits: []
targetRefs: []",
            &[
                "5:11: spec.limits: is empty, must be a list with at least one limit",
                "6:15: spec.targetRefs: is empty; name Services, or remove it for the routes that refer to this document",
            ],
        ),
        (
            "selector: {}
targetRefs: [{group: apps, kind: Deployment}]
limits: [{requests: 0, interval: 0s, burst: 0}, {per: {}}]",
            &[
                "5:13: spec.selector: cannot be there together with targetRefs; remove one of them",
                "6:16: spec.targetRefs[0].name: missing, must be a Service's name",
                r#"6:24: spec.targetRefs[0].group: found "apps", allowed: "", the group of Services"#,
                r#"6:36: spec.targetRefs[0].kind: found "Deployment", allowed: Service"#,
                "7:23: spec.limits[0].requests: found the number 0, allowed: a number from 1 to 2147483647",
                r#"7:36: spec.limits[0].interval: found "0s", allowed: a duration from 1ms to 8760h, such as 250ms, 10s or 1.5h"#,
                "7:47: spec.limits[0].burst: found the number 0, allowed: a number from 1 to 2147483647",
                "7:51: spec.limits[1].requests: missing, must be a number from 1",
                "7:51: spec.limits[1].interval: missing, must be a duration such as 1s",
                "7:57: spec.limits[1].per.type: missing, must be Source or Header",
            ],
        ),
        (
            r#"limits:
- {requests: 1, interval: 1s, per: {type: Header}}
- {requests: 1, interval: 1s, per: {type: Source, header: a}}
- {requests: 1, interval: 1s, per: {type: source}}
- {requests: 1, interval: 1s, per: {type: Header, header: "a b", name: c}}"#,
            &[
                "6:38: spec.limits[0].per.header: missing, must be a header's name with type Header",
                "7:61: spec.limits[1].per.header: is allowed with type Header only",
                r#"8:45: spec.limits[2].per.type: found "source", allowed: Source, Header; did you mean Source?"#,
                r#"9:61: spec.limits[3].per.header: found "a b", allowed: a header's name"#,
                r#"9:68: unknown key "name" in spec.limits[3].per, allowed: type, header"#,
            ],
        ),
    ];
    all_refused(KIND, table);
}

fn scopes() -> impl Strategy<Value = LimitScope> {
    prop_oneof![
        Just(LimitScope::Routes),
        vec(any::name().prop_map(|name| ServiceRef { name }), 1..3).prop_map(LimitScope::Services),
        any::selector().prop_map(LimitScope::Workloads),
    ]
}

prop_compose! {
    fn limits()(
        requests in any::count(),
        interval in any::duration(),
        burst in option::of(any::count()),
        per in option::of(prop_oneof![Just(LimitPer::Source), any::header_name().prop_map(LimitPer::Header)]),
    ) -> Limit {
        Limit { requests, interval, burst, per }
    }
}

prop_compose! {
    fn rate_limits()(scope in scopes(), limits in vec(limits(), 1..4)) -> RateLimit {
        RateLimit { scope, limits }
    }
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(limit in rate_limits()) {
        comes_back(KIND, &Spec::RateLimit(limit))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(limit in rate_limits(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::RateLimit(limit), &damage)?;
    }
}
