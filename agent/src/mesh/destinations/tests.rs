//! Tests of what documents say of destinations and requests: whatever came before, it is what the documents that there are
//! say.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use proptest::{prelude::*, sample::select};

use crate::{
    mesh::{Compiler, ServiceName, Snapshot, compile_enforcing, testing},
    objects::{Change, ConfigMap, Kind, Object, ObjectKey, ObjectName, ObjectSet},
    rules::{
        Enforced, Spec,
        destination_rule::{Algorithm, ClientTlsMode, SimpleAlgorithm},
    },
};

/// A document with its name as that of its ConfigMap.
fn document(kind: &str, namespace: &str, name: &str, day: Option<u64>, spec: &str) -> Change {
    let version = match kind {
        "DestinationRule" => "networking.istio.io/v1",
        "XBackendTrafficPolicy" => "gateway.networking.x-k8s.io/v1alpha1",
        "HTTPRoute" => "gateway.networking.k8s.io/v1",
        _ => "heddle.io/v1alpha1",
    };
    let text = format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}");
    Change::Put(Object::ConfigMap(Arc::new(ConfigMap {
        name: ObjectName::new(namespace, name),
        uid: None,
        created: day.map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs(day)),
        data: BTreeMap::from([("a".to_owned(), text.into())]),
    })))
}

fn gone(namespace: &str, name: &str) -> Change {
    Change::Remove(ObjectKey { kind: Kind::ConfigMap, name: ObjectName::new(namespace, name) })
}

fn rule(namespace: &str, name: &str, day: Option<u64>, host: &str) -> Change {
    document("DestinationRule", namespace, name, day, &format!("{{host: '{host}'}}"))
}

fn compiler() -> Compiler {
    Compiler::enforcing(testing::settings(), Enforced::EVERYTHING)
}

fn snapshot(changes: impl IntoIterator<Item = Change>) -> Snapshot {
    let outcome = compiler().apply(changes);
    for status in outcome.documents.unwrap() {
        assert_eq!(status.state.as_str(), "accepted", "{status}");
    }
    outcome.snapshot.unwrap()
}

fn service(namespace: &str, name: &str) -> ServiceName {
    ServiceName { namespace: namespace.into(), name: name.into() }
}

/// The rule that counts for a destination, for clients of a namespace.
fn counts(snapshot: &Snapshot, destination: &ServiceName, client: &str) -> Option<String> {
    snapshot.destination_rule(destination, client).map(|settings| settings.document.to_string())
}

#[test]
fn a_port_takes_what_it_does_not_say_from_what_is_said_for_all() {
    let spec = "{host: web, trafficPolicy: {loadBalancer: {simple: RANDOM}, tls: {mode: ISTIO_MUTUAL}, portLevelSettings: \
                [{port: {number: 80}, loadBalancer: {simple: ROUND_ROBIN}}, {port: {number: 81}, tls: {mode: DISABLE}}]}}";
    let snapshot = snapshot([document("DestinationRule", "shop", "a", None, spec)]);
    let said = |port| {
        let settings = snapshot.destination_settings(&service("shop", "web"), port, "bank").unwrap();
        let algorithm = settings.load_balancer.as_ref().unwrap().algorithm.clone();
        (algorithm.unwrap(), settings.tls.unwrap().mode)
    };
    let simple = Algorithm::Simple;
    assert_eq!(said(80), (simple(SimpleAlgorithm::RoundRobin), ClientTlsMode::IstioMutual));
    assert_eq!(said(81), (simple(SimpleAlgorithm::Random), ClientTlsMode::Disable));
    assert_eq!(said(82), (simple(SimpleAlgorithm::Random), ClientTlsMode::IstioMutual));
    assert_eq!(snapshot.destination_settings(&service("shop", "db"), 80, "bank"), None);
}

