//! Tests of picks: which endpoint, how evenly, and at what cost.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;

use super::{Ask, Balancer, Memory};
use crate::{
    balance::{Answered, Lease, TryResult, affinity, health::Use},
    mesh::{AddressFamily, Endpoints, Locality, ServiceName, ServicePort, Snapshot, reads, testing},
    rules::destination_rule::{
        Algorithm, ConsistentHash, HashAlgorithm, HashKey, LoadBalancer, LocalityLb, OutlierDetection, SimpleAlgorithm,
        Warmup,
    },
};

fn address(number: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + number), 80))
}

fn port_of(ready: Endpoints) -> Arc<ServicePort> {
    Arc::new(ServicePort {
        service: ServiceName { namespace: "shop".into(), name: "web".into() },
        family: AddressFamily::V4,
        port: 80,
        name: "http".into(),
        app_protocol: None,
        client_affinity: None,
        ready,
    })
}

fn port(numbers: impl IntoIterator<Item = u32>) -> Arc<ServicePort> {
    port_of(Endpoints::in_slices(&numbers.into_iter().collect::<Vec<_>>(), 100, |_| false))
}

fn ask(port: &Arc<ServicePort>, now: Instant) -> Ask<'_> {
    let client = IpAddr::from([10, 9, 9, 9]);
    Ask {
        port,
        load_balancer: None,
        outliers: None,
        hash: None,
        client,
        sticky: None,
        excluded: &[],
        has_fallback: false,
        now,
    }
}

fn by(algorithm: Algorithm) -> LoadBalancer {
    LoadBalancer { algorithm: Some(algorithm), ..LoadBalancer::default() }
}

fn simple(algorithm: SimpleAlgorithm) -> LoadBalancer {
    by(Algorithm::Simple(algorithm))
}

fn hashing() -> LoadBalancer {
    by(Algorithm::ConsistentHash(ConsistentHash { key: HashKey::SourceIp, algorithm: None }))
}

fn every_algorithm() -> Vec<(Option<LoadBalancer>, Option<u64>)> {
    let all = [
        SimpleAlgorithm::RoundRobin,
        SimpleAlgorithm::LeastRequest,
        SimpleAlgorithm::Random,
        SimpleAlgorithm::Passthrough,
    ];
    let simple = all.into_iter().map(|algorithm| (Some(simple(algorithm)), None));
    simple.chain([(None, None), (Some(hashing()), Some(7)), (Some(hashing()), None)]).collect()
}

/// How many Service ports and how many of their endpoints are known.
fn size(balancer: &Balancer) -> (usize, usize) {
    (balancer.ports(), balancer.memory().endpoints)
}

fn answer(lease: &Lease, milliseconds: u64, status: u16, now: Instant) {
    let status = StatusCode::from_u16(status).unwrap();
    let answered = Answered { latency: Duration::from_millis(milliseconds), result: TryResult::Status(status, None) };
    lease.responded_at(&answered, now);
}

fn force(balancer: &Balancer, port: &Arc<ServicePort>, numbers: impl IntoIterator<Item = u32>, standing: Option<Use>) {
    for number in numbers {
        *balancer.group(port).endpoint(address(number), Instant::now()).forced.lock() = standing;
    }
}

/// How often each endpoint is picked, when requests come one after the other.
fn shares(balancer: &Balancer, ask: &Ask<'_>, picks: u32) -> BTreeMap<SocketAddr, u32> {
    let mut shares = BTreeMap::new();
    for _ in 0..picks {
        *shares.entry(balancer.pick(ask).unwrap().address()).or_default() += 1;
    }
    shares
}

#[test]
fn the_faster_endpoint_is_preferred_and_the_slow_one_tried_again() {
    let (balancer, port, start) = (Balancer::default(), port(0..3), Instant::now());
    let mut counts = [0_u32; 3];
    for request in 0..3_000_u64 {
        let now = start + Duration::from_millis(request * 100);
        let lease = balancer.pick(&ask(&port, now)).unwrap();
        let number = (0..3).find(|number| address(*number) == lease.address()).unwrap();
        counts[number as usize] += 1;
        answer(&lease, if number == 0 { 200 } else { 10 }, 200, now);
    }
    assert!(counts[0] < 300, "a third would be blind: {counts:?}");
    assert!(counts[0] > 3, "forgotten would be for ever: {counts:?}");
}

