//! Tests of simulations: flows and policies in, what would change out.

#![expect(clippy::unwrap_used, reason = "tests")]

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{case::Verdict, *};
use crate::{
    authorize::{Stage, Supposed, judge_policies, policy::RequestFacts},
    config::MtlsMode,
    identify::TrustDomains,
    mesh::testing,
    observe::{BadFlows, FlowClient, FlowRequest, Flows, FlowsEnd, FlowsHead, VERSION},
};

const MESH: &str = "
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: cart, labels: {app: cart, heddle.io/mesh: enabled}}, spec: {nodeName: node-b}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
";

fn policy(name: &str, action: &str, rules: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{namespace: shop, name: {name}}}, spec: \
         {{selector: {{matchLabels: {{app: cart}}}}, action: {action}, rules: {rules}}}}}\n---\n"
    )
}

fn access() -> AccessSettings {
    AccessSettings { mtls: MtlsMode::Permissive, domains: TrustDomains::new("cluster.local".parse().unwrap(), []) }
}

fn flow(client: &str, path: Option<&str>, count: u64) -> Flow {
    let client = match client.parse() {
        Ok(address) => FlowClient::Address(address),
        Err(_) => FlowClient::Identity(format!("spiffe://cluster.local/ns/shop/sa/{client}").parse().unwrap()),
    };
    let request =
        |path: &str| FlowRequest { method: "GET".to_owned(), path: path.to_owned(), host: Some("cart".to_owned()) };
    Flow {
        client,
        namespace: "shop".to_owned(),
        workload: "cart".to_owned(),
        port: 8080,
        request: path.map(request),
        count,
        open: 0,
    }
}

