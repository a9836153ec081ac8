//! XBackendTrafficPolicy documents, accepted and refused.

use super::*;
use crate::rules::{
    RuleKind, Spec,
    gateway::{
        CookieLifetime, SessionToken,
        tests::{accepted, assert_refused, document},
    },
};

fn policy(rest: &str) -> BackendTrafficPolicy {
    let text = format!("spec: {{targetRefs: [{{group: \"\", kind: Service, name: web}}], {rest}}}\n");
    let Spec::BackendTrafficPolicy(policy) = accepted(&document(RuleKind::BackendTrafficPolicy, &text)) else {
        panic!("another kind")
    };
    policy
}

#[test]
fn what_is_not_given_is_as_upstream_says() {
    let expected = RetryConstraint {
        budget: RetryBudget { percent: 20, interval: Duration::from_secs(10) },
        min_retry_rate: RequestRate { count: 10, interval: Duration::from_secs(1) },
    };
    for text in ["retryConstraint: {}", "retryConstraint: {budget: {}, minRetryRate: {}}"] {
        assert_eq!(policy(text).retry_constraint, Some(expected), "{text}");
    }
    assert_eq!(policy("").retry_constraint, None);
}

#[test]
fn a_whole_policy_is_read() {
    let text = "retryConstraint: {budget: {percent: 0, interval: 1h}, minRetryRate: {count: 1000000, interval: 1ms}},
        sessionPersistence: {absoluteTimeout: 1h}";
    let expected = BackendTrafficPolicy {
        target_refs: vec![TargetRef { name: "web".to_owned() }],
        retry_constraint: Some(RetryConstraint {
            budget: RetryBudget { percent: 0, interval: Duration::from_secs(3600) },
            min_retry_rate: RequestRate { count: 1_000_000, interval: Duration::from_millis(1) },
        }),
        session_persistence: Some(SessionPersistence {
            session_name: None,
            absolute_timeout: Some(Duration::from_secs(3600)),
            idle_timeout: None,
            token: SessionToken::Cookie(CookieLifetime::Session),
        }),
    };
    assert_eq!(policy(text), expected);
    let header = policy("sessionPersistence: {type: Header, sessionName: x-session}").session_persistence;
    assert_eq!(header.map(|session| session.token), Some(SessionToken::Header));
}

#[test]
fn bad_policies_are_refused() {
    assert_refused(
        |spec| document(RuleKind::BackendTrafficPolicy, &format!("spec: {spec}\n")),
        &[
            ("{}", &["f:4:7: spec.targetRefs: missing, must be a list of the Services that the policy is for"]),
            ("{targetRefs: []}", &["f:4:20: spec.targetRefs: found 0 entries, allowed: 1 to 16"]),
            (
                "{targetRefs: [{}]}",
                &[
                    r#"f:4:21: spec.targetRefs[0].group: missing, must be "", the group of Service"#,
                    "f:4:21: spec.targetRefs[0].kind: missing, must be Service",
                    "f:4:21: spec.targetRefs[0].name: missing, must be the name of a Service, of 1 to 253 characters",
                ],
            ),
            (
                "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]}",
                &[
                    r#"f:4:62: spec.targetRefs[0].kind: found Gateway of group "gateway.networking.k8s.io", allowed: Service of group """#,
                ],
            ),
            (
                r#"{targetRefs: [{group: "", kind: Service, name: a}, {group: "", kind: Service, name: a}]}"#,
                &["f:4:58: spec.targetRefs[1]: is the same Service as one before it, allowed: each once"],
            ),
            (
                r#"{targetRefs: [{group: "", kind: Service, name: a, namespace: b}]}"#,
                &[r#"f:4:57: unknown key "namespace" in spec.targetRefs[0]; did you mean "name"?"#],
            ),
            (
                r#"{targetRefs: [{group: "", kind: Service, name: a}], retryConstraint: {budget: {percent: 101, interval: 999ms}, minRetryRate: {count: 0, interval: 0s}}}"#,
                &[
                    "f:4:95: spec.retryConstraint.budget.percent: found the number 101, allowed: a whole number from 0 to 100",
                    "f:4:110: spec.retryConstraint.budget.interval: is out of range, allowed: from 1s to 1h",
                    "f:4:140: spec.retryConstraint.minRetryRate.count: found the number 0, allowed: a whole number from 1 to 1000000",
                    "f:4:153: spec.retryConstraint.minRetryRate.interval: is out of range, allowed: above 0s and up to 1h",
                ],
            ),
            (
                r#"{targetRefs: [{group: "", kind: Service, name: a}], retryConstraint: {budget: {interval: 1h1ms}, minRetryRate: {interval: 2h}, budgets: 1}}"#,
                &[
                    "f:4:96: spec.retryConstraint.budget.interval: is out of range, allowed: from 1s to 1h",
                    "f:4:129: spec.retryConstraint.minRetryRate.interval: is out of range, allowed: above 0s and up to 1h",
                    r#"f:4:134: unknown key "budgets" in spec.retryConstraint; did you mean "budget"?"#,
                ],
            ),
            (
                r#"{targetRefs: [{group: "", kind: Service, name: a}], sessionPersistence: {type: Header, cookieConfig: {}}, retry: {}}"#,
                &[
                    "f:4:108: spec.sessionPersistence.cookieConfig: goes with type Cookie, found type Header",
                    r#"f:4:113: unknown key "retry" in spec; did you mean "retryConstraint"?"#,
                ],
            ),
        ],
    );
}