#[test]
fn an_endpoint_that_fails_at_once_draws_nothing() {
    let (balancer, port, start) = (Balancer::default(), port(0..3), Instant::now());
    let mut failed = 0;
    for request in 0..1_000_u64 {
        let now = start + Duration::from_millis(request * 10);
        let lease = balancer.pick(&ask(&port, now)).unwrap();
        let fails = lease.address() == address(0);
        failed += u32::from(fails);
        answer(&lease, if fails { 0 } else { 20 }, if fails { 503 } else { 200 }, now);
    }
    assert!((1..=30).contains(&failed), "{failed}");
}

#[test]
fn requests_under_way_are_spread() {
    let now = Instant::now();
    for load_balancer in [None, Some(simple(SimpleAlgorithm::LeastRequest))] {
        let (balancer, port) = (Balancer::default(), port(0..10));
        let ask = Ask { load_balancer: load_balancer.as_ref(), ..ask(&port, now) };
        let leases: Vec<Lease> = (0..200).map(|_| balancer.pick(&ask).unwrap()).collect();
        let counts = |number| leases.iter().filter(|lease| lease.address() == address(number)).count();
        // Blind choice has 20 +- 4.2 of each; two choices keep within a few of the mean.
        assert!((0..10).map(counts).all(|count| (14..=26).contains(&count)), "{load_balancer:?}");
    }
}

#[test]
fn round_robin_gives_each_its_turn() {
    let (balancer, port, now) = (Balancer::default(), port(0..7), Instant::now());
    let round_robin = simple(SimpleAlgorithm::RoundRobin);
    let ask = Ask { load_balancer: Some(&round_robin), ..ask(&port, now) };
    assert!(shares(&balancer, &ask, 700).values().all(|share| *share == 100));
    force(&balancer, &port, [3], Some(Use::No));
    let shares = shares(&balancer, &ask, 700);
    assert!(shares.len() == 6 && shares.values().all(|share| *share >= 99), "{shares:?}");
}

#[test]
fn random_gives_each_the_same() {
    let (balancer, port, now) = (Balancer::default(), port(0..5), Instant::now());
    for algorithm in [SimpleAlgorithm::Random, SimpleAlgorithm::Passthrough] {
        let random = simple(algorithm);
        let shares = shares(&balancer, &Ask { load_balancer: Some(&random), ..ask(&port, now) }, 50_000);
        // 10,000 each; seven standard deviations are 626.
        assert!(shares.len() == 5 && shares.values().all(|share| share.abs_diff(10_000) < 626), "{shares:?}");
    }
}

#[test]
fn what_is_alike_goes_to_one_endpoint_on_every_node() {
    let (one, other, now) = (Balancer::default(), Balancer::default(), Instant::now());
    let (all, without, load_balancer) = (port(0..20), port((0..20).filter(|number| *number != 3)), hashing());
    let find = |balancer: &Balancer, port, hash, now| {
        let ask = Ask { load_balancer: Some(&load_balancer), hash: Some(hash), ..ask(port, now) };
        balancer.pick(&ask).unwrap().address()
    };
    let before: Vec<_> = (0..2_000).map(|hash| find(&one, &all, hash, now)).collect();
    assert_eq!(before, (0..2_000).map(|hash| find(&other, &all, hash, now)).collect::<Vec<_>>());
    assert_eq!(before.iter().collect::<HashSet<_>>().len(), 20);
    let later = now + Duration::from_secs(1);
    let after: Vec<_> = (0..2_000).map(|hash| find(&one, &without, hash, later)).collect();
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    let lost = before.iter().filter(|found| **found == address(3)).count();
    assert!(lost > 50 && moved >= lost && moved < lost + 100, "{moved} moved of which {lost} had to");
}

