//! Tests of reading DestinationRule documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{num::NonZeroU32, time::Duration};

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::rules::{
    RuleKind, Spec,
    testing::*,
    value::{Percentage, WholePercentage, Word as _},
};

const KIND: RuleKind = RuleKind::DestinationRule;

fn rule(spec: &str) -> DestinationRule {
    match accepted(KIND, spec) {
        Spec::DestinationRule(rule) => *rule,
        other => panic!("{other:?}"),
    }
}

fn balancer(spec: &str) -> LoadBalancer {
    rule(&format!("host: a\ntrafficPolicy: {{loadBalancer: {spec}}}")).traffic_policy.settings.load_balancer.unwrap()
}

fn percent(value: u8) -> Option<WholePercentage> {
    WholePercentage::new(value)
}

#[test]
fn limits_and_ejection_are_read() {
    let found = rule(
        "host: reviews.prod.svc.cluster.local
trafficPolicy:
  connectionPool:
    tcp: {maxConnections: 100, connectTimeout: 30ms}
    http:
      http1MaxPendingRequests: 1
      http2MaxRequests: 1000
      maxRequestsPerConnection: 10
      maxRetries: 3
      idleTimeout: 90s
  outlierDetection:
    splitExternalLocalOriginErrors: true
    consecutiveLocalOriginFailures: 4
    consecutiveGatewayErrors: 0
    consecutive5xxErrors: 7
    interval: 5m
    baseEjectionTime: 15m
    maxEjectionPercent: 50
    minHealthPercent: 0
  tls: {mode: ISTIO_MUTUAL}",
    );
    let settings = PortSettings {
        load_balancer: None,
        connection_pool: Some(ConnectionPool {
            tcp: Some(TcpSettings {
                max_connections: NonZeroU32::new(100),
                connect_timeout: Some(Duration::from_millis(30)),
                idle_timeout: None,
            }),
            http: Some(HttpSettings {
                http1_max_pending_requests: NonZeroU32::new(1),
                http2_max_requests: NonZeroU32::new(1000),
                max_requests_per_connection: NonZeroU32::new(10),
                max_retries: NonZeroU32::new(3),
                idle_timeout: Some(Duration::from_secs(90)),
            }),
        }),
        outlier_detection: Some(OutlierDetection {
            split_external_local_origin_errors: Some(true),
            consecutive_local_origin_failures: Some(4),
            consecutive_gateway_errors: Some(0),
            consecutive_5xx_errors: Some(7),
            interval: Some(Duration::from_secs(300)),
            base_ejection_time: Some(Duration::from_secs(900)),
            max_ejection_percent: percent(50),
            min_health_percent: percent(0),
        }),
        tls: Some(ClientTls { mode: ClientTlsMode::IstioMutual }),
    };
    let expected = DestinationRule {
        host: Host::Exact("reviews.prod.svc.cluster.local".to_owned()),
        traffic_policy: TrafficPolicy { settings, port_level_settings: vec![] },
    };
    assert_eq!(found, expected);
}

#[test]
fn a_port_has_settings_of_its_own() {
    let found = rule(
        "host: '*.example.com'\ntrafficPolicy:\n  loadBalancer: {simple: RANDOM}\n  portLevelSettings:\n  \
         - {port: {number: 80}, loadBalancer: {simple: ROUND_ROBIN}, tls: {mode: DISABLE}}\n  - {port: {number: 81}}",
    );
    let simple = |algorithm| LoadBalancer { algorithm: Some(Algorithm::Simple(algorithm)), ..LoadBalancer::default() };
    let port =
        |number, settings| PortPolicy { port: PortSelector { number: NonZeroU16::new(number).unwrap() }, settings };
    let eighty = PortSettings {
        load_balancer: Some(simple(SimpleAlgorithm::RoundRobin)),
        tls: Some(ClientTls { mode: ClientTlsMode::Disable }),
        ..PortSettings::default()
    };
    assert_eq!(found.host, Host::Below("example.com".to_owned()));
    assert_eq!(found.traffic_policy.settings.load_balancer, Some(simple(SimpleAlgorithm::Random)));
    assert_eq!(found.traffic_policy.port_level_settings, [port(80, eighty), port(81, PortSettings::default())]);
}

