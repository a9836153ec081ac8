//! Explanations over one small mesh: each way in which something can go on or be refused.

use std::time::Instant;

use super::{Rest, Unanswerable};
use crate::{
    authorize::limits::LimitSource,
    balance::breaker::PoolSettings,
    config::MtlsMode,
    explain::{Report, StepName, Verdict, Written, explain_ended},
    mesh::{Snapshot, testing},
    observe::{CUT, Ended, EndedRequest, OverflowLimit, Party, Reporter},
};

/// `client` and `near` on node-a, `far` on node-b, `out` in no mesh; Service web is `far`, Service outer is `out`.
const MESH: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {heddle.io/mesh: enabled}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: client, labels: {app: client}, annotations: {heddle.io/netns: /run/netns/c, heddle.io/exclude-outbound-ports: '5432'}}, spec: {nodeName: node-a, serviceAccountName: client}, status: {podIPs: [{ip: 10.0.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: near, labels: {app: near}, annotations: {heddle.io/netns: /run/netns/n, heddle.io/exclude-inbound-ports: '9100'}}, spec: {nodeName: node-a, serviceAccountName: near}, status: {podIPs: [{ip: 10.0.0.2}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: far, labels: {app: far}}, spec: {nodeName: node-b, serviceAccountName: far}, status: {podIPs: [{ip: 10.0.0.3}]}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: out, labels: {app: out, heddle.io/mesh: disabled}}, spec: {nodeName: node-b}, status: {podIPs: [{ip: 10.0.0.4}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000, targetPort: 9000}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{name: http, port: 8080}, {name: tcp, port: 9000}], endpoints: [{addresses: [10.0.0.3]}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: outer}, spec: {clusterIP: 10.96.0.2, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: outer-1, labels: {kubernetes.io/service-name: outer}}, addressType: IPv4, ports: [{name: http, port: 8080}], endpoints: [{addresses: [10.0.0.4]}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: idle}, spec: {clusterIP: 10.96.0.3, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: self}, spec: {clusterIP: 10.96.0.4, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: self-1, labels: {kubernetes.io/service-name: self}}, addressType: IPv4, ports: [{name: http, port: 8080}], endpoints: [{addresses: [10.0.0.1]}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: pods}, spec: {clusterIP: None, ports: [{name: http, port: 80}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: pods-1, labels: {kubernetes.io/service-name: pods}}, addressType: IPv4, ports: [{name: http, port: 8080}], endpoints: [{addresses: [10.0.0.3]}]}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: alias}, spec: {type: ExternalName, externalName: example.com}}
---
";

fn mesh(documents: &str) -> Snapshot {
    testing::snapshot(&format!("{MESH}{documents}"))
}

fn document(version: &str, kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: {version}, kind: {kind}, metadata: {{namespace: shop, name: {name}}}, spec: {spec}}}\n---\n")
}

fn policy(name: &str, action: &str, rules: &str) -> String {
    let spec = format!("{{selector: {{matchLabels: {{app: far}}}}, action: {action}, rules: {rules}}}");
    document("security.istio.io/v1", "AuthorizationPolicy", name, &spec)
}

fn strict() -> String {
    document("security.istio.io/v1", "PeerAuthentication", "all", "{mtls: {mode: STRICT}}")
}

fn route(rules: &str) -> String {
    let spec = format!("{{parentRefs: [{{group: \"\", kind: Service, name: web, port: 80}}], rules: {rules}}}");
    document("gateway.networking.k8s.io/v1", "HTTPRoute", "web", &spec)
}

fn get(from: &str, to: &str, path: &str) -> Written {
    Written { from: from.to_owned(), to: to.to_owned(), path: Some(path.to_owned()), ..Written::default() }
}

fn tcp(from: &str, to: &str) -> Written {
    Written { from: from.to_owned(), to: to.to_owned(), bytes: true, ..Written::default() }
}

fn told(documents: &str, written: &Written) -> Report {
    Rest::new(MtlsMode::Permissive).explain(&mesh(documents), written).unwrap()
}

/// `allowed`, or the flag, status and policy of what is refused.
fn result(report: &Report) -> Vec<String> {
    let one = |possible: &crate::explain::Possible| match possible.answered {
        true => "allowed".to_owned(),
        false => {
            let (flag, policy) = (possible.flag.as_deref().unwrap_or("-"), possible.policy.as_deref().unwrap_or("-"));
            let status = possible.status.map_or_else(|| "reset".to_owned(), |status| status.to_string());
            format!("{status} {flag} {policy}")
        }
    };
    report.result.iter().map(one).collect()
}

