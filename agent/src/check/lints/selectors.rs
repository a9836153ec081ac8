//! Selectors that select no pod.

use super::{Found, Input, pods};
use crate::objects::Kind;

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        let Some(selector) = pods::selector(rule).filter(|selector| !selector.is_everything()) else { continue };
        if input.has(Kind::Pod, found) && pods::selected(input, rule).is_empty() {
            let labels: Vec<_> = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let whose = match pods::is_for_the_mesh(input, rule) {
                true => "no pod".to_owned(),
                false => format!("no pod of namespace {}", rule.key.name.namespace),
            };
            input.warn(found, &rule.key, "spec.selector", format!("{whose} has the labels {}", labels.join(", ")));
        }
    }
}