#[test]
fn a_hash_whose_endpoint_cannot_be_used_goes_to_the_same_other_one() {
    let (balancer, port, load_balancer) = (Balancer::default(), port(0..10), hashing());
    let now = Instant::now();
    for hash in 0..100 {
        let ask = Ask { load_balancer: Some(&load_balancer), hash: Some(hash), ..ask(&port, now) };
        let first = balancer.pick(&ask).unwrap().address();
        let excluded = [first];
        let others = shares(&balancer, &Ask { excluded: &excluded, ..ask }, 10);
        assert!(others.len() == 1 && !others.contains_key(&first), "{others:?}");
        *balancer.group(&port).endpoint(first, now).forced.lock() = Some(Use::No);
        assert_eq!(shares(&balancer, &ask, 10), others);
        *balancer.group(&port).endpoint(first, now).forced.lock() = None;
        assert_eq!(balancer.pick(&ask).unwrap().address(), first, "back when it can");
    }
}

#[test]
fn requests_without_the_key_and_other_sizes_are_served() {
    let (balancer, port, now) = (Balancer::default(), port(0..10), Instant::now());
    let keyless = hashing();
    assert_eq!(shares(&balancer, &Ask { load_balancer: Some(&keyless), ..ask(&port, now) }, 500).len(), 10);
    for algorithm in [
        HashAlgorithm::Maglev { table_size: Some(11) },
        HashAlgorithm::RingHash { minimum_ring_size: Some(70_000) },
        HashAlgorithm::RingHash { minimum_ring_size: None },
    ] {
        let consistent = ConsistentHash { key: HashKey::SourceIp, algorithm: Some(algorithm) };
        let load_balancer = by(Algorithm::ConsistentHash(consistent));
        let found: HashSet<_> = (0..1_000)
            .map(|hash| {
                let ask = Ask { load_balancer: Some(&load_balancer), hash: Some(hash), ..ask(&port, now) };
                let first = balancer.pick(&ask).unwrap().address();
                assert_eq!(balancer.pick(&ask).unwrap().address(), first);
                first
            })
            .collect();
        assert_eq!(found.len(), 10, "{algorithm:?}");
    }
}

#[test]
fn tables_that_change_fast_are_built_now_and_then_and_never_find_who_is_gone() {
    let (balancer, load_balancer, start) = (Balancer::default(), hashing(), Instant::now());
    for change in 0..50_u32 {
        let port = port(change..change + 30);
        let now = start + Duration::from_millis(u64::from(change) * 10);
        for hash in 0..200 {
            let ask = Ask { load_balancer: Some(&load_balancer), hash: Some(hash), ..ask(&port, now) };
            let found = balancer.pick(&ask).unwrap().address();
            assert!((change..change + 30).any(|number| address(number) == found), "{found} after {change}");
        }
    }
    let last = port(100..130);
    let ask = Ask { load_balancer: Some(&load_balancer), hash: Some(1), ..ask(&last, start + Duration::from_secs(2)) };
    let fresh = Balancer::default().pick(&ask).unwrap().address();
    assert_eq!(balancer.pick(&ask).unwrap().address(), fresh, "built anew after the pause");
}

#[test]
fn a_session_keeps_its_endpoint_while_it_can_be_used() {
    let (balancer, port, now) = (Balancer::default(), port(0..300), Instant::now());
    for (load_balancer, hash) in every_algorithm() {
        let ask = Ask { load_balancer: load_balancer.as_ref(), hash, sticky: Some(address(250)), ..ask(&port, now) };
        assert_eq!(shares(&balancer, &ask, 20), [(address(250), 20)].into());
        let excluded = [address(250)];
        assert!(!shares(&balancer, &Ask { excluded: &excluded, ..ask }, 20).contains_key(&address(250)));
        force(&balancer, &port, [250], Some(Use::No));
        assert!(!shares(&balancer, &ask, 20).contains_key(&address(250)));
        force(&balancer, &port, [250], None);
        for stranger in [address(300), SocketAddr::from(([10, 0, 0, 1], 81)), "192.0.2.1:80".parse().unwrap()] {
            let found = shares(&balancer, &Ask { sticky: Some(stranger), ..ask }, 20);
            assert!(!found.contains_key(&stranger), "{stranger}");
        }
    }
}

