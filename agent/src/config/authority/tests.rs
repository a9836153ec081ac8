//! Tests of ca.yaml: text in, configuration or problems out.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::config::Problems;

const MINIMAL: &str = "root: {secret: {namespace: heddle-system, name: heddle-ca}}\n";

fn parse(text: &str) -> Result<AuthorityConfig, Problems> {
    AuthorityConfig::parse("ca.yaml", text)
}

fn problems_of(text: &str) -> Vec<String> {
    let problems = parse(text).err().map(|problems| problems.iter().map(|p| p.message.clone()).collect());
    problems.unwrap_or_default()
}

#[test]
fn defaults_fill_a_minimal_file() {
    let config = parse(MINIMAL).unwrap();
    let shown = serde_json::to_value(&config).unwrap();
    let expected = serde_json::json!({
        "trustDomain": "cluster.local",
        "listen": "0.0.0.0:15012",
        "root": {"secret": {
            "namespace": "heddle-system", "name": "heddle-ca", "lifetime": "9years 11months 30days 10h 19m 12s",
            "rotateBelowPercent": 20, "overlap": "1day",
        }},
        "leafLifetime": "1day",
        "tokens": {"audience": "heddle-ca", "trustedServiceAccounts": ["heddle-system/heddle-agent"]},
        "kubernetes": {},
        "server": {"dnsNames": ["heddle-ca.heddle-system.svc", "heddle-ca.heddle-system.svc.cluster.local"]},
        "admission": {"listen": "", "webhook": "heddle", "rootNamespace": "heddle-system"},
        "taintNodes": false,
        "agents": {
            "namespace": "heddle-system", "selector": "app.kubernetes.io/name=heddle",
            "nodeSelector": "kubernetes.io/os=linux", "grace": "10s",
        },
        "metrics": {"address": "0.0.0.0:15020"},
        "health": {"address": "0.0.0.0:15021"},
        "log": {"level": "info", "format": "text"},
        "limits": {
            "connections": 10000, "requests": 512, "tokenReviews": 32, "handshakeTimeout": "10s",
            "requestTimeout": "15s", "idleTimeout": "5m", "drainTimeout": "15s",
        },
    });
    let lifetime = shown["root"]["secret"]["lifetime"].as_str().unwrap();
    assert_eq!(humantime::parse_duration(lifetime).unwrap(), Duration::from_secs(3652 * 86_400));
    let mut expected = expected;
    expected["root"]["secret"]["lifetime"] = shown["root"]["secret"]["lifetime"].clone();
    assert_eq!(shown, expected);
    let again = parse(&serde_json::to_string(&shown).unwrap()).unwrap();
    assert_eq!(again, config, "what is shown is a configuration");
}

#[test]
fn the_example_with_every_key_is_read_and_is_the_defaults() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/ca.yaml")).unwrap();
    let example = AuthorityConfig::parse("deploy/ca.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let publish = Some(ObjectPlace { namespace: "heddle-system".to_owned(), name: "heddle-roots".to_owned() });
    assert_eq!(example, AuthorityConfig { publish, ..parse(MINIMAL).unwrap() });
    for key in [
        "trustDomain",
        "listen",
        "lifetime",
        "rotateBelowPercent",
        "overlap",
        "generate",
        "publish",
        "leafLifetime",
        "audience",
        "trustedServiceAccounts",
        "kubeconfig",
        "context",
        "dnsNames",
        "webhook",
        "rootNamespace",
        "taintNodes",
        "namespace",
        "selector",
        "nodeSelector",
        "grace",
        "address",
        "level",
        "format",
        "connections",
        "requests",
        "tokenReviews",
        "handshakeTimeout",
        "requestTimeout",
        "idleTimeout",
        "drainTimeout",
    ] {
        assert!(text.contains(&format!("{key}:")), "{key} is not in the example");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let text = "trustDomian: x\nroot: {secret: {namespace: A, lifetime: 1s, oops: 1}}\nleafLifetime: 25h\n\
                tokens: {trustedServiceAccounts: [agent]}\nserver: {dnsNames: [\"*.svc\"]}\nlimits: {requests: 0}\n\
                publish: {configMap: {name: x}}\nkubernetes: {context: c}\n";
    let problems = problems_of(text);
    for expected in [
        "unknown key \"trustDomian\"; did you mean \"trustDomain\"?",
        "root.secret.namespace: found \"A\"",
        "root.secret.name: missing",
        "root.secret.lifetime: found \"1s\"",
        "unknown key \"oops\" in root.secret",
        "leafLifetime: found \"25h\", allowed: a duration from 10s to 24h",
        "tokens.trustedServiceAccounts[0]: found \"agent\", allowed: NAMESPACE/NAME",
        "server.dnsNames[0]: found \"*.svc\"",
        "limits.requests: found the number 0",
        "publish.configMap.namespace: missing",
        "kubernetes.context: has no effect without kubeconfig",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "no {expected:?} in {problems:#?}");
    }
    assert_eq!(problems.len(), 11, "{problems:#?}");
}

