//! What Capture documents say of a pod, added to what its annotations do: what it keeps out of the mesh and what it may have of
//! its agent, which only its own node asks, and which of its ports are opaque, which its clients' nodes ask too.

use std::{collections::BTreeSet, num::NonZeroU16, sync::Arc};

use crate::{
    mesh::{CaptureRules, Rules},
    objects::{ObjectName, Pod},
    rules::{RuleKey, RuleKind, Spec, capture::Capture},
    shares::{SaidShare, ShareBounds},
};

/// Adds the exclusions of the documents that select a pod: those of its namespace and of the root namespace.
pub(super) fn add(to: &mut CaptureRules, pod: &Pod, rules: &Rules, root_namespace: &Arc<str>) {
    for capture in captures_of(pod, rules, root_namespace) {
        extend(&mut to.exclude_inbound_ports, numbers(&capture.exclude_inbound_ports));
        extend(&mut to.exclude_outbound_ports, numbers(&capture.exclude_outbound_ports));
        extend(&mut to.exclude_outbound_cidrs, capture.exclude_outbound_cidrs.iter().copied());
    }
}

/// Adds the ports that those documents declare opaque.
pub(super) fn add_opaque(to: &mut Vec<u16>, pod: &Pod, rules: &Rules, root_namespace: &Arc<str>) {
    for capture in captures_of(pod, rules, root_namespace) {
        extend(to, numbers(&capture.opaque_ports));
    }
}

/// What the documents that select a pod say of its share, field by field the smallest number.
pub(super) fn share(pod: &Pod, rules: &Rules, root_namespace: &Arc<str>) -> SaidShare {
    let least = |namespace| {
        let shares = captures_in(namespace, rules).filter(|capture| capture.selector.selects(&pod.labels));
        shares.map(|capture| capture.share).fold(ShareBounds::default(), ShareBounds::least)
    };
    SaidShare { by_mesh: least(root_namespace), by_namespace: least(&pod.name.namespace) }
}

fn numbers(ports: &BTreeSet<NonZeroU16>) -> impl Iterator<Item = u16> {
    ports.iter().copied().map(NonZeroU16::get)
}

fn captures_of<'a>(pod: &'a Pod, rules: &'a Rules, root_namespace: &'a Arc<str>) -> impl Iterator<Item = &'a Capture> {
    let own = captures_in(&pod.name.namespace, rules);
    let of_the_mesh = captures_in(root_namespace, rules).filter(|_| pod.name.namespace != *root_namespace);
    own.chain(of_the_mesh).filter(|capture| capture.selector.selects(&pod.labels))
}

fn captures_in<'a>(namespace: &Arc<str>, rules: &'a Rules) -> impl Iterator<Item = &'a Capture> + use<'a> {
    let namespace = Arc::clone(namespace);
    let name = ObjectName { namespace: Arc::clone(&namespace), name: Arc::default() };
    let first = RuleKey { kind: RuleKind::Capture, name };
    let of_namespace = move |(key, _): &(&RuleKey, _)| key.kind == RuleKind::Capture && key.name.namespace == namespace;
    rules.range(first..).take_while(of_namespace).filter_map(|(_, rule)| match &rule.spec {
        Spec::Capture(capture) => Some(capture),
        _ => None,
    })
}

fn extend<T: Ord>(list: &mut Vec<T>, more: impl Iterator<Item = T>) {
    list.extend(more);
    list.sort();
    list.dedup();
}
