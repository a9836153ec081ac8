//! Reads `source` and `state` of `agent.yaml`: where objects come from, and where the last of them are kept.

use super::{
    KubernetesSource, Source, defaults,
    resolve::{ABSOLUTE_PATH, absolute_path, non_empty_path, path_or_none, required},
    yaml::MapReader,
};

const EXAMPLES: &str = "{kubernetes: {}} or {files: {path: /etc/heddle/objects}}";

/// The source; `None` where a problem left none, which has been reported then.
pub(super) fn source(root: &MapReader<'_>) -> Option<Source> {
    let Some(source) = root.map("source") else {
        if !root.has("source") {
            root.missing("source", &format!("where objects come from: {EXAMPLES}"));
        }
        return None;
    };
    let (files, kubernetes) = (source.map("files"), map_even_if_empty(&source, "kubernetes"));
    match (files.is_some() || source.has("files"), kubernetes.is_some() || source.has("kubernetes")) {
        (true, true) => source.complain_here("found files and kubernetes, allowed: one of the two; remove the other"),
        (false, false) => source.complain_here(format!("names no source, allowed: {EXAMPLES}")),
        (true, false) | (false, true) => {}
    }
    source.finish();
    match (files, kubernetes) {
        (Some(files), None) => from_files(files),
        (None, Some(kubernetes)) => from_kubernetes(kubernetes),
        _ => None,
    }
}

/// `kubernetes:` with nothing below it says all that there is to say: in the cluster, with the pod's own account.
pub(super) fn map_even_if_empty<'a>(source: &MapReader<'a>, key: &'static str) -> Option<MapReader<'a>> {
    if source.names(key) { source.map_or_empty(key) } else { source.map(key) }
}

fn from_files(files: MapReader<'_>) -> Option<Source> {
    let path = required(&files, "path", "a directory of Kubernetes YAML", non_empty_path);
    files.finish();
    Some(Source::Files { path: path? })
}

fn from_kubernetes(kubernetes: MapReader<'_>) -> Option<Source> {
    let kubeconfig = kubernetes.parsed("kubeconfig", ABSOLUTE_PATH, absolute_path);
    let context = kubernetes.parsed("context", "the name of a context of the kubeconfig", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    });
    let documents = kubernetes.parsed("documents", "an absolute path of a directory of mesh documents", absolute_path);
    if kubernetes.has("context") && !kubernetes.has("kubeconfig") {
        kubernetes.complain("context", "has no effect without kubeconfig; name the file that has the context");
    }
    kubernetes.finish();
    Some(Source::Kubernetes(KubernetesSource { kubeconfig, context, documents }))
}

/// The directory of the state on disk, `None` for none.
pub(super) fn state(root: &MapReader<'_>, source: Option<&Source>) -> Option<Option<std::path::PathBuf>> {
    let state = root.map_or_empty("state")?;
    let path = state.parsed("path", "an absolute path, or \"\" for none", path_or_none);
    if matches!(source, Some(Source::Files { .. })) && matches!(path, Some(Some(_))) {
        state.complain("path", "has no effect with source.files, which is on disk already; remove it");
    }
    state.finish();
    let default = match source {
        Some(Source::Kubernetes(_)) => Some(defaults::STATE.into()),
        Some(Source::Files { .. }) | None => None,
    };
    Some(path.unwrap_or(default))
}
