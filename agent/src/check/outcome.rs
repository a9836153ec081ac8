//! The outcome of one check of a cluster or a machine: how it stands, what was seen, and what to do.

use std::fmt;

use serde::Serialize;

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// As it must be.
    Ok,
    /// Heddle runs, and something that it could do is missing.
    Warning,
    /// Heddle would not run, or would not do what it is for.
    Error,
    /// It could not be asked.
    NotChecked,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// How it stands.
    pub standing: Standing,
    /// What was checked.
    pub check: String,
    /// What was seen.
    pub seen: String,
    /// What to do; absent where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Outcome {
    pub(super) fn ok(check: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { standing: Standing::Ok, check: check.into(), seen: seen.into(), remedy: None }
    }

    pub(super) fn warning(check: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { standing: Standing::Warning, check: check.into(), seen: seen.into(), remedy }
    }

    pub(super) fn error(check: impl Into<String>, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { standing: Standing::Error, check: check.into(), seen: seen.into(), remedy }
    }

    pub(super) fn not_checked(check: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { standing: Standing::NotChecked, check: check.into(), seen: why.into(), remedy }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::NotChecked => "not checked",
        })
    }
}

/// What was checked, what was seen, and the remedy, on one line.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.seen)?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}