#[test]
fn a_clients_address_decides_where_the_service_wants_it_and_no_document_says_otherwise() {
    let (balancer, now) = (Balancer::default(), Instant::now());
    let port = Arc::new(ServicePort { client_affinity: Some(Duration::from_secs(60)), ..(*port(0..50)).clone() });
    for number in 0..100 {
        let ask = Ask { client: [10, 1, 1, number].into(), ..ask(&port, now) };
        let order = affinity::pick(&port.ready, ask.client);
        assert_eq!(shares(&balancer, &ask, 3), [(order[0], 3)].into());
        let session = Ask { sticky: Some(order[2]), ..ask };
        assert_eq!(shares(&balancer, &session, 3), [(order[2], 3)].into(), "the first request was the address's");
        let excluded = [order[0]];
        assert_eq!(shares(&balancer, &Ask { excluded: &excluded, ..ask }, 3), [(order[1], 3)].into());
        assert_eq!(
            shares(&balancer, &Ask { excluded: &order, ..ask }, 30).keys().filter(|a| order.contains(a)).count(),
            0
        );
    }
    let random = simple(SimpleAlgorithm::Random);
    assert!(shares(&balancer, &Ask { load_balancer: Some(&random), ..ask(&port, now) }, 100).len() > 10);
}

#[test]
fn the_only_endpoint_that_can_be_used_is_found_among_many() {
    let now = Instant::now();
    for (load_balancer, hash) in every_algorithm() {
        for count in [2, 60, 500] {
            let (balancer, port) = (Balancer::default(), port(0..count));
            force(&balancer, &port, (0..count).filter(|number| *number != 1), Some(Use::No));
            let ask = Ask { load_balancer: load_balancer.as_ref(), hash, ..ask(&port, now) };
            assert_eq!(shares(&balancer, &ask, 50), [(address(1), 50)].into(), "{load_balancer:?} of {count}");
            // Tried before is better than left out.
            let excluded = [address(0), address(1)];
            let ask = Ask { excluded: &excluded, ..ask };
            assert_eq!(shares(&balancer, &ask, 50), [(address(1), 50)].into(), "{load_balancer:?} of {count}");
        }
    }
}

#[test]
fn no_destination_is_without_endpoints_while_it_has_any() {
    let now = Instant::now();
    for (load_balancer, hash) in every_algorithm() {
        for count in [1, 2, 60, 500] {
            let (balancer, port) = (Balancer::default(), port(0..count));
            force(&balancer, &port, 0..count, Some(Use::No));
            let ask = Ask { load_balancer: load_balancer.as_ref(), hash, ..ask(&port, now) };
            assert!(shares(&balancer, &ask, 50).len() > usize::from(count > 1), "{load_balancer:?} of {count}");
            assert!(balancer.pick(&Ask { has_fallback: true, ..ask }).is_err(), "{load_balancer:?} of {count}");
            let all: Vec<_> = (0..count).map(address).collect();
            assert!(balancer.pick(&Ask { excluded: &all, ..ask }).is_ok());
            force(&balancer, &port, 0..count, None);
            assert!(balancer.pick(&Ask { excluded: &all, has_fallback: true, ..ask }).is_ok());
            // No request tries more than a few.
            if (2..=60).contains(&count) {
                let found = shares(&balancer, &Ask { excluded: &all[1..], ..ask }, 20);
                assert_eq!(found, [(all[0], 20)].into(), "{load_balancer:?} of {count}");
            }
        }
        let (balancer, nobody) = (Balancer::default(), port([]));
        let ask = Ask { load_balancer: load_balancer.as_ref(), hash, sticky: Some(address(1)), ..ask(&nobody, now) };
        let error = balancer.pick(&ask).unwrap_err();
        assert_eq!(error.to_string(), "service shop/web has no ready endpoint on port 80: look at its EndpointSlices");
    }
}

