//! What Capture documents keep out of the mesh for a pod of this node, added to what its annotations do.

use std::{num::NonZeroU16, sync::Arc};

use crate::{
    mesh::{CaptureRules, Rules},
    objects::{ObjectName, Pod},
    rules::{RuleKey, RuleKind, Spec, capture::Capture},
};

/// Adds the exclusions of the documents that select a pod: those of its namespace and of the root namespace.
pub(super) fn add(to: &mut CaptureRules, pod: &Pod, rules: &Rules, root_namespace: &Arc<str>) {
    let own = captures_in(&pod.name.namespace, rules);
    let of_the_mesh = captures_in(root_namespace, rules).filter(|_| pod.name.namespace != *root_namespace);
    for capture in own.chain(of_the_mesh).filter(|capture| capture.selector.selects(&pod.labels)) {
        extend(&mut to.exclude_inbound_ports, capture.exclude_inbound_ports.iter().copied().map(NonZeroU16::get));
        extend(&mut to.exclude_outbound_ports, capture.exclude_outbound_ports.iter().copied().map(NonZeroU16::get));
        extend(&mut to.exclude_outbound_cidrs, capture.exclude_outbound_cidrs.iter().copied());
        extend(&mut to.opaque_ports, capture.opaque_ports.iter().copied().map(NonZeroU16::get));
    }
}

fn captures_in<'a>(namespace: &Arc<str>, rules: &'a Rules) -> impl Iterator<Item = &'a Capture> + use<'a> {
    let namespace = Arc::clone(namespace);
    let name = ObjectName { namespace: Arc::clone(&namespace), name: "".into() };
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
