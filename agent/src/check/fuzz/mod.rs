//! Any bytes as mesh configuration: what `cargo xtask fuzz config` and a test feed mutated examples to.
//!
//! In: bytes. Out: what was said about them, or which promise of the readers they break. It decides nothing for an agent,
//! and is part of the library so that it reaches the readers as the agent does.

mod mutate;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::check;
use crate::{
    config::yaml::split,
    mesh::{MeshSettings, TrustDomain, compile_enforcing},
    objects::{self, Change, ConfigMap, Object, ObjectName, ObjectSet},
    rules::{Enforced, Reading, Rule, read},
};

pub use mutate::mutate;

/// What became of some bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exercised {
    /// Rules that a build which enforces everything would have in force.
    pub rules: usize,
    /// All that was said about them.
    pub messages: Vec<String>,
}

/// The cluster that inputs are part of.
#[derive(Clone, Debug)]
pub struct Exercise {
    settings: MeshSettings,
    cluster: ObjectSet,
}

impl Exercise {
    /// A cluster of these Kubernetes objects, which documents may refer to.
    pub fn new(objects: &str, trust_domain: TrustDomain) -> Self {
        let settings = MeshSettings { node: "a".into(), trust_domain, root_namespace: "heddle-system".into() };
        Self { settings, cluster: objects::read_text("cluster.yaml", objects).0 }
    }

    /// Takes bytes for the text of a ConfigMap of namespace `shop`, and for a file of Kubernetes objects beside it, through
    /// splitting, parsing, reading, acceptance, compilation, lints and reports. It must not panic.
    ///
    /// # Errors
    /// A rule that was accepted does not come back from what it serializes to.
    pub fn run(&self, bytes: &[u8]) -> Result<Exercised, String> {
        let text = String::from_utf8_lossy(bytes);
        let (of_text, unreadable) = objects::read_text("fuzz.yaml", &text);
        let data = BTreeMap::from([("fuzz".to_owned(), text.as_ref().into())]);
        let map = ConfigMap { name: ObjectName::new("shop", "fuzz"), uid: None, created: None, data };
        let mut set = self.cluster.clone();
        set.apply(of_text.objects().chain([Object::ConfigMap(Arc::new(map))]).map(Change::Put));
        let report = check(&set, &unreadable, &self.settings);
        let compiled = compile_enforcing(&set, &self.settings, Enforced::EVERYTHING);
        for rule in compiled.snapshot.rules().values() {
            comes_back(rule)?;
        }
        let findings = report.findings.iter().map(ToString::to_string);
        let messages = findings.chain(compiled.documents.iter().map(ToString::to_string)).collect();
        Ok(Exercised { rules: compiled.snapshot.rules().len(), messages })
    }
}

/// What to begin with: each text, and each text within it where it holds ConfigMaps, since there is more to read in those.
pub fn seeds(texts: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let seeds = texts.into_iter().flat_map(|text| {
        let (objects, _) = objects::read_text("seed.yaml", &String::from_utf8_lossy(&text));
        let inner = objects.config_maps.into_values().filter(|map| !map.is_file());
        let inner = inner.flat_map(|map| map.data.values().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
        std::iter::once(text).chain(inner).collect::<Vec<_>>()
    });
    seeds.collect()
}

/// What `/config` shows of a rule can be applied again, and means the same.
fn comes_back(rule: &Rule) -> Result<(), String> {
    let document = json!({
        "apiVersion": rule.key.kind.api_versions()[0],
        "kind": rule.key.kind.as_str(),
        "metadata": {
            "name": &*rule.key.name.name, "namespace": &*rule.key.name.namespace, "annotations": rule.annotations,
        },
        "spec": rule.spec,
    });
    let text = document.to_string();
    let broken = |what: String| format!("{} does not come back: {what}, from {text}", rule.key);
    let documents = split(&text);
    let [document] = documents.as_slice() else { return Err(broken(format!("{} documents", documents.len()))) };
    let node = document.parse("again", &text).map_err(|problem| broken(problem.to_string()))?;
    match read("again", &text, &node, &rule.key.name.namespace, Enforced::EVERYTHING) {
        Reading::Rule(again, _) if *again == *rule => Ok(()),
        other => Err(broken(format!("{other:?} instead of {rule:?}"))),
    }
}
