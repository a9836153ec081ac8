//! An image in one tar archive that two worlds read: an OCI image layout (image-spec, "OCI Image Layout"), with the `manifest.json` of
//! `docker save` beside it over the same blobs.

use std::{collections::BTreeMap, io::Write};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    layer::{Blob, Layer},
    platform::Platform,
    reference::Reference,
    tar::Tree,
};

/// What an image is beside its layers.
pub(super) struct Image<'a> {
    pub(super) reference: &'a Reference,
    pub(super) platform: Platform,
    /// RFC 3339.
    pub(super) created: &'a str,
    /// `org.opencontainers.image.*`.
    pub(super) labels: BTreeMap<&'static str, String>,
}

/// An archive, and the name of what is in it.
pub(super) struct Archive {
    /// Of the manifest: by which a registry has the image, and a pod may name it.
    pub(super) digest: String,
    tree: Tree,
}

impl Image<'_> {
    /// Puts the layers, lowest first, into an archive.
    pub(super) fn archive(&self, layers: Vec<Layer>) -> Archive {
        let config = json_blob(&self.config(&layers));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": layers.iter().map(|layer| descriptor(LAYER, &layer.blob)).collect::<Vec<_>>(),
            "annotations": self.labels,
        });
        let manifest = json_blob(&manifest);
        let for_docker = json!([{
            "Config": path(&config),
            "RepoTags": [self.reference.short()],
            "Layers": layers.iter().map(|layer| path(&layer.blob)).collect::<Vec<_>>(),
        }]);
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [self.entry(&manifest)]});
        let mut tree = Tree::default();
        tree.file("oci-layout", 0o644, json!({"imageLayoutVersion": "1.0.0"}).to_string());
        tree.file("index.json", 0o644, index.to_string());
        tree.file("manifest.json", 0o644, for_docker.to_string());
        let digest = format!("sha256:{}", manifest.digest);
        for blob in layers.into_iter().map(|layer| layer.blob).chain([config, manifest]) {
            tree.file(&path(&blob), 0o644, blob.bytes);
        }
        Archive { digest, tree }
    }

    fn config(&self, layers: &[Layer]) -> Value {
        let history =
            |layer: &Layer| json!({"created": self.created, "created_by": "cargo xtask image", "comment": layer.what});
        json!({
            "created": self.created,
            "architecture": self.platform.architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": ["/usr/bin/heddle"],
                "Cmd": ["agent"],
                "Env": ["PATH=/usr/bin"],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect::<Vec<_>>(),
            },
            "history": layers.iter().map(history).collect::<Vec<_>>(),
        })
    }

    fn entry(&self, manifest: &Blob) -> Value {
        let mut entry = descriptor(MANIFEST, manifest);
        entry["platform"] = json!({"architecture": self.platform.architecture(), "os": "linux"});
        // The first is containerd's own, which goes by the full name; the second the specification's.
        entry["annotations"] = json!({
            "io.containerd.image.name": self.reference.full(),
            "org.opencontainers.image.ref.name": self.reference.version(),
        });
        entry
    }
}

impl Archive {
    pub(super) fn write(&self, to: impl Write) -> Result<()> {
        self.tree.write(to)
    }
}

fn json_blob(value: &Value) -> Blob {
    Blob::new(value.to_string().into_bytes())
}

fn descriptor(kind: &str, blob: &Blob) -> Value {
    json!({"mediaType": kind, "digest": format!("sha256:{}", blob.digest), "size": blob.bytes.len()})
}

fn path(blob: &Blob) -> String {
    format!("blobs/sha256/{}", blob.digest)
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
