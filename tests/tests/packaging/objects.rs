//! Kubernetes objects out of YAML, in a form in which they can be compared.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Objects by kind and name.
pub(crate) type Objects = BTreeMap<String, Value>;

/// All documents of a text that are not empty.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for document in split(text) {
        let value: Value = serde_saphyr::from_str(&document).with_context(|| document.clone())?;
        if !value.is_null() {
            all.push(value);
        }
    }
    Ok(all)
}

/// The objects of a text, none of them twice.
pub(crate) fn objects(text: &str) -> Result<Objects> {
    let mut all = Objects::new();
    for object in documents(text)? {
        let name = key(&object);
        ensure!(all.insert(name.clone(), object).is_none(), "{name} is there twice");
    }
    Ok(all)
}

/// `Deployment/heddle-ca`.
pub(crate) fn key(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{}/{}", word(&object["kind"]), word(&object["metadata"]["name"]))
}

/// The data of a `ConfigMap`, each of whose values is YAML, as values.
pub(crate) fn with_data_read(mut object: Value) -> Result<Value> {
    if let Some(data) = object.get_mut("data").and_then(Value::as_object_mut) {
        for text in data.values_mut() {
            *text = documents(text.as_str().context("not a text")?)?.into();
        }
    }
    Ok(object)
}

fn split(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        match line.trim_end() {
            "---" => all.push(String::new()),
            _ => all.last_mut().into_iter().for_each(|document| *document += &format!("{line}\n")),
        }
    }
    all.retain(|document| document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')));
    all
}