#[test]
fn the_clients_namespace_comes_before_the_services_and_that_before_the_root() {
    let host = "web.shop.svc.cluster.local";
    let all = [rule("bank", "a", None, host), rule("shop", "b", None, host), rule("heddle-system", "c", None, host)];
    let found = |changes: &[Change], client| counts(&snapshot(changes.to_vec()), &service("shop", "web"), client);
    assert_eq!(found(&all, "bank").as_deref(), Some("bank/a"));
    assert_eq!(found(&all, "club").as_deref(), Some("shop/b"));
    assert_eq!(found(&all[2..], "club").as_deref(), Some("heddle-system/c"));
    assert_eq!(found(&all[..1], "club"), None, "a rule of another client's namespace");
}

#[test]
fn the_very_name_comes_before_the_longest_wildcard_within_a_namespace() {
    let destination = service("shop", "web");
    let found = |hosts: &[(&str, &str)]| {
        let rules =
            hosts.iter().enumerate().map(|(n, (namespace, host))| rule(namespace, &format!("r{n}"), None, host));
        counts(&snapshot(rules), &destination, "bank")
    };
    let (exact, near, far) = ("web.shop", "*.shop.svc.cluster.local", "*.local");
    assert_eq!(found(&[("shop", far), ("shop", near), ("shop", exact)]).as_deref(), Some("shop/r2"));
    assert_eq!(found(&[("shop", far), ("shop", near)]).as_deref(), Some("shop/r1"));
    assert_eq!(found(&[("shop", far)]).as_deref(), Some("shop/r0"));
    assert_eq!(
        found(&[("shop", exact), ("bank", far)]).as_deref(),
        Some("bank/r1"),
        "the nearer namespace comes first"
    );
    assert_eq!(found(&[("shop", "*.shop")]), None, "a wildcard is not shortened");
}

#[test]
fn a_destination_outside_is_known_by_its_host() {
    let rules = [rule("shop", "a", None, "api.example"), rule("shop", "b", None, "*.example.com")];
    let snapshot = snapshot(rules);
    assert_eq!(counts(&snapshot, &service("shop", "api.example"), "shop").as_deref(), Some("shop/a"));
    assert_eq!(counts(&snapshot, &service("example", "api"), "shop").as_deref(), Some("shop/a"), "or it is a Service");
    for host in ["www.example.com", "*.example.com", "a.b.example.com"] {
        assert_eq!(counts(&snapshot, &service("bank", host), "shop").as_deref(), Some("shop/b"), "{host}");
    }
    assert_eq!(counts(&snapshot, &service("bank", "example.com"), "shop"), None);
}

#[test]
fn of_two_for_one_destination_the_older_counts_and_the_other_is_told() {
    let mut compiler = compiler();
    let both = [rule("shop", "old", Some(1), "web.shop"), rule("shop", "aged", Some(2), "web")];
    let snapshot = compiler.apply(both).snapshot.unwrap();
    assert_eq!(counts(&snapshot, &service("shop", "web"), "shop").as_deref(), Some("shop/old"));
    let told: Vec<String> = snapshot.overlaps().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "DestinationRule shop/aged: spec.host: DestinationRule shop/old comes first and counts alone for the same; remove \
          one of the two"
        ]
    );
    let snapshot = compiler.apply([gone("shop", "old")]).snapshot.unwrap();
    assert_eq!(counts(&snapshot, &service("shop", "web"), "shop").as_deref(), Some("shop/aged"));
    assert_eq!(snapshot.overlaps(), []);
}

fn policy(namespace: &str, name: &str, day: Option<u64>, target: &str) -> Change {
    let spec = format!("{{targetRefs: [{{group: '', kind: Service, name: {target}}}]}}");
    document("XBackendTrafficPolicy", namespace, name, day, &spec)
}

#[test]
fn the_oldest_policy_of_a_service_counts() {
    let mut compiler = compiler();
    let snapshot = compiler.apply([policy("shop", "a", Some(2), "web"), policy("shop", "b", Some(1), "web")]);
    let snapshot = snapshot.snapshot.unwrap();
    assert_eq!(snapshot.backend_policy_name(&service("shop", "web")).unwrap().to_string(), "shop/b");
    assert_eq!(snapshot.overlaps()[0].path, "spec.targetRefs[0]");
    assert!(snapshot.backend_policy(&service("bank", "web")).is_none(), "a policy is for its own namespace");
    let snapshot = compiler.apply([gone("shop", "b")]).snapshot.unwrap();
    assert_eq!(snapshot.backend_policy_name(&service("shop", "web")).unwrap().to_string(), "shop/a");
    assert!(snapshot.backend_policy(&service("shop", "web")).is_some());
}

