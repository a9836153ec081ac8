//! What the compiler could not honour, on which object.

use std::fmt;

use serde::Serialize;

use crate::objects::ObjectKey;

/// The object that a problem is about, as `Pod shop/web-1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef(pub ObjectKey);

/// One thing that could not be honoured, and what was done instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeshProblem {
    /// The object to change.
    #[serde(serialize_with = "as_text")]
    pub object: ObjectRef,
    /// What was found, what is allowed, what the mesh does meanwhile.
    pub message: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MeshProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.message)
    }
}

fn as_text<S: serde::Serializer>(object: &ObjectRef, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(object)
}