#[test]
fn each_way_to_be_allowed_or_refused_has_its_name() {
    let deny = policy("no-admin", "DENY", "[{to: [{operation: {paths: [/admin*]}}]}]");
    let near_only =
        policy("near-only", "ALLOW", "[{from: [{source: {principals: [\"cluster.local/ns/shop/sa/near\"]}}]}]");
    let get_only = policy("get", "ALLOW", "[{to: [{operation: {methods: [GET]}}]}]");
    let v1 = route("[{matches: [{path: {value: /v1}}], backendRefs: [{name: web, port: 80}]}]");
    let lost = route("[{backendRefs: [{name: nothing, port: 80}]}]");
    let disable = document(
        "security.istio.io/v1",
        "PeerAuthentication",
        "far",
        "{selector: {matchLabels: {app: far}}, mtls: {mode: DISABLE}}",
    );
    let both = strict()
        + &document(
            "security.istio.io/v1",
            "PeerAuthentication",
            "far",
            "{selector: {matchLabels: {app: far}}, mtls: {mode: DISABLE}}",
        );
    let tokens = document(
        "security.istio.io/v1",
        "RequestAuthentication",
        "far",
        "{selector: {matchLabels: {app: far}}, jwtRules: [{issuer: tests, jwksUri: https://keys.example.com/k}]}",
    );
    let bearer = |token: &str| Written {
        headers: vec![format!("authorization: Bearer {token}")],
        ..get("shop/client", "web:80", "/")
    };
    let cases = [
        ("", get("shop/client", "web:80", "/"), "allowed"),
        ("", get("shop/client", "web.shop:80", "/"), "allowed"),
        ("", get("shop/client", "web.shop.svc.cluster.local.:80", "/"), "allowed"),
        ("", get("shop/client", "10.96.0.1:80", "/"), "allowed"),
        ("", get("shop/client", "10.0.0.3:8080", "/"), "allowed"),
        ("", tcp("shop/client", "web:9000"), "allowed"),
        ("", tcp("shop/client", "web:80"), "400 DPE -"),
        ("", tcp("shop/client", "web:81"), "reset NR -"),
        ("", get("shop/client", "idle:80", "/"), "503 UH -"),
        ("", get("shop/client", "outer:80", "/"), "allowed"),
        ("", get("shop/client", "192.0.2.1:80", "/"), "allowed"),
        ("", get("shop/client", "self:80", "/"), "allowed"),
        ("", tcp("shop/client", "10.0.0.3:15008"), "reset NR -"),
        ("", tcp("shop/client", "10.96.0.1:5432"), "reset NR -"),
        (&deny, get("shop/client", "web:80", "/"), "allowed"),
        (&deny, get("shop/client", "web:80", "/x/../admin/a"), "403 UAEX AuthorizationPolicy shop/no-admin"),
        (&deny, tcp("shop/client", "web:9000"), "reset DENY AuthorizationPolicy shop/no-admin"),
        (&near_only, get("shop/client", "web:80", "/"), "503 DENY AuthorizationPolicy shop/near-only"),
        (&near_only, tcp("shop/client", "web:9000"), "reset DENY AuthorizationPolicy shop/near-only"),
        (&near_only, get("shop/near", "web:80", "/"), "allowed"),
        (&near_only, get("shop/out", "web:80", "/"), "reset DENY AuthorizationPolicy shop/near-only"),
        (&get_only, tcp("shop/client", "web:9000"), "reset DENY AuthorizationPolicy shop/get"),
        (&strict(), get("shop/client", "web:80", "/"), "allowed"),
        (&strict(), get("shop/out", "web:80", "/"), "reset DENY PeerAuthentication shop/all"),
        (&strict(), get("192.0.2.7", "10.0.0.3:8080", "/"), "reset DENY PeerAuthentication shop/all"),
        (&strict(), tcp("192.0.2.7", "10.0.0.2:9100"), "allowed"),
        (&strict(), tcp("192.0.2.7", "10.0.0.2:15008"), "reset TLS_FAILURE -"),
        (&both, get("shop/client", "web:80", "/"), "allowed"),
        (&(disable + &near_only), get("shop/near", "web:80", "/"), "503 DENY AuthorizationPolicy shop/near-only"),
        (&v1, get("shop/client", "web:80", "/v1/a"), "allowed"),
        (&v1, get("shop/client", "web:80", "/v2"), "404 NR -"),
        (&v1, get("shop/client", "10.0.0.3:8080", "/v2"), "allowed"),
        (&v1, get("shop/out", "web:80", "/v2"), "allowed"),
        (&lost, get("shop/client", "web:80", "/"), "500 NR -"),
        (&tokens, get("shop/client", "web:80", "/"), "allowed"),
        (&tokens, bearer("x.y.z"), "401 UAEX -"),
    ];
    for (documents, written, expected) in cases {
        let report = told(documents, &written);
        let text = report.to_text(crate::explain::Paint::Plain);
        assert_eq!(result(&report), [expected], "{documents}\n{text}");
        assert_eq!(report.answered, expected == "allowed");
        assert!(report.result.iter().all(|one| one.answered != one.remedy.is_some()), "{text}");
    }
}

