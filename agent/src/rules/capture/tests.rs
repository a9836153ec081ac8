//! Tests of reading Capture documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::{collection::btree_set, option, prelude::*};

use super::*;
use crate::rules::{RuleKind, Spec, testing::*};

const KIND: RuleKind = RuleKind::Capture;

fn numbers(numbers: &[u16]) -> BTreeSet<NonZeroU16> {
    numbers.iter().map(|number| NonZeroU16::new(*number).unwrap()).collect()
}

#[test]
fn every_field_is_read() {
    let spec = "\
selector: {matchLabels: {app: db}}
excludeInboundPorts: [9100, 9090, 9100]
excludeOutboundPorts: [3306]
excludeOutboundCIDRs: [10.1.2.3/16, \"fd00::/8\"]
opaquePorts: [5432]
share: {weight: 300, connections: 64, handshakes: 8, bufferBytes: 1048576}";
    let expected = Capture {
        selector: Selector { match_labels: [("app".to_owned(), "db".to_owned())].into() },
        exclude_inbound_ports: numbers(&[9090, 9100]),
        exclude_outbound_ports: numbers(&[3306]),
        exclude_outbound_cidrs: ["10.1.0.0/16", "fd00::/8"].iter().map(|cidr| cidr.parse().unwrap()).collect(),
        opaque_ports: numbers(&[5432]),
        share: ShareBounds {
            weight: Some(300),
            connections: Some(64),
            handshakes: Some(8),
            buffer_bytes: Some(1 << 20),
        },
    };
    assert_eq!(accepted(KIND, spec), Spec::Capture(expected));
}

#[test]
fn without_a_selector_every_pod_is_meant() {
    for spec in
        ["opaquePorts: [1]", "{selector: {}, opaquePorts: [1]}", "{selector: {matchLabels: {}}, opaquePorts: [1]}"]
    {
        let Spec::Capture(capture) = accepted(KIND, spec) else { panic!("another kind") };
        assert_eq!((capture.selector.is_everything(), capture.opaque_ports), (true, numbers(&[1])), "{spec}");
    }
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let table: &[(&str, &[&str])] = &[
        (
            r#"excludeInboundPorts: [0, 65536, "80"]
excludeOutboundPorts: 80"#,
            &[
                "5:25: spec.excludeInboundPorts[0]: found the number 0, allowed: port numbers from 1 to 65535",
                "5:28: spec.excludeInboundPorts[1]: found the number 65536, allowed: port numbers from 1 to 65535",
                r#"5:35: spec.excludeInboundPorts[2]: found "80", allowed: port numbers from 1 to 65535"#,
                "6:25: spec.excludeOutboundPorts: found the number 80, allowed: port numbers from 1 to 65535",
            ],
        ),
        (
            "excludeOutboundCIDRs: [10.0.0.1, 10.0.0.0/33]
opaquePorts: [-1]",
            &[
                r#"5:26: spec.excludeOutboundCIDRs[0]: found "10.0.0.1", allowed: networks such as 10.0.0.0/8 or fd00::/8"#,
                r#"5:36: spec.excludeOutboundCIDRs[1]: found "10.0.0.0/33", allowed: networks such as 10.0.0.0/8 or fd00::/8"#,
                "6:17: spec.opaquePorts[0]: found the number -1, allowed: port numbers from 1 to 65535",
            ],
        ),
        (
            "excludeOutboundCidrs: []",
            &[r#"5:3: unknown key "excludeOutboundCidrs" in spec; did you mean "excludeOutboundCIDRs"?"#],
        ),
        (
            "selector: {labels: {}, matchLabels: {a b: c, app: -x, n: 7}}",
            &[
                r#"5:14: unknown key "labels" in spec.selector, allowed: matchLabels"#,
                "5:45: spec.selector.matchLabels.a b: is no label: a label's key is a name, or a domain and a name with / between, such as app or example.com/app",
                r#"5:53: spec.selector.matchLabels.app: found "-x", allowed: up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"#,
                "5:60: spec.selector.matchLabels.n: found the number 7, allowed: text (quote numbers and booleans)",
            ],
        ),
        (
            "share: {weight: 10001, connections: 0, handshakes: many, bufferBytes: 1048575, memory: 1}",
            &[
                "5:19: spec.share.weight: found the number 10001, allowed: a whole number from 1 to 10000; 100 is a pod's by default",
                "5:39: spec.share.connections: found the number 0, allowed: a whole number from 1 to 10000000",
                r#"5:54: spec.share.handshakes: found "many", allowed: a whole number from 1 to 10000000"#,
                "5:73: spec.share.bufferBytes: found the number 1048575, allowed: a number of bytes from 1048576 to 1099511627776",
                r#"5:82: unknown key "memory" in spec.share, allowed: weight, connections, handshakes, bufferBytes"#,
            ],
        ),
        ("selector: web", &[r#"5:13: spec.selector: found "web", allowed: a map of keys and values"#]),
    ];
    all_refused(KIND, table);
}

prop_compose! {
    fn shares()(
        weight in option::of(1..=10_000_u32),
        connections in option::of(any::count()),
        handshakes in option::of(any::count()),
        buffer_bytes in option::of(1_u64 << 20..1 << 40),
    ) -> ShareBounds {
        let places = |count: Option<std::num::NonZeroU32>| count.map(|count| count.get().min(10_000_000));
        ShareBounds { weight, connections: places(connections), handshakes: places(handshakes), buffer_bytes }
    }
}

prop_compose! {
    fn captures()(
        selector in any::selector(),
        inbound in btree_set(any::port(), 0..4),
        outbound in btree_set(any::port(), 0..4),
        cidrs in btree_set(any::network(), 0..4),
        opaque in btree_set(any::port(), 0..4),
        share in shares(),
    ) -> Capture {
        Capture {
            selector,
            exclude_inbound_ports: inbound,
            exclude_outbound_ports: outbound,
            exclude_outbound_cidrs: cidrs,
            opaque_ports: opaque,
            share,
        }
    }
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(capture in captures()) {
        comes_back(KIND, &Spec::Capture(capture))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(capture in captures(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::Capture(capture), &damage)?;
    }
}
