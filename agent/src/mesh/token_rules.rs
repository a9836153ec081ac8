//! Which rules for JSON Web Tokens a workload has: those of the RequestAuthentications of its namespace and of the root
//! namespace that select it.
//!
//! In: the documents in force. Out: a table that is built whole whenever one of them changes, which is rare. Asking it costs
//! by the labels of the workload and by what selects it, not by how many documents there are.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Rules, Workload};
use crate::{
    objects::{Map, ObjectName},
    rules::{
        Spec,
        request_authentication::{JwtRule, RequestAuthentication},
        value::Selector,
    },
};

/// One rule of a document. A copy shares it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRule {
    document: ObjectName,
    index: usize,
    rule: Arc<JwtRule>,
}

/// All rules for tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRules {
    root_namespace: Arc<str>,
    namespaces: HashMap<Arc<str>, Namespace>,
}

/// The documents of a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
struct Namespace {
    /// Those without a selector.
    of_all: Vec<Document>,
    /// The others, by one label that they ask for: key, then value.
    by_label: HashMap<String, HashMap<String, Vec<Document>>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Document {
    selector: Selector,
    rules: Arc<[TokenRule]>,
}

impl TokenRule {
    /// The RequestAuthentication.
    pub fn document(&self) -> &ObjectName {
        &self.document
    }

    /// Its place in `jwtRules`.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What it says.
    pub fn rule(&self) -> &JwtRule {
        &self.rule
    }
}

impl TokenRules {
    /// Builds the table.
    pub(super) fn build(rules: &Rules, root_namespace: &Arc<str>) -> Self {
        let mut documents: BTreeMap<&Arc<str>, Vec<Document>> = BTreeMap::new();
        for rule in rules.values() {
            if let Spec::RequestAuthentication(spec) = &rule.spec {
                documents.entry(&rule.key.name.namespace).or_default().push(document(&rule.key.name, spec));
            }
        }
        let namespaces = documents.into_iter().map(|(name, all)| (Arc::clone(name), Namespace::of(all))).collect();
        Self { root_namespace: Arc::clone(root_namespace), namespaces }
    }

    /// The rules of a workload, ordered by namespace, name and place.
    pub(super) fn of(&self, workload: &Workload) -> Vec<TokenRule> {
        let own = self.namespaces.get(&workload.namespace);
        let of_the_mesh = (workload.namespace != self.root_namespace).then_some(&self.root_namespace);
        let of_the_mesh = of_the_mesh.and_then(|root| self.namespaces.get(root));
        let documents = own.into_iter().chain(of_the_mesh).flat_map(|all| all.selecting(&workload.labels));
        let mut rules: Vec<TokenRule> = documents.flat_map(|document| document.rules.iter().cloned()).collect();
        rules.sort_by(|a, b| (&a.document, a.index).cmp(&(&b.document, b.index)));
        rules
    }
}

impl Namespace {
    /// A document is found by the label of its selector that the fewest others ask for.
    fn of(documents: Vec<Document>) -> Self {
        let mut wanted: HashMap<(String, String), usize> = HashMap::new();
        for (key, value) in documents.iter().flat_map(|document| &document.selector.match_labels) {
            *wanted.entry((key.clone(), value.clone())).or_default() += 1;
        }
        let how_many = |label: &(&String, &String)| wanted.get(&(label.0.clone(), label.1.clone())).copied();
        let mut all = Self::default();
        for document in documents {
            match document.selector.match_labels.iter().min_by_key(how_many) {
                None => all.of_all.push(document),
                Some((key, value)) => {
                    let values = all.by_label.entry(key.clone()).or_default();
                    values.entry(value.clone()).or_default().push(document);
                }
            }
        }
        all
    }

    fn selecting<'a>(&'a self, labels: &'a Map) -> impl Iterator<Item = &'a Document> {
        let asked = labels.iter().filter_map(|(key, value)| self.by_label.get(key)?.get(value)).flatten();
        self.of_all.iter().chain(asked.filter(|document| document.selector.selects(labels)))
    }
}

fn document(name: &ObjectName, spec: &RequestAuthentication) -> Document {
    let rule =
        |(index, rule): (usize, &JwtRule)| TokenRule { document: name.clone(), index, rule: Arc::new(rule.clone()) };
    Document { selector: spec.selector.clone(), rules: spec.jwt_rules.iter().enumerate().map(rule).collect() }
}
