//! YAML and JSON as a tree in which every node knows its place, and a typed reader over it.
//!
//! `serde` stops at the first error; walking a tree finds all of them in one pass, with the keys that are allowed
//! at each level known. Used for `agent.yaml` and for Kubernetes documents.

mod document;
mod node;
mod reader;

pub(crate) use document::{Document, split};
pub(crate) use node::{Entry, Node, Value};
pub(crate) use reader::{MapReader, Report, nearest};