fn limit(namespace: &str, name: &str, scope: &str) -> Change {
    let spec = format!("{{{scope}limits: [{{requests: 1, interval: 1s}}]}}");
    document("RateLimit", namespace, name, None, &spec)
}

fn fallback(namespace: &str, name: &str, day: Option<u64>, target: &str, backend: &str) -> Change {
    let spec = format!("{{targetRefs: [{{name: {target}}}], backendRef: {{name: {backend}, port: 80}}}}");
    document("Fallback", namespace, name, day, &spec)
}

#[test]
fn a_fallback_for_the_port_comes_before_one_for_all_and_then_the_oldest_counts() {
    let mut compiler = compiler();
    let changes = [
        fallback("shop", "a", Some(2), "web", "a"),
        fallback("shop", "b", Some(1), "web", "b"),
        fallback("shop", "c", Some(3), "web, port: 81", "c"),
        fallback("bank", "d", Some(0), "web", "d"),
    ];
    let snapshot = compiler.apply(changes).snapshot.unwrap();
    let who = |snapshot: &Snapshot, namespace, port| {
        snapshot.fallback(&service(namespace, "web"), port).map(ToString::to_string)
    };
    assert_eq!(who(&snapshot, "shop", 80).as_deref(), Some("shop/b:80"));
    assert_eq!(who(&snapshot, "shop", 81).as_deref(), Some("shop/c:80"));
    assert_eq!(who(&snapshot, "bank", 81).as_deref(), Some("bank/d:80"), "a Fallback is for its own namespace");
    assert_eq!(snapshot.fallback(&service("shop", "db"), 80), None);
    let told: Vec<String> = snapshot.overlaps().iter().map(ToString::to_string).collect();
    let told_of_a = "Fallback shop/a: spec.targetRefs[0]: Fallback shop/b comes first and counts alone for the same; remove one of \
                     the two";
    assert_eq!(told, [told_of_a]);
    let snapshot = compiler.apply([gone("shop", "b"), gone("shop", "c")]).snapshot.unwrap();
    assert_eq!(who(&snapshot, "shop", 81).as_deref(), Some("shop/a:80"));
    assert_eq!(snapshot.overlaps(), []);
}

#[test]
fn a_fallback_that_leads_nowhere_is_told_until_it_does() {
    let mut compiler = compiler();
    let dangling = fallback("shop", "f", None, "web", "static, namespace: cdn");
    let told = |changes: Vec<Change>, compiler: &mut Compiler| -> Vec<String> {
        let snapshot = compiler.apply(changes).snapshot.unwrap();
        snapshot.fallback_problems().iter().map(ToString::to_string).collect()
    };
    let nowhere = "Fallback shop/f: spec.backendRef: there is no Service cdn/static, so nobody takes over";
    assert_eq!(told(vec![dangling], &mut compiler), [nowhere]);
    let other_port = "Fallback shop/f: spec.backendRef: Service cdn/static has no TCP port 80, so nobody takes over";
    assert_eq!(told(vec![with_port("cdn", "static", 81)], &mut compiler), [other_port]);
    assert_eq!(told(vec![with_port("cdn", "static", 80)], &mut compiler), [""; 0]);
}

/// A Service with an address and one port.
fn with_port(namespace: &str, name: &str, port: u16) -> Change {
    let port = crate::objects::ServicePort {
        name: "".into(),
        port,
        target: None,
        protocol: crate::objects::Protocol::Tcp,
        app_protocol: None,
    };
    Change::Put(Object::Service(Arc::new(crate::objects::Service {
        name: ObjectName::new(namespace, name),
        cluster_ips: vec!["10.96.0.1".parse().unwrap()],
        ports: vec![port],
        ..Default::default()
    })))
}

const TARGET: &str = "targetRefs: [{group: '', kind: Service, name: web}], ";
const SELECTOR: &str = "selector: {matchLabels: {app: web}}, ";