#[test]
fn who_is_asked_to_probe_is_picked() {
    let now = Instant::now();
    for (load_balancer, hash) in every_algorithm() {
        let (balancer, port) = (Balancer::default(), port(0..2));
        force(&balancer, &port, [0], Some(Use::Probe));
        force(&balancer, &port, [1], Some(Use::No));
        let ask = Ask { load_balancer: load_balancer.as_ref(), hash, ..ask(&port, now) };
        let lease = balancer.pick(&ask).unwrap();
        assert!(lease.is_probe() && lease.address() == address(0), "{load_balancer:?}");
    }
}

fn warming(minimum: Option<u32>) -> LoadBalancer {
    let minimum_percent = minimum.and_then(crate::rules::value::Percentage::from_parts_per_million);
    let warmup = Warmup { duration: Duration::from_secs(100), minimum_percent, aggression: None };
    LoadBalancer { warmup: Some(warmup), ..simple(SimpleAlgorithm::Random) }
}

#[test]
fn a_new_endpoint_gets_its_share_little_by_little() {
    let (balancer, start, load_balancer) = (Balancer::default(), Instant::now(), warming(None));
    let share = |numbers: u32, seconds| {
        let port = port(0..numbers);
        let ask = Ask { load_balancer: Some(&load_balancer), ..ask(&port, start + Duration::from_secs(seconds)) };
        let shares = shares(&balancer, &ask, 20_000);
        f64::from(shares.get(&address(9)).copied().unwrap_or(0)) / 20_000.0
    };
    assert!((share(10, 0) - 0.1).abs() < 0.02, "nothing is new in the first set");
    assert!(share(9, 1) == 0.0);
    // 9 whole shares and a tenth of one: 0.1 / 9.1.
    assert!((share(10, 2) - 0.011).abs() < 0.006);
    // And half of one: 0.5 / 9.5.
    assert!((share(10, 52) - 0.053).abs() < 0.015);
    assert!((share(10, 102) - 0.1).abs() < 0.02);
}

#[test]
fn endpoints_that_are_all_new_are_used_all_the_same() {
    let (balancer, now, load_balancer) = (Balancer::default(), Instant::now(), warming(Some(0)));
    let first = port(0..1);
    drop(balancer.pick(&Ask { load_balancer: Some(&load_balancer), ..ask(&first, now) }));
    let all_new = port(1..6);
    let ask = Ask { load_balancer: Some(&load_balancer), ..ask(&all_new, now) };
    assert_eq!(shares(&balancer, &ask, 500).len(), 5);
}

/// 50 endpoints in this zone, 50 in others.
fn zoned() -> Arc<ServicePort> {
    port_of(Endpoints::in_slices(&(0..100).collect::<Vec<_>>(), 30, |number| number < 50))
}

#[test]
fn zones_count_where_they_are_asked_for_or_endpoints_can_be_left_out() {
    let (port, now, outliers) = (zoned(), Instant::now(), OutlierDetection::default());
    let setting = |enabled| LoadBalancer {
        locality_lb_setting: Some(LocalityLb { enabled, policy: None }),
        ..LoadBalancer::default()
    };
    for (load_balancer, outliers, only_near) in [
        (None, None, false),
        (None, Some(&outliers), true),
        (Some(setting(None)), None, false),
        (Some(setting(None)), Some(&outliers), true),
        (Some(setting(Some(true))), None, true),
        (Some(setting(Some(false))), Some(&outliers), false),
    ] {
        let balancer = Balancer::default();
        let ask = Ask { load_balancer: load_balancer.as_ref(), outliers, ..ask(&port, now) };
        let leases: Vec<_> = (0..300).map(|_| balancer.pick(&ask).unwrap()).collect();
        let near = leases.iter().filter(|lease| lease.locality() == Locality::SameZone).count();
        assert_eq!(near == 300, only_near, "{load_balancer:?} {outliers:?} {near}");
        for lease in &leases {
            let is_near = (0..50).any(|number| address(number) == lease.address());
            assert_eq!(lease.locality() == Locality::SameZone, is_near);
        }
    }
}

