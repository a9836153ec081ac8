//! Tests of the decision: documents and agent.yaml in, leave or refusal out.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;

use super::*;
use crate::{mesh::testing::snapshot, observe::ClosedLabel};

/// What an agent.yaml with this mode says.
pub(super) fn access(mtls: MtlsMode) -> AccessSettings {
    AccessSettings { mtls, domains: TrustDomains::new("cluster.local".parse().unwrap(), []) }
}

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web, labels: {app: web, heddle.io/mesh: enabled}}, \
    spec: {nodeName: node-b}, status: {podIPs: [{ip: 10.0.0.1}]}}\n---\n";

fn document(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{namespace: {namespace}, name: {name}}}, \
         spec: {spec}}}\n---\n"
    )
}

/// What becomes of plaintext to a port of the pod: the mode that it is let in by, or the refusal.
fn plaintext(documents: &str, default: MtlsMode, port: u16) -> Result<Mode, Denied> {
    let snapshot = snapshot(&(POD.to_owned() + documents));
    let to = SocketAddr::from(([10, 0, 0, 1], port));
    let workload = snapshot.workload(to.ip()).unwrap();
    let facts = Facts { peer: None, client: [192, 0, 2, 1].into(), to };
    approach(&snapshot, &access(default), workload, facts).map(|approach| approach.mode())
}

#[test]
fn plaintext_is_let_in_unless_the_port_is_strict() {
    use MtlsMode::{Permissive, Strict};
    let by = |document: &str, level: &str| {
        Err(format!(
            "plaintext, and PeerAuthentication {document} says STRICT of {level}: enrol the client's pod, or say PERMISSIVE \
             there"
        ))
    };
    let agent = "plaintext, and mtls.mode of agent.yaml is STRICT: enrol the client's pod, or say PERMISSIVE there";
    let strict = document("shop", "all", "{mtls: {mode: STRICT}}");
    let web = |rest: &str| document("shop", "web", &format!("{{selector: {{matchLabels: {{app: web}}}}, {rest}}}"));
    let table = [
        (String::new(), Permissive, Ok(Mode::Permissive)),
        (String::new(), Strict, Err(agent.to_owned())),
        (strict.clone(), Permissive, by("shop/all", "its namespace")),
        (document("shop", "all", "{mtls: {mode: PERMISSIVE}}"), Strict, Ok(Mode::Permissive)),
        (document("shop", "all", "{mtls: {mode: DISABLE}}"), Strict, Ok(Mode::Disable)),
        (document("shop", "all", "{}"), Strict, Err(agent.to_owned())),
        (document("heddle-system", "mesh", "{mtls: {mode: STRICT}}"), Permissive, by("heddle-system/mesh", "the mesh")),
        (strict.clone() + &web("mtls: {mode: PERMISSIVE}"), Permissive, Ok(Mode::Permissive)),
        (web("mtls: {mode: STRICT}"), Permissive, by("shop/web", "the pods that it selects")),
        (web("mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}"), Permissive, Ok(Mode::Permissive)),
        (web("portLevelMtls: {80: {mode: STRICT}}"), Permissive, by("shop/web", "port 80 of the pods that it selects")),
        (web("portLevelMtls: {81: {mode: STRICT}}"), Permissive, Ok(Mode::Permissive)),
    ];
    for (documents, default, expected) in table {
        let found = plaintext(&documents, default, 80).map_err(|denied| denied.to_string());
        assert_eq!(found, expected, "{default:?} {documents}");
    }
}

#[test]
fn a_refusal_names_what_decided() {
    let denied = plaintext(&document("shop", "all", "{mtls: {mode: STRICT}}"), MtlsMode::Permissive, 80).unwrap_err();
    assert_eq!(
        (denied.reason().as_str(), denied.decided_by().as_str()),
        ("strict_mode", "PeerAuthentication shop/all")
    );
    let denied = plaintext("", MtlsMode::Strict, 80).unwrap_err();
    assert_eq!(denied.decided_by(), "mtls.mode of agent.yaml");
}

#[test]
fn a_proven_identity_comes_in_under_every_mode() {
    for mode in [Mode::Strict, Mode::Permissive, Mode::Disable] {
        assert!(takes(mode, true), "{mode}");
        assert_eq!(takes(mode, false), mode != Mode::Strict, "{mode}");
    }
}

/// What becomes of plaintext to the pod's port 80 under policies, and the remarks.
fn under_policies(policies: &[(&str, &str)]) -> (Result<(), Denied>, Vec<String>) {
    let policy = |(name, rest): &(&str, &str)| {
        format!(
            "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{namespace: shop, name: {name}, \
             annotations: {{heddle.io/dry-run: \"{}\"}}}}, spec: {rest}}}\n---\n",
            name.starts_with("trial")
        )
    };
    let snapshot = snapshot(&(POD.to_owned() + &policies.iter().map(policy).collect::<String>()));
    let to = SocketAddr::from(([10, 0, 0, 1], 80));
    let facts = Facts { peer: None, client: [192, 0, 2, 1].into(), to };
    let answer = inbound(&snapshot, &access(MtlsMode::Permissive), snapshot.workload(to.ip()).unwrap(), facts);
    let remarks = answer.remarks.iter().map(|remark| format!("{} {}: {remark}", remark.of(), remark.effect.as_str()));
    (answer.leave.map(drop), remarks.collect())
}

#[test]
fn policies_decide_after_the_mode_and_are_named() {
    const TO_80: &str = "rules: [{to: [{operation: {ports: ['80']}}]}]";
    const TO_81: &str = "rules: [{to: [{operation: {ports: ['81']}}]}]";
    let of = |action: &str, rules: &str| format!("{{action: {action}, {rules}}}");
    let leave = |policies: &[(&str, &str)]| under_policies(policies).0;
    assert_eq!(leave(&[("a", &of("ALLOW", TO_80))]), Ok(()));
    let denied = leave(&[("a", &of("ALLOW", TO_80)), ("d", &of("DENY", TO_80))]).unwrap_err();
    assert_eq!(
        (denied.to_string().as_str(), denied.reason().as_str(), denied.decided_by().as_str()),
        ("denied by rules[0] of AuthorizationPolicy shop/d", "policy_denies", "AuthorizationPolicy shop/d")
    );
    let denied = leave(&[("a", &of("ALLOW", TO_81)), ("d", &of("DENY", TO_81))]).unwrap_err();
    assert_eq!(
        (denied.to_string().as_str(), denied.reason().as_str()),
        (
            "no rule of an ALLOW policy that selects the pod matches; the first is AuthorizationPolicy shop/a",
            "nothing_allows"
        )
    );
}

#[test]
fn audits_and_trials_are_remarked_and_decide_nothing() {
    const TO_80: &str = "rules: [{to: [{operation: {ports: ['80']}}]}]";
    let of = |action: &str| format!("{{action: {action}, {TO_80}}}");
    let (leave, remarks) = under_policies(&[("audit", &of("AUDIT")), ("trial", &of("DENY"))]);
    assert_eq!(leave, Ok(()));
    assert_eq!(
        remarks,
        [
            "AuthorizationPolicy shop/audit audited: AUDIT matches by rules[0] of shop/audit",
            "AuthorizationPolicy shop/trial would_deny: on trial: denied by rules[0] of shop/trial",
        ]
    );
    let (leave, remarks) = under_policies(&[("deny", &of("DENY")), ("trial", &of("AUDIT"))]);
    assert!(leave.is_err());
    assert_eq!(
        remarks,
        ["AuthorizationPolicy shop/trial would_audit: AUDIT on trial matches by rules[0] of shop/trial"]
    );
}
