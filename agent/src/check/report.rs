//! Findings in the form that people and machines read.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    config::{Problem, pointed_at},
    mesh::{DocumentStatus, MeshProblem},
    objects::ObjectSet,
};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// An agent would refuse it.
    Error,
    /// An agent would take it, and it is surely not meant.
    Warning,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The object or document, as `HTTPRoute shop/web`; absent where it cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The file, or the ConfigMap and its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What was found, what is allowed, what to do.
    pub message: String,
    /// The source line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Objects that were read, by kind.
    pub objects: BTreeMap<&'static str, usize>,
    /// Mesh documents that an agent would put in force.
    pub accepted: usize,
    /// Kinds that documents refer to and that the input has no object of, so that no reference to them was checked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unchecked: Vec<&'static str>,
    /// Errors first, then by place.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// A document that cannot be read.
    pub(super) fn unreadable(problem: &Problem) -> Self {
        Self::at(Severity::Error, None, problem)
    }

    /// An object that cannot be honoured whole.
    pub(super) fn of_object(problem: &MeshProblem) -> Self {
        Self {
            severity: Severity::Error,
            object: Some(problem.object.to_string()),
            place: None,
            line: None,
            column: None,
            message: problem.message.clone(),
            snippet: None,
        }
    }

    /// One reason why a mesh document is refused.
    pub(super) fn rejected(status: &DocumentStatus, problem: &Problem) -> Self {
        Self::at(Severity::Error, status.rule.as_ref().map(ToString::to_string), problem)
    }

    /// A mesh document that another one stands in the way of.
    pub(super) fn conflict(status: &DocumentStatus) -> Self {
        Self::about(Severity::Error, status, status.to_string())
    }

    /// What concerns a document as a whole.
    pub(super) fn about(severity: Severity, status: &DocumentStatus, message: String) -> Self {
        Self {
            severity,
            object: status.rule.as_ref().map(ToString::to_string),
            place: Some(status.place()),
            line: Some(status.position.line),
            column: Some(status.position.column),
            message,
            snippet: None,
        }
    }

    /// What concerns a place.
    pub(super) fn at(severity: Severity, object: Option<String>, problem: &Problem) -> Self {
        Self {
            severity,
            object,
            place: Some(problem.file.to_string()),
            line: problem.position.map(|position| position.line),
            column: problem.position.map(|position| position.column),
            message: problem.message.clone(),
            snippet: problem.snippet.clone(),
        }
    }
}

impl Report {
    pub(super) fn new(objects: &ObjectSet) -> Self {
        let objects = objects.counts().into_iter().map(|(kind, count)| (kind.as_str(), count)).collect();
        Self { objects, ..Self::default() }
    }

    /// Adds findings and keeps them in order.
    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
        self.findings.sort_by(|a, b| {
            (a.severity, &a.place, a.line, a.column, &a.object)
                .cmp(&(b.severity, &b.place, b.line, b.column, &b.object))
        });
    }

    /// Adds what no agent would read, and is surely meant for it: see [`crate::objects::unlabelled`].
    pub fn add_unlabelled(&mut self, problems: &[Problem]) {
        self.extend(problems.iter().map(|problem| Finding::at(Severity::Warning, None, problem)));
    }

    /// How many findings there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// As compilers print it: severity and message, then the place, then the source line with a caret below it.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = self.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
        writeln!(f, "{}: {object}{}", self.severity, self.message)?;
        let Some(place) = &self.place else { return Ok(()) };
        let (Some(line), Some(column)) = (self.line, self.column) else { return writeln!(f, "  --> {place}") };
        writeln!(f, "  --> {place}:{line}:{column}")?;
        let Some(snippet) = &self.snippet else { return Ok(()) };
        writeln!(f, "{}", pointed_at(line, column, snippet))
    }
}