#[test]
fn a_place_of_keys_must_be_named_and_only_one() {
    let cases = [
        ("", "root: missing, must be where the keys come from"),
        ("root: {}", "names no place of keys"),
        ("root: {secret: {namespace: a, name: b}, files: {path: /c}}", "allowed: one of the two"),
        ("root: {files: {path: relative}}", "root.files.path: found \"relative\", allowed: an absolute path"),
        ("root: {files: {}}", "root.files.path: missing"),
    ];
    for (text, expected) in cases {
        let problems = problems_of(text);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{text:?}: {problems:#?}");
    }
    let files = parse("root: {files: {path: /keys, generate: true}}").unwrap().root;
    assert_eq!(files, RootConfig::Files { path: "/keys".into(), generate: true });
}

#[test]
fn a_rotation_must_fit_into_the_life_of_a_root() {
    let with = |more: &str| format!("root: {{secret: {{namespace: a, name: b, {more}}}}}\nleafLifetime: 1h\n");
    assert_eq!(problems_of(&with("overlap: 1h")), [""; 0]);
    let short = problems_of(&with("overlap: 30m"));
    assert!(
        short[0].contains("overlap: found \"30m\", allowed: a duration that is not shorter than leafLifetime"),
        "{short:?}"
    );
    let tight = problems_of(&with("lifetime: 5h, rotateBelowPercent: 20"));
    assert!(tight[0].contains("rotateBelowPercent leaves 1h of lifetime for a rotation"), "{tight:?}");
    assert_eq!(problems_of(&with("lifetime: 5h, rotateBelowPercent: 40")), [""; 0]);
}

#[test]
fn endpoints_may_not_share_a_port() {
    let text = format!("{MINIMAL}listen: 0.0.0.0:15020\n");
    let problems = problems_of(&text);
    assert!(problems[0].contains("metrics.address: 0.0.0.0:15020 collides with listen"), "{problems:?}");
    let problems = problems_of(&format!("{MINIMAL}admission: {{listen: \"[::]:15012\"}}\n"));
    assert!(problems[0].contains("admission.listen: [::]:15012 collides with listen"), "{problems:?}");
    // What capture uses on an agent's node is free here.
    assert!(parse(&format!("{MINIMAL}listen: 0.0.0.0:15008\n")).is_ok());
}

#[test]
fn nobody_may_be_trusted_but_names_there_must_be() {
    let nobody = parse(&format!("{MINIMAL}tokens: {{trustedServiceAccounts: []}}\n")).unwrap();
    assert_eq!(nobody.tokens.trusted_service_accounts, []);
    let problems = problems_of(&format!("{MINIMAL}server: {{dnsNames: []}}\n"));
    assert!(problems[0].contains("server.dnsNames: is empty"), "{problems:?}");
    let addresses = parse(&format!("{MINIMAL}server: {{dnsNames: [ca.example, 10.0.0.1, \"fd00::1\"]}}\n")).unwrap();
    assert_eq!(addresses.server.dns_names, ["ca.example", "10.0.0.1", "fd00::1"]);
}

#[test]
fn the_webhook_and_its_configuration_may_be_left_out() {
    let read = |text: &str| parse(&format!("{MINIMAL}admission: {text}\n")).unwrap().admission;
    let on = read("{listen: \"0.0.0.0:15017\", rootNamespace: mesh}");
    assert_eq!((on.listen, &*on.root_namespace), (Some("0.0.0.0:15017".parse().unwrap()), "mesh"));
    assert_eq!(on.webhook.as_deref(), Some("heddle"));
    assert_eq!(read("{webhook: \"\"}"), AdmissionConfig { webhook: None, ..parse(MINIMAL).unwrap().admission });
    let text = "admission: {listen: here, webhook: No Name, rootNamespace: a.b}\ntaintNodes: maybe\n\
                agents: {namespace: A, selector: \"\", grace: 1h, oops: 1}\n";
    let problems = problems_of(&format!("{MINIMAL}{text}"));
    for expected in [
        "admission.listen: found \"here\", allowed: an address with a port",
        "admission.webhook: found \"No Name\"",
        "admission.rootNamespace: found \"a.b\"",
        "taintNodes: found \"maybe\", allowed: true or false",
        "agents.namespace: found \"A\"",
        "agents.selector: found \"\"",
        "agents.grace: found \"1h\", allowed: a duration from 0s to 10m",
        "unknown key \"oops\" in agents",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "no {expected:?} in {problems:#?}");
    }
    assert_eq!(problems.len(), 8, "{problems:#?}");
}
