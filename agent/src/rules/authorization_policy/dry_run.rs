//! The annotation that has a policy evaluated and counted without deciding.

use crate::{config::yaml::MapReader, objects::Map};

/// Our name comes first and wins where the values differ; Istio's is taken so that its manifests work unchanged.
const ANNOTATIONS: [&str; 2] = ["heddle.io/dry-run", "istio.io/dry-run"];

/// Whether a policy with these annotations only counts. The values were checked when the document was read.
pub fn is_dry_run(annotations: &Map) -> bool {
    ANNOTATIONS.iter().find_map(|key| annotations.get(*key)).is_some_and(|value| value == "true")
}

/// Reports values that are neither `true` nor `false`: a policy that its author believes to be on trial would decide.
pub(in crate::rules) fn check_dry_run(annotations: &MapReader<'_>) {
    for (key, value) in annotations.texts() {
        if ANNOTATIONS.contains(&key) && !matches!(value, "true" | "false") {
            annotations.complain(key, format!("found {value:?}, allowed: \"true\" or \"false\""));
        }
    }
}