#[test]
fn a_zone_gives_away_what_its_healthy_endpoints_cannot_take() {
    let now = Instant::now();
    let hash_of = |load_balancer: &LoadBalancer, number| {
        matches!(load_balancer.algorithm, Some(Algorithm::ConsistentHash(_))).then_some(number)
    };
    for mut load_balancer in [simple(SimpleAlgorithm::Random), hashing(), LoadBalancer::default()] {
        load_balancer.locality_lb_setting = Some(LocalityLb { enabled: Some(true), policy: None });
        for (healthy, expected) in [(50, 1.0), (40, 1.0), (36, 1.0), (25, 0.7), (10, 0.28), (0, 0.0)] {
            let (balancer, port) = (Balancer::default(), zoned());
            force(&balancer, &port, healthy..50, Some(Use::No));
            let mut near = 0;
            for number in 0..12_000 {
                let hash = hash_of(&load_balancer, number);
                let ask = Ask { load_balancer: Some(&load_balancer), hash, ..ask(&port, now) };
                let lease = balancer.pick(&ask).unwrap();
                // The first picks find out who is left out.
                near += u32::from(number >= 2_000 && lease.locality() == Locality::SameZone);
            }
            let share = f64::from(near) / 10_000.0;
            assert!((share - expected).abs() < 0.05, "{healthy} healthy: {share} in {load_balancer:?}");
        }
    }
}

#[test]
fn a_zone_that_is_back_gets_its_traffic_again() {
    let (balancer, port, now) = (Balancer::default(), zoned(), Instant::now());
    let outliers = OutlierDetection::default();
    let ask = Ask { outliers: Some(&outliers), ..ask(&port, now) };
    let near = || (0..1_000).filter(|_| balancer.pick(&ask).unwrap().locality() == Locality::SameZone).count();
    force(&balancer, &port, 0..50, Some(Use::No));
    near();
    assert_eq!(near(), 0);
    force(&balancer, &port, 0..50, None);
    near();
    assert_eq!(near(), 1_000);
}

#[test]
fn what_is_known_outlives_changes_and_goes_with_the_endpoint() {
    let slice = |hosts: &str| {
        testing::snapshot(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: web}}, spec: {{clusterIP: 10.1.0.1, ports: [{{port: 80}}]}}}}\n---\n\
             {{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{namespace: shop, name: web-1, labels: {{kubernetes.io/service-name: web}}}}, \
             addressType: IPv4, ports: [{{port: 80}}], endpoints: [{hosts}]}}\n"
        ))
    };
    let name = ServiceName { namespace: "shop".into(), name: "web".into() };
    let (both, one) = (slice("{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}"), slice("{addresses: [10.0.0.1]}"));
    let port = Arc::clone(&both.service(&name).unwrap().ports[0]);
    let (balancer, now) = (Balancer::default(), Instant::now());
    let group = balancer.group(&port);
    let held: HashMap<_, _> =
        (0..50).map(|_| balancer.pick(&ask(&port, now)).unwrap()).map(|lease| (lease.address(), lease)).collect();
    assert_eq!(held.len(), 2);
    balancer.prune(&both);
    assert_eq!(size(&balancer), (1, 2));
    let stays = group.known(address(1)).unwrap();
    balancer.prune(&one);
    assert_eq!(size(&balancer), (1, 1));
    assert!(Arc::ptr_eq(&stays, &group.known(address(1)).unwrap()));
    drop(held);
    assert_eq!(stays.in_flight(), 0, "leases outlive what is forgotten");
    balancer.prune(&testing::snapshot(""));
    assert_eq!(size(&balancer), (0, 0));
}