/// Each flow with what becomes of it: `denied`, `allowed`, `unknown`, or nothing.
fn outcomes(before: &str, new: &str, flows: &[Flow]) -> Vec<&'static str> {
    let (before, policies) = (testing::snapshot(&(MESH.to_owned() + before)), testing::snapshot(new));
    let change = Change { before: &before, policies: &policies, access: &access() };
    flows
        .iter()
        .map(|flow| {
            let forecast = simulate(&change, std::slice::from_ref(flow));
            let counts =
                [&forecast.newly_denied, &forecast.newly_allowed, &forecast.cannot_be_judged].map(|list| list.len());
            match (counts, forecast.unchanged) {
                ([1, 0, 0], 0) => "denied",
                ([0, 1, 0], 0) => "allowed",
                ([0, 0, 1], 0) => "unknown",
                ([0, 0, 0], count) if count == flow.count => "",
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

#[test]
fn who_would_newly_be_refused_or_allowed_is_told_and_what_nobody_can_tell_is_said() {
    let flows =
        [flow("web", Some("/a"), 3), flow("web", Some("/b"), 1), flow("192.0.2.7", None, 2), flow("db", Some("/a"), 5)];
    let web_only = policy("p", "ALLOW", "[{from: [{source: {principals: [\"cluster.local/ns/shop/sa/web\"]}}]}]");
    let cases = [
        ("", web_only.clone(), ["", "", "denied", "denied"]),
        (&*web_only, policy("p", "ALLOW", "[{}]"), ["", "", "allowed", "allowed"]),
        (&*web_only, policy("q", "ALLOW", "[{}]"), ["", "", "allowed", "allowed"]),
        (&*web_only, policy("q", "DENY", "[{to: [{operation: {paths: [/b]}}]}]"), ["", "denied", "", ""]),
        (
            "",
            policy("p", "DENY", "[{when: [{key: \"request.headers[x]\", values: [y]}]}]"),
            ["unknown", "unknown", "denied", "unknown"],
        ),
        (
            "",
            policy(
                "p",
                "DENY",
                "[{to: [{operation: {paths: [/b]}}], when: [{key: \"request.headers[x]\", values: [y]}]}]",
            ),
            ["", "unknown", "denied", ""],
        ),
        (
            "",
            policy("p", "ALLOW", "[{from: [{source: {ipBlocks: [192.0.2.0/24]}}]}]"),
            ["unknown", "unknown", "", "unknown"],
        ),
        (
            "",
            policy("p", "DENY", "[{from: [{source: {notRequestPrincipals: [\"*\"]}}]}]"),
            ["unknown", "unknown", "denied", "unknown"],
        ),
    ];
    for (before, new, expected) in cases {
        assert_eq!(outcomes(before, &new, &flows), expected, "{before}\n{new}");
    }
    let strict = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {namespace: shop, name: all}, spec: {mtls: {mode: STRICT}}}\n---\n";
    assert_eq!(
        outcomes(strict, &policy("p", "DENY", "[{}]"), &flows),
        ["denied", "denied", "", "denied"],
        "the mode refused it before"
    );
    let gone = Flow { workload: "other".to_owned(), ..flow("web", None, 1) };
    assert_eq!(outcomes("", &policy("p", "DENY", "[{}]"), &[gone]), ["unknown"]);
}

#[test]
fn what_depends_on_other_policies_than_before_cannot_be_judged() {
    let when = |value: &str| format!("[{{when: [{{key: \"request.headers[x]\", values: [{value}]}}]}}]");
    let from =
        |account: &str| format!("[{{from: [{{source: {{principals: [\"cluster.local/ns/shop/sa/{account}\"]}}}}]}}]");
    let (deny, ask) = (policy("d", "DENY", &when("y")), policy("a", "ALLOW", &when("y")));
    let cases = [
        (deny.clone(), deny.clone(), ""),
        (deny.clone(), policy("d", "DENY", &when("z")), "unknown"),
        (deny.clone(), policy("e", "DENY", "[{to: [{operation: {paths: [/b]}}]}]"), ""),
        (deny.clone(), policy("e", "DENY", &when("z")), "unknown"),
        // Where the header is not y, it was allowed by p, and then only by a.
        (deny.clone() + &ask + &policy("p", "ALLOW", &from("web")), policy("p", "ALLOW", &from("db")), "unknown"),
        (deny + &ask + &policy("p", "ALLOW", &from("web")), policy("p", "ALLOW", "[{}]"), ""),
    ];
    for (before, new, expected) in cases {
        assert_eq!(outcomes(&before, &new, &[flow("web", Some("/a"), 1)]), [expected], "{before}\n{new}");
    }
}

#[test]
fn heads_are_read_as_the_data_path_reads_them() {
    let paths = policy("p", "DENY", "[{to: [{operation: {paths: [/admin]}}]}]");
    let root = policy("p", "DENY", "[{to: [{operation: {paths: [/]}}]}]");
    let hosts = policy("p", "DENY", "[{to: [{operation: {hosts: [\"cart:81\"]}}]}]");
    let all = policy("p", "DENY", "[{}]");
    let cases = [
        (&paths, "GET", "/x/%2e%2E/%61dmin", "cart", "denied"),
        (&paths, "GET", "/admin%2Fx", "cart", ""),
        (&paths, "GET", "/%zz", "cart", "unknown"),
        (&root, "CONNECT", "", "cart:443", "denied"),
        (&root, "GET", "", "cart", "denied"),
        (&hosts, "GET", "/", "cart:81", "denied"),
        (&hosts, "GET", "/", "user@cart:81", "unknown"),
        (&all, "GET", "/", "cart cart", "unknown"),
        (&all, "GET", "/", "", "denied"),
    ];
    for (new, method, path, host, expected) in cases {
        let host = (!host.is_empty()).then(|| host.to_owned());
        let request = Some(FlowRequest { method: method.to_owned(), path: path.to_owned(), host });
        let flow = Flow { request, ..flow("web", None, 1) };
        assert_eq!(outcomes("", new, std::slice::from_ref(&flow)), [expected], "{new}\n{flow:?}");
    }
}

#[test]
fn who_was_refused_before_it_said_anything_may_have_been_about_to_ask() {
    let get = |name: &str, account: &str| {
        let from = format!("[{{source: {{principals: [\"cluster.local/ns/shop/sa/{account}\"]}}}}]");
        policy(name, "ALLOW", &format!("[{{from: {from}, to: [{{operation: {{methods: [GET]}}}}]}}]"))
    };
    let cases = [
        (get("p", "db"), get("p", "web"), "unknown"),
        // Had it asked for something, it would have come near before too.
        (get("p", "web"), get("q", "db"), ""),
        (get("p", "db"), get("q", "other"), ""),
        (get("p", "db"), policy("q", "ALLOW", "[{}]"), "allowed"),
    ];
    for (before, new, expected) in cases {
        assert_eq!(outcomes(&before, &new, &[flow("web", None, 1)]), [expected], "{before}\n{new}");
    }
}

#[test]
fn a_recording_comes_through_its_file_and_others_are_refused() {
    let recording = Flows {
        head: FlowsHead { version: VERSION, node: "node-a".to_owned(), started: "now".to_owned() },
        flows: vec![flow("web", Some("/a"), 3), Flow { open: 1, ..flow("192.0.2.7", None, 2) }],
        end: FlowsEnd { ended: "later".to_owned(), flows: 2, overflow: 9 },
    };
    let text = recording.write().unwrap();
    assert_eq!(Flows::read(&text).unwrap(), recording);
    let line = text.lines().nth(1).unwrap();
    assert!(
        line.contains("\"identity\":\"spiffe://cluster.local/ns/shop/sa/web\"") && line.contains("\"path\":\"/a\""),
        "{line}"
    );
    // Files of before there was a mark of what is open have none.
    assert_eq!(Flows::read(&text.replace(",\"open\":1", "")).unwrap().flows[1].open, 0);
    assert!(matches!(Flows::read(""), Err(BadFlows::Head(_))));
    assert!(matches!(Flows::read(&text.replace(":1,\"node\"", ":2,\"node\"")), Err(BadFlows::Version(2))));
    assert!(matches!(Flows::read(text.lines().next().unwrap()), Err(BadFlows::Unfinished)));
    assert!(matches!(Flows::read(&text.replace("8080", "\"x\"")), Err(BadFlows::Flow { line: 2, .. })));
}

proptest! {
    /// Whatever the headers were that are not recorded: a verdict that is told is the one that there was.
    #[test]
    fn a_verdict_that_is_told_holds_for_all_that_is_not_recorded(
        deny_value in "[ab]", allow_value in "[ab]", not: bool, header in proptest::option::of("[abc]"), path in "/[ab]", deny_path in "/[ab]",
    ) {
        let key = if not { "notValues" } else { "values" };
        let documents = policy("d", "DENY", &format!("[{{to: [{{operation: {{paths: [{deny_path}]}}}}], when: [{{key: \"request.headers[x]\", {key}: [{deny_value}]}}]}}]"))
            + &policy("a", "ALLOW", &format!("[{{to: [{{operation: {{paths: [/a]}}}}]}}, {{when: [{{key: \"request.headers[x]\", values: [{allow_value}]}}]}}]"));
        let snapshot = testing::snapshot(&(MESH.to_owned() + &documents));
        let (nothing, access) = (testing::snapshot(""), access());
        let change = Change { before: &snapshot, policies: &nothing, access: &access };
        let workload = snapshot.workload("10.0.0.1".parse().unwrap()).unwrap();
        let flow = flow("web", Some(&path), 1);
        let FlowClient::Identity(identity) = &flow.client else { panic!() };
        let mut headers = HeaderMap::new();
        if let Some(value) = &header {
            headers.insert(HeaderName::from_static("x"), HeaderValue::from_str(value).unwrap());
        }
        let facts = RequestFacts { method: "GET", path: &path, host: "cart", headers: &headers, token: None };
        let supposed = Supposed { identity: Some(identity), client: [10, 9, 9, 9].into(), to: "10.0.0.1:8080".parse().unwrap() };
        let real = judge_policies(&snapshot.policies_of(workload), &access, supposed, Stage::Request(&facts)).is_ok();
        match Case::of(&change, workload, &flow).unwrap().verdict(false) {
            Verdict::Allowed(_) => prop_assert!(real),
            Verdict::Denied(_) => prop_assert!(!real),
            Verdict::Unknown(_) => {}
        }
    }
}