#[test]
fn what_passes_the_agent_by_is_said_with_its_reason() {
    let of = |documents: &str, written: &Written| told(documents, written).steps.remove(0);
    let excluded = of("", &tcp("shop/client", "10.0.0.3:5432"));
    assert_eq!((excluded.step, excluded.verdict), (StepName::Capture, Verdict::Bypasses));
    assert!(excluded.because[0].contains("port 5432 is excluded for pod shop/client"), "{excluded:?}");
    let outside = of("", &get("shop/out", "web:80", "/"));
    assert!(outside.says.contains("shop/out is not enrolled"), "{outside:?}");
    let captured = of("", &get("shop/client", "web:80", "/"));
    assert_eq!(captured.verdict, Verdict::Passes);
    assert!(captured.because[0].contains("excluded are port 5432"), "{captured:?}");
    let other_node = told("", &get("shop/far", "web:80", "/"));
    assert!(other_node.notes.iter().any(|note| note.contains("node-b")), "{:?}", other_node.notes);
    let itself = told(&strict(), &get("shop/client", "self:80", "/"));
    let arrival = itself.steps.iter().find(|step| step.step == StepName::Arrival).unwrap();
    assert_eq!((arrival.verdict, arrival.because[0].as_str()), (Verdict::Bypasses, "the pod connects to itself"));
}

#[test]
fn the_losers_are_told_with_what_they_lack() {
    let documents = route(
        "[{matches: [{path: {value: /v1}, headers: [{name: x-user, value: alice}]}], backendRefs: [{name: outer, port: 80}]}, \
         {backendRefs: [{name: web, port: 80}]}]",
    );
    let report = told(&documents, &get("shop/client", "web:80", "/v1"));
    let rule = report.steps.iter().find(|step| step.step == StepName::Route).unwrap();
    assert_eq!(rule.says, "HTTPRoute shop/web rules[1] decides");
    assert_eq!(
        rule.instead_of,
        ["HTTPRoute shop/web spec.rules[0].matches[0]: headers[x-user] has to be \"alice\", found nothing"]
    );
    let denied = policy("far-only", "ALLOW", "[{from: [{source: {namespaces: [other]}}]}]");
    let report = told(&denied, &get("shop/client", "web:80", "/"));
    let access = report.steps.iter().find(|step| step.step == StepName::Access).unwrap();
    assert_eq!(access.verdict, Verdict::Refuses);
    assert!(access.instead_of[0].contains("from[0].source.namespaces: found shop, wanted one of other"), "{access:?}");
    assert_eq!(access.details["verdict"], "denied");
}

#[test]
fn chance_is_told_in_shares() {
    let fault = document("heddle.io/v1alpha1", "FaultInjection", "some", "{abort: {percentage: 25, httpStatus: 418}}");
    let extension =
        "filters: [{type: ExtensionRef, extensionRef: {group: heddle.io, kind: FaultInjection, name: some}}]";
    let documents = fault
        + &route(&format!(
            "[{{{extension}, backendRefs: [{{name: web, port: 80, weight: 3}}, {{name: idle, port: 80}}]}}]"
        ));
    let report = told(&documents, &get("shop/client", "web:80", "/"));
    assert_eq!(parts(&report), [(5625, None), (2500, Some(418)), (1875, Some(503))]);
    assert!(!report.answered);
}

/// What becomes of which ten-thousandths of all requests; `None` for those that the server gets.
fn parts(report: &Report) -> Vec<(u64, Option<u16>)> {
    let part = |one: &crate::explain::Possible| ((one.share * 10_000.0).round() as u64, one.status);
    report.result.iter().map(part).collect()
}

