//! How objects look in answers: whole, or as their metadata only; and which media types are served.

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::resource::Resource;

/// What the client wants of each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
}

impl Shape {
    /// Reads an `Accept` header: the first media type that the server has.
    pub(super) fn accepted(accept: &str) -> Result<Self, Failure> {
        let mut types = accept.split(',').map(str::trim).filter(|media_type| !media_type.is_empty()).peekable();
        if types.peek().is_none() {
            return Ok(Self::Whole);
        }
        types.find_map(Self::of_media_type).ok_or_else(|| Failure::not_acceptable(accept))
    }

    fn of_media_type(media_type: &str) -> Option<Self> {
        let mut parts = media_type.split(';').map(str::trim);
        if !["application/json", "application/*", "*/*"].contains(&parts.next()?) {
            return None;
        }
        match parts.find_map(|part| part.strip_prefix("as=")) {
            None => Some(Self::Whole),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Self::Metadata),
            // Tables, for example; kubectl names plain JSON after them.
            Some(_) => None,
        }
    }

    /// One object, with its kind.
    pub(super) fn object(self, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            }),
        }
    }

    /// One item of a list. The list has the kind; its items have none.
    pub(super) fn item(self, object: &Value) -> Value {
        match self {
            Self::Whole => {
                let fields = object.as_object().into_iter().flatten();
                let kept = fields.filter(|(key, _)| !["kind", "apiVersion"].contains(&key.as_str()));
                Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>())
            }
            Self::Metadata => json!({"metadata": object["metadata"]}),
        }
    }

    /// A list around its items.
    pub(super) fn list(self, resource: &Resource, metadata: &Value, items: Vec<Value>) -> Value {
        let (kind, api_version) = match self {
            Self::Whole => (format!("{}List", resource.kind), resource.api_version()),
            Self::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
        };
        let mut list = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        list["items"] = Value::Array(items);
        list
    }

    /// The object of a bookmark: its kind and a version.
    pub(super) fn bookmark(self, resource: &Resource, version: u64, ends_initial: bool) -> Value {
        let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        self.object(&object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_media_type_that_is_served_counts() {
        let cases = [
            ("", Some(Shape::Whole)),
            ("*/*", Some(Shape::Whole)),
            ("application/vnd.kubernetes.protobuf, application/json", Some(Shape::Whole)),
            ("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", Some(Shape::Metadata)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some(Shape::Whole)),
            ("application/vnd.kubernetes.protobuf", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(Shape::accepted(accept).ok(), expected, "{accept}");
        }
    }
}