#[test]
fn limits_are_found_by_what_they_are_for() {
    let snapshot = snapshot([
        limit("shop", "service", TARGET),
        limit("shop", "pods", SELECTOR),
        limit("heddle-system", "mesh", "selector: {}, "),
        limit("shop", "routes", ""),
    ]);
    let names = |found: Vec<&crate::mesh::AppliedLimits>| -> Vec<String> {
        found.iter().map(|limits| limits.document.to_string()).collect()
    };
    assert_eq!(names(snapshot.rate_limits_of_service(&service("shop", "web"))), ["shop/service"]);
    assert_eq!(names(snapshot.rate_limits_of_service(&service("bank", "web"))), [""; 0]);
    let pod = |namespace: &str, app: &str| testing::pod(namespace, &[("app", app)]);
    assert_eq!(names(snapshot.rate_limits_of_workload(&pod("shop", "web"))), ["heddle-system/mesh", "shop/pods"]);
    assert_eq!(names(snapshot.rate_limits_of_workload(&pod("shop", "db"))), ["heddle-system/mesh"]);
    assert_eq!(names(snapshot.rate_limits_of_workload(&pod("bank", "web"))), ["heddle-system/mesh"]);
    let named = snapshot.rate_limit(&"shop".into(), "routes").unwrap();
    assert_eq!((named.document.to_string().as_str(), named.limits.len()), ("shop/routes", 1));
    assert_eq!(snapshot.rate_limit(&"bank".into(), "routes"), None);
}

#[test]
fn a_filter_that_refers_to_nothing_in_force_is_told_until_it_does() {
    let spec = "{parentRefs: [{group: '', kind: Service, name: web}], rules: [{filters: [\
                {type: ExtensionRef, extensionRef: {group: heddle.io, kind: FaultInjection, name: f}}]}]}";
    let mut compiler = compiler();
    let route = document("HTTPRoute", "shop", "r", None, spec);
    let snapshot = compiler.apply([route, document("FaultInjection", "bank", "f", None, "{delay: {fixedDelay: 1s}}")]);
    let told: Vec<String> = snapshot.snapshot.unwrap().extension_problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "HTTPRoute shop/r: spec.rules[0].filters[0].extensionRef: there is no FaultInjection shop/f, so requests that \
          the rule matches are answered with 500"
        ]
    );
    let fault = document("FaultInjection", "shop", "f", None, "{delay: {fixedDelay: 2s}}");
    let snapshot = compiler.apply([fault]).snapshot.unwrap();
    assert_eq!(snapshot.extension_problems(), []);
    let delay = snapshot.fault(&"shop".into(), "f").unwrap().delay.unwrap();
    assert_eq!(delay.fixed_delay, Duration::from_secs(2));
}

#[test]
fn what_is_said_of_a_service_port_is_shown() {
    let spec = "{host: web, trafficPolicy: {loadBalancer: {simple: RANDOM}}}";
    let snapshot = snapshot([
        with_port("shop", "web", 80),
        document("DestinationRule", "shop", "a", None, spec),
        policy("shop", "b", None, "web"),
        limit("shop", "c", TARGET),
        fallback("shop", "d", None, "web", "static"),
    ]);
    let shown = serde_json::to_value(snapshot).unwrap();
    let expected = serde_json::json!({
        "destinationRule": "shop/a", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}},
        "backendTrafficPolicy": "shop/b", "rateLimits": ["shop/c"], "fallback": "shop/static:80",
    });
    assert_eq!(shown["services"][0]["ports"][0]["settings"], expected);
}