#[test]
fn a_wait_of_all_the_time_that_a_request_may_take_is_told_as_a_failure() {
    let of = |delay: &str, rule: &str| {
        let spec =
            format!("{{delay: {{percentage: 40, fixedDelay: {delay}}}, abort: {{percentage: 25, httpStatus: 418}}}}");
        let filter = "{type: ExtensionRef, extensionRef: {group: heddle.io, kind: FaultInjection, name: some}}";
        let documents = document("heddle.io/v1alpha1", "FaultInjection", "some", &spec)
            + &route(&format!("[{{filters: [{filter}{rule}}}]"));
        parts(&told(&documents, &get("shop/client", "web:80", "/")))
    };
    let backend = "], backendRefs: [{name: web, port: 80}]";
    let redirect = ", {type: RequestRedirect, requestRedirect: {hostname: a.example}}], timeouts: {request: 1s}";
    let lost = "], timeouts: {request: 1s}, backendRefs: [{name: nothing, port: 80}]";
    let in_a_second = format!("{backend}, timeouts: {{request: 1s}}");
    assert_eq!(of("2s", &in_a_second), [(4500, None), (4000, Some(504)), (1500, Some(418))]);
    assert_eq!(of("1s", &in_a_second), [(4500, None), (4000, Some(504)), (1500, Some(418))]);
    assert_eq!(of("999ms", &in_a_second), [(7500, None), (2500, Some(418))]);
    assert_eq!(of("2s", backend), [(7500, None), (2500, Some(418))]);
    assert_eq!(of("2s", lost), [(4500, Some(500)), (4000, Some(504)), (1500, Some(418))]);
    // Nobody waits before a redirect: late are only those that are to wait and fail.
    assert_eq!(of("2s", redirect), [(7500, Some(302)), (1500, Some(418)), (1000, Some(504))]);
}

#[test]
fn what_is_answered_400_is_so_before_faults_and_limits() {
    let fault = document("heddle.io/v1alpha1", "FaultInjection", "all", "{abort: {httpStatus: 418}}");
    let filter = "{type: ExtensionRef, extensionRef: {group: heddle.io, kind: FaultInjection, name: all}}";
    let documents = fault + &route(&format!("[{{filters: [{filter}], backendRefs: [{{name: web, port: 80}}]}}]"));
    let with = |from: &str, headers: &[&str]| Written {
        headers: headers.iter().map(|header| (*header).to_owned()).collect(),
        ..get(from, "web:80", "/")
    };
    let said = |written: &Written| {
        let report = told(&documents, written);
        (report.result.len(), report.result[0].status, report.result[0].grpc_status)
    };
    assert_eq!(said(&with("shop/client", &[])), (1, Some(418), None));
    for headers in [&["host: a b"][..], &["host: user@web"], &["host: web", "host: web"]] {
        assert_eq!(said(&with("shop/client", headers)), (1, Some(400), None), "{headers:?}");
        assert_eq!(said(&with("shop/out", headers)), (1, Some(400), None), "at the server: {headers:?}");
    }
    let call = |timeout: &str| with("shop/client", &["content-type: application/grpc", timeout]);
    let (bad, good) = (told(&documents, &call("grpc-timeout: soon")), told(&documents, &call("grpc-timeout: 1S")));
    assert!(bad.result[0].says.contains("grpc-timeout"), "{:?}", bad.result);
    assert!(good.result[0].says.contains("FaultInjection shop/all"), "{:?}", good.result);
}

#[test]
fn policies_are_not_asked_about_what_the_mode_refuses() {
    let report = told(&(strict() + &policy("p", "DENY", "[{}]")), &tcp("192.0.2.7", "10.0.0.3:8080"));
    assert_eq!(result(&report), ["reset DENY PeerAuthentication shop/all"]);
    assert!(report.steps.iter().all(|step| step.step != StepName::Access), "{:?}", report.steps);
    let mode = report.steps.iter().find(|step| step.step == StepName::Mode).unwrap();
    assert_eq!(mode.verdict, Verdict::Refuses);
}