#[test]
fn every_hash_is_read() {
    let cookie = |path: Option<&str>, ttl| {
        HashKey::Cookie(HashCookie { name: "c".to_owned(), path: path.map(str::to_owned), ttl })
    };
    let ring = |minimum_ring_size| Some(HashAlgorithm::RingHash { minimum_ring_size });
    let cases = [
        ("httpHeaderName: X-User", HashKey::Header("x-user".parse().unwrap()), None),
        ("httpCookie: {name: c}", cookie(None, None), None),
        ("httpCookie: {name: c, path: /, ttl: 0s}", cookie(Some("/"), Some(Duration::ZERO)), None),
        ("useSourceIp: true, ringHash: {}", HashKey::SourceIp, ring(None)),
        ("useSourceIp: true, ringHash: {minimumRingSize: 2048}", HashKey::SourceIp, ring(Some(2048))),
        (
            "httpQueryParameterName: q, maglev: {tableSize: 65537}",
            HashKey::QueryParameter("q".to_owned()),
            Some(HashAlgorithm::Maglev { table_size: Some(65537) }),
        ),
    ];
    for (text, key, algorithm) in cases {
        let found = balancer(&format!("{{consistentHash: {{{text}}}}}"));
        assert_eq!(found.algorithm, Some(Algorithm::ConsistentHash(ConsistentHash { key, algorithm })), "{text}");
    }
}

#[test]
fn regard_for_places_and_warmup_are_read() {
    let found = balancer(
        "{localityLbSetting: {enabled: true}, warmup: {duration: 300s, minimumPercent: 2.5, aggression: 1.5}}",
    );
    let warmup = Warmup {
        duration: Duration::from_secs(300),
        minimum_percent: Percentage::from_parts_per_million(25_000),
        aggression: Some(1.5),
    };
    let locality = LocalityLb { enabled: Some(true), policy: None };
    let expected = LoadBalancer { algorithm: None, locality_lb_setting: Some(locality), warmup: Some(warmup) };
    assert_eq!(found, expected);
}

#[test]
fn what_endpoints_are_not_picked_by_is_refused() {
    let place = |key: &str| {
        format!(
            "spec.trafficPolicy.loadBalancer.localityLbSetting.{key}: is not enforced by this build; remove it, since a \
             document is accepted only whole"
        )
    };
    let cases = [
        ("localityLbSetting: {distribute: [{from: 'eu/a/*', to: {'eu/a/*': 80, 'eu/b': 20}}]}", place("distribute")),
        ("localityLbSetting: {failover: [{from: eu, to: us}]}", place("failover")),
        (
            "localityLbSetting: {enabled: true, failoverPriority: [topology.kubernetes.io/zone, a=b]}",
            place("failoverPriority"),
        ),
        (
            "simple: PASSTHROUGH",
            "spec.trafficPolicy.loadBalancer.simple: found \"PASSTHROUGH\", which is not enforced by this build, allowed: \
             ROUND_ROBIN, LEAST_REQUEST, RANDOM"
                .to_owned(),
        ),
        (
            "consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 65538}}",
            "spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize: found the number 65538, allowed: a \
             number from 1 to 65537"
                .to_owned(),
        ),
    ];
    for (text, expected) in cases {
        let problems = refused(KIND, &format!("host: a\ntrafficPolicy: {{loadBalancer: {{{text}}}}}"));
        assert!(problems.len() == 1 && problems[0].ends_with(&expected), "{text}: {problems:?}");
    }
}

