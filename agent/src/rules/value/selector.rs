//! Which pods of the document's namespace a document is for.

use serde::Serialize;

use crate::{config::yaml::MapReader, objects::Map};

/// Pods by their labels. Without labels it selects every pod of the namespace, of the mesh in the root namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// A pod must have each of these.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub match_labels: Map,
}

impl Selector {
    /// Whether it asks for nothing.
    pub fn is_everything(&self) -> bool {
        self.match_labels.is_empty()
    }

    /// Whether a pod with these labels is meant.
    pub fn selects(&self, labels: &Map) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// Reads `selector`. `None` where it is absent or no map.
pub(in crate::rules) fn selector(map: &MapReader<'_>) -> Option<Selector> {
    let selector = map.map("selector")?;
    let match_labels = selector.map("matchLabels").map_or_else(Map::new, |labels| read_labels(&labels));
    selector.finish();
    Some(Selector { match_labels })
}

fn read_labels(labels: &MapReader<'_>) -> Map {
    let mut map = Map::new();
    for (key, value) in labels.texts() {
        if !is_key(key) {
            labels.complain(key, format!("is no label: {KEY}"));
        }
        if !is_value(value) {
            labels.complain(key, format!("found {value:?}, allowed: {VALUE}"));
        }
        map.insert(key.to_owned(), value.to_owned());
    }
    map
}

const KEY: &str = "a label's key is a name, or a domain and a name with / between, such as app or example.com/app";
const VALUE: &str = "up to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";

/// The syntax of Kubernetes' label keys. A selector with another key would select nothing, for ever.
fn is_key(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let in_domain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let domain_is_good = |domain: &str| (1..=253).contains(&domain.len()) && domain.bytes().all(in_domain);
    !name.is_empty() && is_value(name) && domain.is_none_or(domain_is_good)
}

fn is_value(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = [value.bytes().next(), value.bytes().next_back()];
    let ends_are_good = ends.into_iter().flatten().all(|byte| byte.is_ascii_alphanumeric());
    value.len() <= 63 && value.bytes().all(inner) && ends_are_good
}