#[test]
fn who_takes_over_is_picked_as_its_own_documents_say() {
    let service = "
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: two}, spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 80, targetPort: 8080}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: two-1, labels: {kubernetes.io/service-name: two}}, addressType: IPv4, ports: [{name: http, port: 8080}], endpoints: [{addresses: [10.0.0.2]}, {addresses: [10.0.0.3]}]}
---
";
    let fallback = document(
        "heddle.io/v1alpha1",
        "Fallback",
        "web",
        "{targetRefs: [{name: web}], backendRef: {name: two, port: 80}}",
    );
    let hash = |host: &str| {
        let spec = format!(
            "{{host: {host}, trafficPolicy: {{connectionPool: {{http: {{http2MaxRequests: 1}}}}, \
             loadBalancer: {{consistentHash: {{httpHeaderName: x-user}}}}}}}}"
        );
        document("networking.istio.io/v1", "DestinationRule", host, &spec)
    };
    let most = "{host: web, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}";
    let most = document("networking.istio.io/v1", "DestinationRule", "web", most);
    for (rules, is_one) in [(hash("two") + &most, true), (hash("web"), false)] {
        let snapshot = mesh(&format!("{service}{fallback}{rules}"));
        let rest = Rest::new(MtlsMode::Permissive);
        let web = crate::mesh::ServiceName { namespace: "shop".into(), name: "web".into() };
        let settings = snapshot.destination_settings(&web, 80, "shop").unwrap();
        let breaker = rest.breakers.of(&web, 80);
        let _underway = breaker.begin(OverflowLimit::Requests, PoolSettings::of(Some(settings))).unwrap();
        let asks = Written { headers: vec!["x-user: alice".to_owned()], ..get("shop/client", "web:80", "/") };
        let report = rest.explain(&snapshot, &asks).unwrap();
        assert_eq!(result(&report), ["allowed"]);
        assert_eq!(report.result[0].backend.as_deref(), Some("shop/two port 80"));
        assert_eq!(report.result[0].endpoint.is_some(), is_one, "{rules}");
    }
}

#[test]
fn limits_and_breakers_are_looked_at_and_not_charged() {
    let limit = document(
        "heddle.io/v1alpha1",
        "RateLimit",
        "few",
        "{targetRefs: [{group: \"\", kind: Service, name: web}], limits: [{requests: 1, interval: 1h}]}",
    );
    let pool = document(
        "networking.istio.io/v1",
        "DestinationRule",
        "web",
        "{host: web, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}",
    );
    let snapshot = mesh(&(limit + &pool));
    let rest = Rest::new(MtlsMode::Permissive);
    let written = get("shop/client", "web:80", "/");
    for _ in 0..3 {
        assert_eq!(result(&rest.explain(&snapshot, &written).unwrap()), ["allowed"]);
    }
    let service = crate::mesh::ServiceName { namespace: "shop".into(), name: "web".into() };
    let breaker = rest.breakers.of(&service, 80);
    let settings = snapshot.destination_settings(&service, 80, "shop").unwrap();
    let underway = breaker.begin(OverflowLimit::Requests, PoolSettings::of(Some(settings))).unwrap();
    assert_eq!(result(&rest.explain(&snapshot, &written).unwrap()), ["503 UO -"]);
    drop(underway);
    let applied = snapshot.rate_limits_of_service(&service).remove(0);
    let client = snapshot.workload("10.0.0.1".parse().unwrap()).unwrap();
    let source = LimitSource::Identity(&client.identity);
    let headers = http::HeaderMap::new();
    rest.limiter.check(&applied.document, &applied.limits, source, &headers, Instant::now()).unwrap();
    assert_eq!(result(&rest.explain(&snapshot, &written).unwrap()), ["429 RL RateLimit shop/few"]);
}

#[test]
fn what_a_rule_changes_is_what_the_server_decides_on() {
    let rewrite = "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /admin}}}, \
                   {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-role, value: root}]}}]";
    let documents = route(&format!(
        "[{{matches: [{{path: {{value: /open}}}}], {rewrite}, backendRefs: [{{name: web, port: 80}}]}}]"
    )) + &policy(
        "admin",
        "DENY",
        "[{to: [{operation: {paths: [/admin/x]}}], when: [{key: \"request.headers[x-role]\", values: [root]}]}]",
    );
    let report = told(&documents, &get("shop/client", "web:80", "/open/x"));
    assert_eq!(result(&report), ["403 UAEX AuthorizationPolicy shop/admin"]);
    assert_eq!(result(&told(&documents, &get("shop/client", "web:80", "/open/y"))), ["allowed"]);
    // What the client says of its own identity is replaced before a policy reads it.
    let forged =
        policy("xfcc", "DENY", "[{when: [{key: \"request.headers[x-forwarded-client-cert]\", values: [forged]}]}]");
    let request =
        Written { headers: vec!["x-forwarded-client-cert: forged".to_owned()], ..get("shop/client", "web:80", "/") };
    assert_eq!(result(&told(&forged, &request)), ["allowed"]);
}

