//! TLSRoute documents, accepted and refused.

use super::*;
use crate::rules::{
    RuleKind, Spec,
    gateway::tests::{accepted, assert_refused, document},
};

#[test]
fn every_version_of_a_route_is_read() {
    let text = document(
        RuleKind::TlsRoute,
        "spec:
  parentRefs: [{group: \"\", kind: Service, name: web}]
  hostnames: [a.example, \"*.b.example\"]
  rules: [{backendRefs: [{name: web-v2, port: 443}]}]
",
    );
    for version in ["v1", "v1alpha3", "v1alpha2"] {
        let text = text.replace("k8s.io/v1", &format!("k8s.io/{version}"));
        let Spec::TlsRoute(route) = accepted(&text) else { panic!("another kind") };
        let names = [ServerName::Exact("a.example".to_owned()), ServerName::Below("b.example".to_owned())];
        assert_eq!(route.hostnames, names, "{version}");
        assert_eq!(route.rules[0].backend_refs[0].service.name, "web-v2");
    }
}

#[test]
fn bad_routes_are_refused() {
    assert_refused(
        |spec| document(RuleKind::TlsRoute, &format!("spec: {spec}\n")),
        &[
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], rules: [{backendRefs: [{name: a, port: 1}]}]}"#,
                &[
                    "f:4:7: spec.hostnames: missing, must be a list of server names; a TCPRoute takes connections whatever their name",
                ],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], hostnames: [], rules: [{backendRefs: [{name: a, port: 1}]}]}"#,
                &["f:4:72: spec.hostnames: found 0 entries, allowed: 1 to 1024"],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], hostnames: a.example, rules: [{backendRefs: [{name: a, port: 1}]}]}"#,
                &[r#"f:4:72: spec.hostnames: found "a.example", allowed: a list of server names"#],
            ),
            (
                r#"{parentRefs: [{group: "", kind: Service, name: web}], hostnames: ["*", "a.*.b", "*.*.b", A.example, 192.0.2.1, "::1", a..b, 7], rules: [{backendRefs: [{name: a, port: 1}]}]}"#,
                &[
                    r#"f:4:73: spec.hostnames[0]: found "*", allowed: a host name in lower case, or one with "*" as its first label, and no IP address"#,
                    r#"f:4:78: spec.hostnames[1]: found "a.*.b", allowed: a host name in lower case, or one with "*" as its first label, and no IP address"#,
                    r#"f:4:87: spec.hostnames[2]: found "*.*.b", allowed: a host name in lower case, or one with "*" as its first label, and no IP address"#,
                    r#"f:4:96: spec.hostnames[3]: found "A.example", allowed: a host name in lower case, or one with "*" as its first label, and no IP address"#,
                    r#"f:4:107: spec.hostnames[4]: found "192.0.2.1", allowed: a host name in lower case, or one with "*" as its first label, and no IP address"#,
                    r#"f:4:118: spec.hostnames[5]: found "::1", allowed: a host name in lower case, or one with "*" as its first label, and no IP address"#,
                    r#"f:4:125: spec.hostnames[6]: found "a..b", allowed: a host name in lower case, or one with "*" as its first label, and no IP address"#,
                    r#"f:4:131: spec.hostnames[7]: found the number 7, allowed: a host name in lower case, or one with "*" as its first label, and no IP address"#,
                ],
            ),
        ],
    );
}
