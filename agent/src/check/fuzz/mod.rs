//! Any bytes as mesh configuration: text of a ConfigMap and a file of Kubernetes objects, in a cluster that has others.
//!
//! Promised: what is accepted comes back, as the same, from what `/config` shows of it.

#[cfg(test)]
mod tests;
mod words;

use std::{collections::BTreeMap, sync::Arc};

use fastrand::Rng;
use serde_json::json;

use super::check;
use crate::{
    config::yaml::split,
    fuzz::{Exercised, Mutator, Target, gist},
    mesh::{MeshSettings, TrustDomain, compile_enforcing},
    objects::{self, Change, ConfigMap, Object, ObjectName, ObjectSet},
    rules::{Enforced, Reading, Rule, read},
};

pub(crate) use words::YAML;

/// The cluster that inputs are part of.
#[derive(Debug)]
pub(crate) struct Documents {
    settings: MeshSettings,
    cluster: ObjectSet,
}

impl Documents {
    /// In the cluster of the examples, to whose objects documents may refer.
    pub(crate) fn new() -> Self {
        let objects = include_str!("../../../../deploy/examples/shop.yaml");
        let domain = "cluster.local".parse::<TrustDomain>().unwrap_or_else(|_| unreachable!("it is a domain"));
        let settings = MeshSettings { node: "a".into(), trust_domain: domain, root_namespace: "heddle-system".into() };
        Self { settings, cluster: objects::read_text("cluster.yaml", objects).0 }
    }
}

impl Target for Documents {
    /// Takes bytes for the text of a ConfigMap of namespace `shop`, and for a file of Kubernetes objects beside it, through
    /// splitting, parsing, reading, acceptance, compilation, lints and reports.
    fn exercise(&self, input: &[u8], _: &mut Rng) -> Result<Exercised, String> {
        let text = String::from_utf8_lossy(input);
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
        let messages = findings.chain(compiled.documents.iter().map(ToString::to_string));
        Ok(Exercised {
            accepted: compiled.snapshot.rules().len(),
            ways: messages.map(|message| gist(&message)).collect(),
        })
    }

    fn mutator(&self) -> &Mutator {
        &YAML
    }

    /// Each text, and each text within it where it holds ConfigMaps, since there is more to read in those.
    fn seeds(&self, kept: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let seeds = kept.into_iter().flat_map(|text| {
            let (objects, _) = objects::read_text("seed.yaml", &String::from_utf8_lossy(&text));
            let inner = objects.config_maps.into_values().filter(|map| !map.is_file());
            let inner =
                inner.flat_map(|map| map.data.values().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
            std::iter::once(text).chain(inner).collect::<Vec<_>>()
        });
        seeds.collect()
    }
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
