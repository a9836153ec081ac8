//! Routes: filters of Heddle's own that they refer to.

use super::{Found, Input, route_view::view};
use crate::mesh::key_of;

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for (rule, route) in input.rules().filter_map(|rule| Some((rule, view(rule)?))) {
        for (path, reference) in route.rules.iter().flat_map(|part| &part.extensions) {
            let key = key_of(&rule.key.name.namespace, reference);
            if !input.rules.keys().any(|other| other.kind == key.kind) {
                found.unchecked.insert(key.kind.as_str());
            } else if !input.rules.contains_key(&key) {
                input.warn(found, &rule.key, path, format!("there is no {key}"));
            }
        }
    }
}