#[test]
fn ports_of_service_entries_are_kept() {
    let entry = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: shop, name: db}, \
                 spec: {hosts: [db.example.org], addresses: [192.0.2.1], ports: [{number: 80, name: http, protocol: HTTP}], \
                 resolution: STATIC, endpoints: [{address: 192.0.2.7}]}}";
    let snapshot = testing::snapshot(entry);
    let crate::mesh::Destination::Service(port) = snapshot.destination("192.0.2.1:80".parse().unwrap()) else {
        panic!("no endpoints")
    };
    let balancer = Balancer::default();
    let lease = balancer.pick(&ask(&port, Instant::now())).unwrap();
    assert_eq!((lease.address(), lease.locality()), ("192.0.2.7:80".parse().unwrap(), Locality::Unknown));
    balancer.prune(&snapshot);
    assert_eq!(size(&balancer), (1, 1));
}

#[test]
fn nothing_is_under_way_after_panics() {
    let (balancer, port, now) = (Balancer::default(), port(0..3), Instant::now());
    let panics = |_| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let lease = balancer.pick(&ask(&port, now)).unwrap();
            answer(&lease, 1, 200, now);
            std::panic::resume_unwind(Box::new(lease.address()));
        }));
        assert!(caught.is_err());
    };
    (0..100).for_each(panics);
    let group = balancer.group(&port);
    assert!((0..3).filter_map(|number| group.known(address(number))).all(|state| state.in_flight() == 0));
}

#[test]
fn threads_share_what_is_known_and_leave_nothing_under_way() {
    let (balancer, now) = (Balancer::default(), Instant::now());
    let (one, other, outliers, warming) = (port(0..40), port(5..45), OutlierDetection::default(), warming(None));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (balancer, one, other, outliers, warming) = (&balancer, &one, &other, &outliers, &warming);
            scope.spawn(move || {
                let hashing = hashing();
                for request in 0..500_u64 {
                    let load_balancer = [None, Some(&hashing), Some(warming)][(request % 3) as usize];
                    let port = if request % 2 == 0 { one } else { other };
                    let ask = Ask { load_balancer, outliers: Some(outliers), hash: Some(request), ..ask(port, now) };
                    let lease = balancer.pick(&ask).unwrap();
                    assert!(port.ready.locality(lease.address()).is_some());
                    answer(&lease, thread, 200, now);
                }
            });
        }
    });
    let group = balancer.group(&one);
    let states: Vec<_> = (0..45).filter_map(|number| group.known(address(number))).collect();
    assert!(states.len() > 40 && states.iter().all(|state| state.in_flight() == 0));
}

#[test]
fn a_pick_costs_the_same_among_ten_and_a_hundred_thousand() {
    let now = Instant::now();
    let mut most = HashMap::new();
    for count in [10, 1_000, 100_000] {
        let numbers: Vec<u32> = (0..count).collect();
        let zoned = |number: u32| number.is_multiple_of(3);
        let ready = Endpoints::in_slices(&numbers, 100, zoned);
        let free = port_of(ready.clone());
        let bound = Arc::new(ServicePort { client_affinity: Some(Duration::from_secs(1)), ..(*free).clone() });
        let (outliers, warming) = (OutlierDetection::default(), warming(None));
        for (number, (load_balancer, hash)) in every_algorithm().iter().enumerate() {
            let balancer = Balancer::default();
            let plain = Ask { load_balancer: load_balancer.as_ref(), hash: *hash, ..ask(&free, now) };
            let asks = [
                plain,
                Ask { outliers: Some(&outliers), ..plain },
                Ask { sticky: Some(address(7)), ..plain },
                Ask { port: &bound, ..plain },
                Ask { load_balancer: Some(&warming), ..plain },
            ];
            for (kind, ask) in asks.iter().enumerate() {
                // What follows from the endpoints is made at the first pick after a change.
                drop(balancer.pick(ask).unwrap());
                for _ in 0..200 {
                    let before = reads::so_far();
                    drop(balancer.pick(ask).unwrap());
                    let cost = reads::so_far() - before;
                    let entry = most.entry((number, kind)).or_insert(0);
                    *entry = cost.max(*entry);
                    assert!(cost <= 40, "{cost} reads among {count} by {load_balancer:?}, kind {kind}");
                }
            }
        }
    }
    assert!(most.values().any(|cost| *cost > 0), "something was counted");
}

