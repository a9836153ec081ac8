//! What became of a document, in the form that logs, metrics, Events and `heddle status` show.

use std::{fmt, sync::Arc};

use crate::{
    config::{Position, Problem},
    objects::ObjectName,
    rules::{RuleKey, RuleKind},
};

/// One document and its fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentStatus {
    /// The ConfigMap that it is in; without a namespace it is a file.
    pub config_map: ObjectName,
    /// `metadata.uid` of the ConfigMap.
    pub uid: Option<Arc<str>>,
    /// The key under `data`; empty for a file.
    pub data_key: String,
    /// Where it begins in that text.
    pub position: Position,
    /// What it defines, as far as that could be read.
    pub rule: Option<RuleKey>,
    /// Its fate.
    pub state: DocumentState,
}

/// The fate of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentState {
    /// In force.
    Accepted,
    /// Not in force as it is.
    Rejected {
        /// Why, with places in its text.
        problems: Arc<[Problem]>,
        /// Whether an earlier version of it is in force.
        last_good_in_force: bool,
    },
    /// Another document defines the same object, and came first.
    Conflict {
        /// Where that one is.
        winner: String,
    },
}

impl DocumentState {
    /// The label of `heddle_documents{state}`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected { .. } => "rejected",
            Self::Conflict { .. } => "conflict",
        }
    }
}

impl DocumentStatus {
    /// Where it is, in words.
    pub fn place(&self) -> String {
        super::text::label(&self.config_map, &self.data_key)
    }

    /// Whether a workload may be open to more clients than its owner wrote: a refused AuthorizationPolicy without an
    /// earlier version in force.
    pub fn leaves_workloads_open(&self) -> bool {
        let is_policy = self.rule.as_ref().is_some_and(|rule| rule.kind == RuleKind::AuthorizationPolicy);
        is_policy && matches!(self.state, DocumentState::Rejected { last_good_in_force: false, .. })
    }
}

/// What to say about a document that is not in force as written; one line for each problem.
impl fmt::Display for DocumentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        match &self.rule {
            Some(rule) => write!(f, "{rule} ({place}, line {}) ", self.position.line)?,
            None => write!(f, "document at line {} of {place} ", self.position.line)?,
        }
        match &self.state {
            DocumentState::Accepted => f.write_str("is in force"),
            DocumentState::Conflict { winner } => {
                write!(f, "is not in force: {winner} defines the same object and came first; remove one of the two")
            }
            DocumentState::Rejected { problems, last_good_in_force } => {
                f.write_str(match last_good_in_force {
                    true => "is rejected, its last accepted version stays in force:",
                    false => "is rejected, nothing of it is in force:",
                })?;
                problems.iter().try_for_each(|problem| write!(f, "\n{problem}"))
            }
        }
    }
}
