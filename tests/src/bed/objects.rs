//! The Kubernetes objects of a bed: plain YAML in a directory that its agents watch, one file per object, replaced
//! atomically; or objects of an API server.
//!
//! Files are written aside, in a directory that no agent watches, and renamed into place: a reader sees the old object
//! or the new one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::kubernetes::{ApiServer, fresh};

/// The objects of a bed; clones are the same objects.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Inner>,
}

struct Inner {
    watched: PathBuf,
    aside: PathBuf,
    /// Where the objects are instead of the directory.
    api: Option<Arc<ApiServer>>,
    namespaces: Mutex<BTreeSet<String>>,
    serial: AtomicU32,
}

impl Objects {
    pub(super) fn below(directory: &Path, api: Option<Arc<ApiServer>>) -> Self {
        let (watched, aside) = (directory.join("objects"), directory.join("objects-aside"));
        let (namespaces, serial) = (Mutex::default(), AtomicU32::new(1));
        Self { inner: Arc::new(Inner { watched, aside, api, namespaces, serial }) }
    }

    pub(super) fn make(&self) -> Result<()> {
        for directory in [&self.inner.watched, &self.inner.aside] {
            fs::create_dir(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        Ok(())
    }

    /// The directory that agents watch; it stays empty in a bed with an API server.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.inner.watched
    }

    /// Writes or replaces an object: in the API server, or in the file that its kind, namespace and name give.
    pub fn put(&self, object: &Value) -> Result<()> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if let Some(api) = &self.inner.api {
            ensure_exists(api, "Namespace", "", text("/metadata/namespace"))?;
            return api.put(object).map(drop);
        }
        let file = file_name(text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        let yaml = serde_saphyr::to_string(object).with_context(|| format!("writing {file} as YAML"))?;
        self.put_text(&file, &yaml)
    }

    /// Removes an object; one that is not there is an error. Cluster-wide kinds have the namespace "".
    pub fn remove(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        if let Some(api) = &self.inner.api {
            return api.delete(kind, namespace, name);
        }
        let path = self.inner.watched.join(file_name(kind, namespace, name));
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }

    /// Writes or replaces a file with any content.
    pub fn put_text(&self, file: &str, text: &str) -> Result<()> {
        if self.inner.api.is_some() {
            bail!("{file}: a bed with an API server has no files");
        }
        let serial = self.serial();
        let (aside, place) = (self.inner.aside.join(format!("{serial}-{file}")), self.inner.watched.join(file));
        fs::write(&aside, text).with_context(|| format!("writing {}", aside.display()))?;
        fs::rename(&aside, &place).with_context(|| format!("moving {} to {}", aside.display(), place.display()))
    }

    /// Writes a Namespace with `heddle.io/mesh` enabled or disabled, or without that label.
    pub fn put_namespace(&self, name: &str, mesh: Option<bool>) -> Result<()> {
        self.inner.namespaces.lock().insert(name.to_owned());
        let mut labels = json!({"kubernetes.io/metadata.name": name});
        if let Some(enrolled) = mesh {
            labels["heddle.io/mesh"] = json!(if enrolled { "enabled" } else { "disabled" });
        }
        self.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}))
    }

    /// Writes a Namespace that is part of the mesh unless it was written before.
    pub(super) fn ensure_namespace(&self, name: &str) -> Result<()> {
        if self.inner.namespaces.lock().contains(name) {
            return Ok(());
        }
        self.put_namespace(name, Some(true))
    }

    /// Sees to the service account of a pod, without which a real cluster would not take the pod.
    pub(super) fn ensure_service_account(&self, namespace: &str, name: &str) -> Result<()> {
        self.inner.api.as_ref().map_or(Ok(()), |api| ensure_exists(api, "ServiceAccount", namespace, name))
    }

    pub(super) fn fresh_uid(&self) -> String {
        if self.inner.api.is_some() {
            return fresh::uid();
        }
        format!("00000000-0000-4000-8000-{:012x}", self.serial())
    }

    /// A number that no object of this bed had before.
    pub(super) fn serial(&self) -> u32 {
        self.inner.serial.fetch_add(1, Ordering::Relaxed)
    }
}

/// Creates a bare object unless it is there; one with an empty name needs not be.
fn ensure_exists(api: &ApiServer, kind: &str, namespace: &str, name: &str) -> Result<()> {
    if name.is_empty() || api.get(kind, namespace, name).is_some() {
        return Ok(());
    }
    let mut metadata = json!({"name": name});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    api.put(&json!({"apiVersion": "v1", "kind": kind, "metadata": metadata})).map(drop)
}

fn file_name(kind: &str, namespace: &str, name: &str) -> String {
    let parts = [kind, namespace, name].map(str::to_lowercase);
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}.yaml", parts.join("-"))
}