#[test]
fn a_forecast_is_what_picks_come_to_and_takes_nothing() {
    const PICKS: u32 = 20_000;
    let (port, now) = (port(0..5), Instant::now());
    for (load_balancer, hash) in every_algorithm() {
        let balancer = Balancer::default();
        let ask = Ask { load_balancer: load_balancer.as_ref(), hash, ..ask(&port, now) };
        for number in 0..5 {
            let lease = balancer.group(&port).endpoint(address(number), now);
            lease.observe(
                &Answered { latency: Duration::from_millis(u64::from(number / 2 + 1)), result: TryResult::Reset },
                now,
            );
        }
        force(&balancer, &port, [3], Some(Use::No));
        let forecast = balancer.forecast(&ask);
        let picked = shares(&balancer, &ask, PICKS);
        assert_eq!((forecast.count, forecast.endpoints.len()), (5, 5));
        for seen in &forecast.endpoints {
            let share = f64::from(picked.get(&seen.address).copied().unwrap_or_default()) / f64::from(PICKS);
            assert!((share - seen.share).abs() < 0.02, "{load_balancer:?} {hash:?}: {share} of {seen:?}");
        }
        assert!((forecast.endpoints.iter().map(|seen| seen.share).sum::<f64>() - 1.0).abs() < 1e-9);
    }
    let balancer = Balancer::default();
    balancer.forecast(&ask(&port, now));
    assert_eq!(size(&balancer), (0, 0), "nothing is kept of a look");
}

#[test]
fn a_forecast_sends_to_the_other_zone_what_finds_nobody_in_this_one() {
    let numbers: Vec<u32> = (0..5).collect();
    let (port, now) = (port_of(Endpoints::in_slices(&numbers, 100, |number| number < 3)), Instant::now());
    let enabled = LocalityLb { enabled: Some(true), ..LocalityLb::default() };
    let zones = LoadBalancer { locality_lb_setting: Some(enabled), ..simple(SimpleAlgorithm::Random) };
    for (out, near, far) in [(0..0, 1.0, 0.0), (0..3, 0.0, 1.0), (1..3, 1.0, 0.0), (3..5, 1.0, 0.0)] {
        let balancer = Balancer::default();
        force(&balancer, &port, out.clone(), Some(Use::No));
        let forecast = balancer.forecast(&Ask { load_balancer: Some(&zones), ..ask(&port, now) });
        let of = |locality: Locality| -> f64 {
            forecast.endpoints.iter().filter(|one| one.locality == locality).map(|one| one.share).sum()
        };
        assert_eq!((forecast.near, of(Locality::SameZone), of(Locality::OtherZone)), (Some(1.0), near, far), "{out:?}");
    }
}

#[test]
fn what_is_forgotten_for_want_of_room_is_counted() {
    let (balancer, now) = (Balancer::default(), Instant::now());
    let port = Arc::new(ServicePort { client_affinity: Some(Duration::from_secs(60)), ..(*port(0..3)).clone() });
    let clients = 5_000_u32;
    for client in 0..clients {
        drop(balancer.pick(&Ask { client: IpAddr::from(client.to_be_bytes()), ..ask(&port, now) }).unwrap());
    }
    let (kept, forgotten) = balancer.memory().of_sets;
    // All three endpoints are members that were asked for.
    assert!(forgotten > 0 && kept as u64 + forgotten == u64::from(clients) + 3, "{kept} and {forgotten}");
    for size in [11, 13, 17, 19, 23, 29] {
        let table = HashAlgorithm::Maglev { table_size: Some(size) };
        let documented =
            by(Algorithm::ConsistentHash(ConsistentHash { key: HashKey::SourceIp, algorithm: Some(table) }));
        drop(balancer.pick(&Ask { load_balancer: Some(&documented), hash: Some(7), ..ask(&port, now) }).unwrap());
    }
    assert_eq!(balancer.memory().tables, (4, 2));
    balancer.prune(&Snapshot::default());
    let gone = Memory { endpoints: 0, of_sets: (0, forgotten), tables: (0, 2) };
    assert_eq!(balancer.memory(), gone, "what goes with its Service is not counted");
}