#[test]
fn a_host_alone_asks_for_nothing() {
    for spec in ["host: a", "host: a\ntrafficPolicy: {}"] {
        assert_eq!(rule(spec).traffic_policy, TrafficPolicy::default(), "{spec}");
    }
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let table: &[(&str, &[&str])] = &[
        ("trafficPolicy: {}", &["5:3: spec.host: missing, must be a host name such as api.example.com, in lower case, or *.example.com for all below it"]),
        (r#"host: "*"
subsets: []
exportTo: ["*"]
workloadSelector: {}"#, &[r#"5:9: spec.host: found "*", allowed: a host name such as api.example.com, in lower case, or *.example.com for all below it"#, "6:12: spec.subsets: is not enforced by this build; remove it, since a document is accepted only whole", "7:13: spec.exportTo: is not enforced by this build; remove it, since a document is accepted only whole", "8:21: spec.workloadSelector: is not enforced by this build; remove it, since a document is accepted only whole"]),
        ("host: a
trafficPolicy: {tunnel: {}, proxyProtocol: {}, retryBudget: {}, loadbalancer: {}}", &["6:27: spec.trafficPolicy.tunnel: is not enforced by this build; remove it, since a document is accepted only whole", "6:46: spec.trafficPolicy.proxyProtocol: is not enforced by this build; remove it, since a document is accepted only whole", "6:63: spec.trafficPolicy.retryBudget: is not enforced by this build; remove it, since a document is accepted only whole", r#"6:67: unknown key "loadbalancer" in spec.trafficPolicy; did you mean "loadBalancer"?"#]),
        ("host: a
trafficPolicy:
  loadBalancer:
    simple: LEAST_CONN
    consistentHash: {useSourceIp: false, minimumRingSize: 1}
    warmupDurationSecs: 1s
    warmup: {minimumPercent: 150, aggression: 0.3}", &[r#"8:15: spec.trafficPolicy.loadBalancer.simple: found "LEAST_CONN", which is not enforced by this build, allowed: ROUND_ROBIN, LEAST_REQUEST, RANDOM"#, "9:23: spec.trafficPolicy.loadBalancer.consistentHash: cannot be there together with simple; remove one of them", "9:37: spec.trafficPolicy.loadBalancer.consistentHash.useSourceIp: found the boolean false, allowed: true", "9:61: spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: is not enforced by this build; remove it, since a document is accepted only whole", "10:27: spec.trafficPolicy.loadBalancer.warmupDurationSecs: is not enforced by this build; remove it, since a document is accepted only whole", "11:15: spec.trafficPolicy.loadBalancer.warmup.duration: missing, must be a duration such as 300s", "11:32: spec.trafficPolicy.loadBalancer.warmup.minimumPercent: found the number 150, allowed: a percentage from 0 to 100 with at most four decimals", "11:49: spec.trafficPolicy.loadBalancer.warmup.aggression: found the number 0.3, allowed: a number from 1 to 100"]),
        ("host: a
trafficPolicy:
  loadBalancer:
    consistentHash: {ringHash: {minimumRingSize: 0}, maglev: {tableSize: 65536}}", &["8:23: spec.trafficPolicy.loadBalancer.consistentHash: has 0 keys to hash, must have one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName", "8:52: spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize: found the number 0, allowed: a number from 1 to 65537", "8:64: spec.trafficPolicy.loadBalancer.consistentHash.maglev: cannot be there together with ringHash; remove one of them", "8:76: spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: found the number 65536, allowed: a prime number up to 5000011"]),
        (r#"host: a
trafficPolicy:
  loadBalancer:
    consistentHash: {httpHeaderName: "a b", httpCookie: {ttl: soon}, httpQueryParameterName: ""}"#, &["8:23: spec.trafficPolicy.loadBalancer.consistentHash: has 3 keys to hash, must have one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName", r#"8:40: spec.trafficPolicy.loadBalancer.consistentHash.httpHeaderName: found "a b", allowed: a header's name"#, "8:59: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: missing, must be text that is not empty", r#"8:65: spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.ttl: found "soon", allowed: a duration up to 8760h, such as 0s, 250ms, 10s or 1.5h"#, r#"8:96: spec.trafficPolicy.loadBalancer.consistentHash.httpQueryParameterName: found "", allowed: text that is not empty"#]),
        (r#"host: a
trafficPolicy:
  loadBalancer:
    localityLbSetting:
      distribute:
      - {from: "a*", to: {b: 50, c/*/d: 40, e: x}}
      - {from: a, to: {b: 50}}
      - {}
      failover: [{from: a, to: a}, {}]
      failoverPriority: []"#, &["9:9: spec.trafficPolicy.loadBalancer.localityLbSetting: has distribute and failover and failoverPriority, allowed: one of them", "10:11: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute: is not enforced by this build; remove it, since a document is accepted only whole", r#"10:18: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].from: found "a*", allowed: a locality such as region, region/zone, region/zone/* or *"#, "10:43: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to.c/*/d: is no locality, allowed: a locality such as region, region/zone, region/zone/* or *", r#"10:50: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to.e: found "x", allowed: a whole percentage from 0 to 100"#, "11:25: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[1].to: has 50 percent together, must be 100", "12:11: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[2].from: missing, must be a locality such as region, region/zone, region/zone/* or *", "12:11: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[2].to: missing, must be a map of localities and percentages", "13:19: spec.trafficPolicy.loadBalancer.localityLbSetting.failover: is not enforced by this build; remove it, since a document is accepted only whole", "13:34: spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to: is the region itself, must be another one", "13:38: spec.trafficPolicy.loadBalancer.localityLbSetting.failover[1].from: missing, must be a region", "13:38: spec.trafficPolicy.loadBalancer.localityLbSetting.failover[1].to: missing, must be a region", "14:27: spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority: is empty; remove it", "14:27: spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority: is not enforced by this build; remove it, since a document is accepted only whole"]),
        ("host: a
trafficPolicy:
  connectionPool:
    tcp: {maxConnections: 0, connectTimeout: 0s, tcpKeepalive: {}, maxConnectionDuration: 1s, idleTimeout: 0s}
    http: {http1MaxPendingRequests: -1, maxRetries: 2147483648, idleTimeout: 1, h2UpgradePolicy: UPGRADE, useClientProtocol: true, maxConcurrentStreams: 1, http2KeepAlive: {}}", &["8:29: spec.trafficPolicy.connectionPool.tcp.maxConnections: found the number 0, allowed: a number from 1 to 2147483647", r#"8:48: spec.trafficPolicy.connectionPool.tcp.connectTimeout: found "0s", allowed: a duration from 1ms to 8760h, such as 250ms, 10s or 1.5h"#, "8:66: spec.trafficPolicy.connectionPool.tcp.tcpKeepalive: is not enforced by this build; remove it, since a document is accepted only whole", "8:93: spec.trafficPolicy.connectionPool.tcp.maxConnectionDuration: is not enforced by this build; remove it, since a document is accepted only whole", "8:110: spec.trafficPolicy.connectionPool.tcp.idleTimeout: is not enforced by this build; remove it, since a document is accepted only whole", "9:39: spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests: found the number -1, allowed: a number from 1 to 2147483647", "9:55: spec.trafficPolicy.connectionPool.http.maxRetries: found the number 2147483648, allowed: a number from 1 to 2147483647", "9:80: spec.trafficPolicy.connectionPool.http.idleTimeout: found the number 1, allowed: a duration up to 8760h, such as 0s, 250ms, 10s or 1.5h", "9:100: spec.trafficPolicy.connectionPool.http.h2UpgradePolicy: is not enforced by this build; remove it, since a document is accepted only whole", "9:128: spec.trafficPolicy.connectionPool.http.useClientProtocol: is not enforced by this build; remove it, since a document is accepted only whole", "9:156: spec.trafficPolicy.connectionPool.http.maxConcurrentStreams: is not enforced by this build; remove it, since a document is accepted only whole", "9:175: spec.trafficPolicy.connectionPool.http.http2KeepAlive: is not enforced by this build; remove it, since a document is accepted only whole"]),
        ("host: a
trafficPolicy:
  outlierDetection: {consecutiveErrors: 5, consecutiveLocalOriginFailures: 1, interval: 10, maxEjectionPercent: 101, minHealthPercent: 0.5, consecutive5xxErrors: -1}", &["7:43: spec.trafficPolicy.outlierDetection.consecutiveErrors: is not enforced by this build; remove it, since a document is accepted only whole", "7:78: spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: has an effect only with splitExternalLocalOriginErrors: true", "7:91: spec.trafficPolicy.outlierDetection.interval: found the number 10, allowed: a duration from 1ms to 8760h, such as 250ms, 10s or 1.5h", "7:115: spec.trafficPolicy.outlierDetection.maxEjectionPercent: found the number 101, allowed: a whole percentage from 0 to 100", "7:138: spec.trafficPolicy.outlierDetection.minHealthPercent: found the number 0.5, allowed: a whole percentage from 0 to 100", "7:165: spec.trafficPolicy.outlierDetection.consecutive5xxErrors: found the number -1, allowed: a number from 0 to 4294967295"]),
        ("host: a
trafficPolicy:
  tls: {mode: SIMPLE, sni: a, caCertificates: /x}
  portLevelSettings:
  - {}
  - {port: {}}
  - {port: {number: 80}, tls: {}}
  - {port: {number: 80}, portLevelSettings: []}", &[r#"7:17: spec.trafficPolicy.tls.mode: found "SIMPLE", which is not enforced by this build, allowed: DISABLE, ISTIO_MUTUAL"#, "7:30: spec.trafficPolicy.tls.sni: is not enforced by this build; remove it, since a document is accepted only whole", "7:49: spec.trafficPolicy.tls.caCertificates: is not enforced by this build; remove it, since a document is accepted only whole", "9:7: spec.trafficPolicy.portLevelSettings[0].port: missing, must be a map with a number", "9:7: spec.trafficPolicy.portLevelSettings: has port 80 twice, the second time in line 12", "10:14: spec.trafficPolicy.portLevelSettings[1].port.number: missing, must be a port from 1 to 65535", "11:33: spec.trafficPolicy.portLevelSettings[2].tls.mode: missing, must be DISABLE or ISTIO_MUTUAL", r#"12:28: unknown key "portLevelSettings" in spec.trafficPolicy.portLevelSettings[3]; did you mean "port"?"#]),
    ];
    all_refused(KIND, table);
}

fn hashes() -> impl Strategy<Value = ConsistentHash> {
    let cookie = (any::text(), option::of(any::text()), option::of(any::duration_or_zero()))
        .prop_map(|(name, path, ttl)| HashKey::Cookie(HashCookie { name, path, ttl }));
    let key = prop_oneof![
        any::header_name().prop_map(HashKey::Header),
        cookie,
        Just(HashKey::SourceIp),
        any::text().prop_map(HashKey::QueryParameter)
    ];
    let ring = option::of(1u32..=65_537).prop_map(|minimum_ring_size| HashAlgorithm::RingHash { minimum_ring_size });
    let primes = prop::sample::select(vec![2, 3, 251, 65537, 4_999_999]);
    let maglev = option::of(primes).prop_map(|table_size| HashAlgorithm::Maglev { table_size });
    (key, option::of(prop_oneof![ring, maglev])).prop_map(|(key, algorithm)| ConsistentHash { key, algorithm })
}

fn localities() -> impl Strategy<Value = LocalityLb> {
    option::of(proptest::bool::ANY).prop_map(|enabled| LocalityLb { enabled, policy: None })
}

prop_compose! {
    fn warmups()(
        duration in any::duration(),
        minimum_percent in option::of(any::percentage()),
        aggression in option::of(1.0f64..=100.0),
    ) -> Warmup {
        Warmup { duration, minimum_percent, aggression }
    }
}

prop_compose! {
    fn balancers()(
        algorithm in option::of(prop_oneof![
            prop::sample::select(&SimpleAlgorithm::ALL[..3]).prop_map(Algorithm::Simple),
            hashes().boxed().prop_map(Algorithm::ConsistentHash),
        ]),
        locality_lb_setting in option::of(localities().boxed()),
        warmup in option::of(warmups()),
    ) -> LoadBalancer {
        LoadBalancer { algorithm, locality_lb_setting, warmup }
    }
}

prop_compose! {
    fn pools()(
        counts in vec(option::of(any::count()), 5),
        idle_timeout in option::of(any::duration_or_zero()),
        connect_timeout in option::of(any::duration()),
        has in proptest::array::uniform2(proptest::bool::ANY),
    ) -> ConnectionPool {
        let tcp = TcpSettings { max_connections: counts[0], connect_timeout, idle_timeout: None };
        let http = HttpSettings {
            http1_max_pending_requests: counts[1],
            http2_max_requests: counts[2],
            max_requests_per_connection: counts[3],
            max_retries: counts[4],
            idle_timeout,
        };
        ConnectionPool { tcp: has[0].then_some(tcp), http: has[1].then_some(http) }
    }
}

prop_compose! {
    fn detections()(
        split in option::of(proptest::bool::ANY),
        errors in vec(option::of(0u32..), 3),
        times in vec(option::of(any::duration()), 2),
        percentages in vec(option::of(any::whole_percentage()), 2),
    ) -> OutlierDetection {
        OutlierDetection {
            split_external_local_origin_errors: split,
            consecutive_local_origin_failures: errors[0].filter(|_| split == Some(true)),
            consecutive_gateway_errors: errors[1],
            consecutive_5xx_errors: errors[2],
            interval: times[0],
            base_ejection_time: times[1],
            max_ejection_percent: percentages[0],
            min_health_percent: percentages[1],
        }
    }
}

prop_compose! {
    fn settings()(
        // Boxed: unoptimized, the strategy as one value is larger than a test's stack.
        load_balancer in option::of(balancers().boxed()),
        connection_pool in option::of(pools().boxed()),
        outlier_detection in option::of(detections().boxed()),
        mode in option::of(prop::sample::select(ClientTlsMode::ALL)),
    ) -> PortSettings {
        let tls = mode.map(|mode| ClientTls { mode });
        PortSettings { load_balancer, connection_pool, outlier_detection, tls }
    }
}

prop_compose! {
    fn destination_rules()(
        host in any::host(),
        settings in settings().boxed(),
        ports in prop::collection::btree_map(any::port(), settings().boxed(), 0..3),
    ) -> DestinationRule {
        let port = |(number, settings)| PortPolicy { port: PortSelector { number }, settings };
        let port_level_settings = ports.into_iter().map(port).collect();
        DestinationRule { host, traffic_policy: TrafficPolicy { settings, port_level_settings } }
    }
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(rule in destination_rules()) {
        comes_back(KIND, &Spec::DestinationRule(Box::new(rule)))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(rule in destination_rules(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::DestinationRule(Box::new(rule)), &damage)?;
    }
}
