//! Tests of whom references stand for, and of choices between several.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::num::{NonZeroU16, NonZeroU32};

use proptest::prelude::*;

use super::*;
use crate::mesh::testing;

/// `web` and `static` have endpoints, the others have none.
const MESH: &str = "
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}, {port: 81}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: idle}, spec: {clusterIP: 10.96.0.2, ports: [{port: 80}, {port: 81}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: lost}, spec: {clusterIP: 10.96.0.3, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: pods}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {namespace: cdn, name: static}, spec: {clusterIP: 10.96.0.4, ports: [{port: 8080}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: web, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: cdn, name: static, labels: {kubernetes.io/service-name: static}}, addressType: IPv4, ports: [{port: 8080}], endpoints: [{addresses: [10.0.0.2]}]}
---
";

/// A Fallback of a Service of `shop`.
fn document(target: &str, backend: &str) -> String {
    let name = target.split(',').next().unwrap();
    let metadata = format!("{{namespace: shop, name: {name}}}");
    let spec = format!("{{targetRefs: [{{name: {target}}}], backendRef: {{name: {backend}}}}}");
    format!("---\n{{apiVersion: heddle.io/v1alpha1, kind: Fallback, metadata: {metadata}, spec: {spec}}}\n")
}

fn mesh(fallbacks: &[(&str, &str)]) -> Snapshot {
    let documents = fallbacks.iter().map(|(target, backend)| document(target, backend));
    testing::snapshot(&(MESH.to_owned() + &documents.collect::<String>()))
}

/// Who gets what is for a Service port of `shop`, in a word.
fn who(snapshot: &Snapshot, name: &str, port: u16) -> String {
    let port = NonZeroU16::new(port).unwrap();
    let reference = ServiceRef { name: name.to_owned(), namespace: None, port };
    match resolve(snapshot, &"shop".into(), &reference, AddressFamily::V4) {
        Ok(Resolved { port, is_fallback: true, fallback: None }) => format!("{} instead", port.service),
        Ok(Resolved { port, is_fallback: false, fallback: None }) => port.service.to_string(),
        Ok(Resolved { port, is_fallback: false, fallback: Some(other) }) => {
            format!("{}, else {}", port.service, other.service)
        }
        Ok(other) => panic!("a fallback of a fallback: {other:?}"),
        Err(unresolved) => unresolved.to_string(),
    }
}

#[test]
fn a_fallback_is_kept_ready_or_takes_the_place_of_nobody() {
    let nobody = |name: &str| {
        format!("service shop/{name} of a backendRef has no ready endpoint on port 80: look at its EndpointSlices")
    };
    let to_static = "static, namespace: cdn, port: 8080";
    let snapshot = mesh(&[("web", to_static), ("idle, port: 80", to_static), ("pods", to_static)]);
    for (name, expected) in [
        ("web", "shop/web, else cdn/static".to_owned()),
        ("idle", "cdn/static instead".to_owned()),
        ("pods", "cdn/static instead".to_owned()),
        ("lost", nobody("lost")),
        ("gone", "there is no Service shop/gone for a backendRef; make it, or give the backendRef weight 0".to_owned()),
    ] {
        assert_eq!(who(&snapshot, name, 80), expected);
    }
    assert_eq!(who(&snapshot, "idle", 81), nobody("idle").replace("80", "81"), "the Fallback is for another port");
    let dialled = |name: &str| {
        let service = snapshot.service(&ServiceName { namespace: "shop".into(), name: name.into() }).unwrap();
        Resolved::of(&snapshot, &service.ports[0])
    };
    assert!(dialled("idle").is_fallback && !dialled("web").is_fallback && !dialled("lost").is_fallback);
    let idle = ServiceRef { name: "idle".to_owned(), namespace: None, port: NonZeroU16::new(80).unwrap() };
    assert!(resolve_itself(&snapshot, &"shop".into(), &idle, AddressFamily::V4).is_err(), "copies have none");
}

#[test]
fn a_fallback_that_leads_nowhere_or_to_nobody_changes_nothing() {
    for backend in ["gone, port: 80", "static, namespace: cdn, port: 80", "lost, port: 80", "pods, port: 80"] {
        let snapshot = mesh(&[("web", backend), ("idle", backend)]);
        assert_eq!(who(&snapshot, "web", 80), "shop/web", "{backend}");
        assert!(who(&snapshot, "idle", 80).contains("shop/idle of a backendRef has no ready endpoint"), "{backend}");
    }
}

#[test]
fn fallbacks_do_not_chain() {
    let to_static = "static, namespace: cdn, port: 8080";
    let snapshot = mesh(&[("web", to_static), ("idle", "web, port: 80"), ("lost", "idle, port: 80")]);
    assert_eq!(who(&snapshot, "idle", 80), "shop/web instead", "and nothing after it");
    assert!(who(&snapshot, "lost", 80).contains("shop/lost of a backendRef has no ready endpoint"));
}

/// `count` numbers, evenly over all there are.
fn evenly(count: u64) -> impl Iterator<Item = Draw> {
    let at = move |turn: u64| (u128::from(turn) << 64).div_ceil(count.into());
    (0..count).map(move |turn| Draw(at(turn).try_into().unwrap()))
}

#[test]
fn weights_of_zero_get_nothing_and_all_of_zero_are_told() {
    assert_eq!(Draw(0).weighted([0, 0].into_iter()), None);
    assert_eq!(Draw(0).weighted([].into_iter()), None);
    for draw in [0, 1, u64::MAX / 2, u64::MAX] {
        assert_eq!(Draw(draw).weighted([0, 1, 0].into_iter()), Some(1));
    }
}

#[test]
fn a_share_is_kept_and_its_ends_are_none_and_all() {
    let share = |numerator| Fraction { numerator, denominator: NonZeroU32::new(1000).unwrap() };
    for numerator in [0, 1, 250, 999, 1000] {
        let taken = evenly(100_000).filter(|draw| draw.is_in(share(numerator))).count();
        assert_eq!(taken, numerator as usize * 100);
    }
    assert!(!Draw(0).is_in(share(0)) && Draw(u64::MAX).is_in(share(1000)));
}

#[test]
fn other_numbers_are_independent_of_the_first() {
    let half = Fraction { numerator: 1, denominator: NonZeroU32::new(2).unwrap() };
    let both = evenly(10_000).filter(|draw| draw.is_in(half) && draw.other(0).is_in(half)).count();
    assert!((2_300..2_700).contains(&both), "{both}");
}

proptest! {
    #[test]
    fn each_backend_gets_its_weight(weights in prop::collection::vec(0..6u32, 1..5)) {
        let total: u32 = weights.iter().sum();
        let mut got = vec![0; weights.len()];
        for draw in evenly(u64::from(total) * 10) {
            got[draw.weighted(weights.iter().copied()).unwrap()] += 1;
        }
        prop_assert_eq!(got, weights.iter().map(|weight| weight * 10).collect::<Vec<_>>());
    }

    #[test]
    fn each_turn_has_a_number_that_chooses_it(weights in prop::collection::vec(prop_oneof![0..6u32, any::<u32>()], 1..9)) {
        for turn in 0..weights.len() {
            let draw = Draw::of_turn(&weights, turn);
            prop_assert_eq!(draw.is_none(), weights[turn] == 0);
            if let Some(draw) = draw {
                prop_assert_eq!(draw.weighted(weights.iter().copied()), Some(turn));
            }
        }
        prop_assert_eq!(Draw::of_turn(&weights, weights.len()), None);
    }
}