/// Few names, so that documents meet.
fn any_change() -> impl Strategy<Value = Change> {
    let namespace = || select(&["shop", "bank", "heddle-system"][..]);
    let name = || select(&["a", "b", "c", "d"][..]);
    let host = select(
        &[
            "web",
            "web.shop",
            "db.shop.svc",
            "web.shop.svc.cluster.local",
            "*.shop.svc.cluster.local",
            "*.cluster.local",
        ][..],
    );
    let day = || prop::option::of(0..3u64);
    let rules =
        (namespace(), name(), day(), host).prop_map(|(namespace, name, day, host)| rule(namespace, name, day, host));
    let policies = (namespace(), name(), day(), select(&["web", "db"][..]))
        .prop_map(|(namespace, name, day, target)| policy(namespace, name, day, target));
    let limits = (namespace(), name(), select(&["", TARGET, SELECTOR][..]))
        .prop_map(|(namespace, name, scope)| limit(namespace, name, scope));
    let fallbacks = (namespace(), name(), day(), select(&["web", "db", "web, port: 80"][..]))
        .prop_map(|(namespace, name, day, target)| fallback(namespace, name, day, target, "static"));
    let removed = (namespace(), name()).prop_map(|(namespace, name)| gone(namespace, name));
    prop_oneof![4 => rules, 2 => policies, 2 => limits, 2 => fallbacks, 2 => removed]
}

/// What a look at every rule finds: the nearest namespace, the longest match, the oldest.
fn expected(snapshot: &Snapshot, destination: &ServiceName, client: &str) -> Option<String> {
    let order = [client, &*destination.namespace, "heddle-system"];
    let whole = destination.host();
    let mut fitting: Vec<_> = snapshot
        .rules()
        .values()
        .filter_map(|rule| {
            let Spec::DestinationRule(spec) = &rule.spec else { return None };
            let near = order.iter().position(|namespace| **namespace == *rule.key.name.namespace)?;
            let text = spec.host.to_string();
            let length = match text.strip_prefix('*') {
                Some(rest) => whole.ends_with(rest).then_some(rest.len())?,
                None => {
                    let short = text.trim_end_matches(".svc.cluster.local").trim_end_matches(".svc");
                    let (name, namespace) = short.split_once('.').unwrap_or((short, &*rule.key.name.namespace));
                    (*destination == service(namespace, name)).then_some(usize::MAX)?
                }
            };
            let age = (rule.created.is_none(), rule.created, rule.key.name.clone());
            Some(((near, std::cmp::Reverse(length), age), rule.key.name.to_string()))
        })
        .collect();
    fitting.sort();
    fitting.into_iter().next().map(|(_, name)| name)
}

proptest! {
    #[test]
    fn settings_depend_on_the_documents_that_there_are_only(
        batches in prop::collection::vec(prop::collection::vec(any_change(), 1..5), 1..10),
    ) {
        let mut compiler = compiler();
        let mut objects = ObjectSet::default();
        let mut now = compile_enforcing(&objects, &testing::settings(), Enforced::EVERYTHING).snapshot;
        for batch in batches {
            objects.apply(batch.clone());
            let next = compiler.apply(batch).snapshot.unwrap_or_else(|| now.clone());
            let whole = compile_enforcing(&objects, &testing::settings(), Enforced::EVERYTHING).snapshot;
            prop_assert!(next.destinations == whole.destinations);
            prop_assert!(next.backend_policies == whole.backend_policies);
            prop_assert!(next.rate_limits == whole.rate_limits);
            prop_assert!(next.fallbacks == whole.fallbacks);
            for name in ["web", "db"] {
                for namespace in ["shop", "bank", "heddle-system"] {
                    for client in ["shop", "bank", "club"] {
                        let destination = service(namespace, name);
                        let found = counts(&next, &destination, client);
                        prop_assert_eq!(&found, &expected(&next, &destination, client));
                        prop_assert_eq!(&found, &counts(&whole, &destination, client));
                    }
                }
            }
            now = next;
        }
        let everything = objects.objects().filter_map(|object| match object {
            Object::ConfigMap(map) => Some(gone(&map.name.namespace, &map.name.name)),
            _ => None,
        });
        let everything: Vec<Change> = everything.collect();
        if let Some(empty) = compiler.apply(everything).snapshot {
            prop_assert!(empty.overlaps().is_empty() && empty.rules().is_empty());
            prop_assert_eq!(empty.destinations.clone(), super::Destinations::new("heddle-system".into()));
            prop_assert_eq!(empty.backend_policies.clone(), Default::default());
            prop_assert_eq!(empty.fallbacks.clone(), Default::default());
            prop_assert_eq!(empty.rate_limits.clone(), Default::default(), "what goes leaves nothing");
        }
    }
}
