//! Why a pod could not be enrolled.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{KernelError, SandboxError};
use crate::privileges::explained;

/// Why a pod could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// The pod does not run on this node, or is not enrolled in the mesh.
    #[error("it has no network namespace on this node")]
    NotLocal,
    /// The network namespace could not be opened.
    #[error("open network namespace {path}: {source}", path = path.display())]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The network namespace was not found by the pod's uid.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// To capture the node's own traffic would cut the node off.
    #[error(
        "{path} is the node's own network namespace: a host-network pod cannot be enrolled, remove its label or correct heddle.io/netns",
        path = path.display()
    )]
    NodeNamespace {
        /// What the pod's annotation says.
        path: PathBuf,
    },
    /// Something inside the namespace could not be set up.
    #[error("{what}: {source}")]
    Inside {
        /// What was tried.
        what: &'static str,
        /// What happened.
        source: io::Error,
    },
    /// The kernel refused a map entry or a link.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl EnrolmentError {
    pub(super) fn namespace(path: &Path, error: io::Error) -> Self {
        Self::Namespace { path: path.to_owned(), source: explained(error) }
    }

    /// Whether it is only too early: the pod's processes are not there yet.
    pub fn is_early(&self) -> bool {
        matches!(self, Self::Sandbox(SandboxError::NotThere { .. }))
    }
}

/// Something that was tried inside a pod's namespace, and failed.
pub(super) fn inside(what: &'static str) -> impl Fn(io::Error) -> EnrolmentError {
    move |error| EnrolmentError::Inside { what, source: explained(error) }
}