#[test]
fn calls_and_tls_are_told_in_their_own_words() {
    let grpc = Written {
        headers: vec!["content-type: application/grpc".to_owned()],
        method: Some("POST".to_owned()),
        ..get("shop/client", "web:80", "/a.B/C")
    };
    let report = told(&policy("none", "DENY", "[{to: [{operation: {paths: [/a.B/C]}}]}]"), &grpc);
    assert_eq!((report.result[0].status, report.result[0].grpc_status), (Some(200), Some(7)));
    let spec = "{parentRefs: [{group: \"\", kind: Service, name: web, port: 9000}], hostnames: [\"*.example.com\"], rules: [{backendRefs: [{name: web, port: 9000}]}]}";
    let tls = document("gateway.networking.k8s.io/v1", "TLSRoute", "tls", spec);
    let asks = |name: &str| Written { sni: Some(name.to_owned()), bytes: false, ..tcp("shop/client", "web:9000") };
    assert_eq!(result(&told(&tls, &asks("db.example.com"))), ["allowed"]);
    let report = told(&tls, &asks("example.com"));
    assert_eq!(result(&report), ["reset NR -"]);
    let rule = report.steps.iter().find(|step| step.step == StepName::Route).unwrap();
    assert_eq!(rule.instead_of, ["TLSRoute shop/tls: it is for the server name *.example.com, not example.com"]);
}

#[test]
fn names_that_lead_nowhere_are_no_question() {
    let of = |from: &str, to: &str| Rest::new(MtlsMode::Permissive).explain(&mesh(""), &tcp(from, to)).unwrap_err();
    assert!(matches!(of("shop/nobody", "web:80"), Unanswerable::Pod { known, .. } if known.len() == 4));
    assert!(
        matches!(of("shop/client", "nothing:80"), Unanswerable::Name { tried, .. } if tried == ["nothing.shop.svc.cluster.local"])
    );
    assert!(matches!(of("shop/client", "api.example.com:80"), Unanswerable::Name { .. }));
    assert!(matches!(of("192.0.2.1", "web:80"), Unanswerable::Name { .. }), "relative to no namespace");
    assert!(matches!(of("shop/client", "alias:80"), Unanswerable::ExternalName { .. }));
    assert_eq!(result(&told("", &get("shop/client", "pods:8080", "/"))), ["allowed"]);
    let entry = document(
        "networking.istio.io/v1",
        "ServiceEntry",
        "api",
        "{hosts: [api.example.com], addresses: [192.0.2.9], ports: [{number: 443, name: tls, protocol: TLS}], resolution: STATIC, endpoints: [{address: 192.0.2.10}]}",
    );
    let report = told(&entry, &tcp("shop/client", "api.example.com:443"));
    assert_eq!(result(&report), ["allowed"]);
    assert_eq!(report.result[0].endpoint.unwrap().to_string(), "192.0.2.10:443");
}

#[test]
fn a_path_that_was_cut_is_said_to_be() {
    let snapshot = mesh("");
    let client = snapshot.workload("10.0.0.1".parse().unwrap()).unwrap();
    let party = Party { address: "10.0.0.1:40000".parse().unwrap(), workload: Some(client.clone()), identity: None };
    for (path, is_cut) in [("/cart".to_owned(), false), (format!("/cart{CUT}"), true)] {
        let request = EndedRequest { method: "GET".to_owned(), path, host: None, is_grpc: false, status: Some(200) };
        let ended = Ended {
            fields: serde_json::json!({}),
            generation: 1,
            reporter: Reporter::Source,
            client: party.clone(),
            original_dst: "10.96.0.1:80".parse().unwrap(),
            server: None,
            failure: None,
            request,
        };
        let rest = Rest::new(MtlsMode::Permissive);
        let report = rest.ask(&snapshot, |world| explain_ended(world, std::slice::from_ref(&ended)));
        assert_eq!(result(&report), ["allowed"]);
        assert_eq!(report.notes.iter().any(|note| note.contains("only the beginning")), is_cut, "{:?}", report.notes);
    }
}
