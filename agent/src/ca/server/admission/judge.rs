//! What agents would say of a ConfigMap: the compiler and the findings of `heddle check`, on this one object.
//!
//! What the documents refer to may come later, or be there already; so only what is wrong in the ConfigMap itself is an
//! error, as it is for `heddle check` of a file with nothing else in it.

use std::sync::Arc;

use crate::{
    check::{Finding, Severity, check, refusals},
    config::yaml,
    mesh::MeshSettings,
    objects::{ConfigMap, Object, ObjectSet},
};

/// What is answered.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Why it is refused, if it is.
    pub(super) refusal: Option<Refusal>,
    /// One line each.
    pub(super) warnings: Vec<String>,
}

/// Why it is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) errors: usize,
    /// The first reason.
    pub(super) first: String,
    /// All reasons, or as many as fit, for whoever applied it.
    pub(super) message: String,
}

/// Judges. Texts that were there before are not refused, since labels and annotations of a ConfigMap must be changeable also
/// where a newer build thinks less of its texts.
pub(super) fn judge(map: ConfigMap, settings: &MeshSettings, was_so_before: bool) -> Verdict {
    let name = map.name.clone();
    let bytes: usize = map.data.values().map(|text| text.len()).sum();
    let documents: usize = map.data.values().map(|text| yaml::split(text).len()).sum();
    if documents > MOST_DOCUMENTS {
        return Verdict { refusal: None, warnings: vec![TOO_MANY_DOCUMENTS.to_owned()] };
    }
    let mut set = ObjectSet::default();
    set.insert(Object::ConfigMap(Arc::new(map)));
    let whole = bytes <= MOST_LINTED;
    let findings = if whole { check(&set, &[], settings) } else { refusals(&set, &[], settings) }.findings;
    let (errors, warnings): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error && !was_so_before);
    let refusal = errors.first().map(|first| Refusal {
        errors: errors.len(),
        first: cut(in_one_line(first), MOST_IN_LOG),
        message: message(&format!("agents would reject ConfigMap {name}"), &errors),
    });
    let mut warnings = warnings_of(&warnings);
    warnings.extend((!whole).then(|| TOO_LARGE_FOR_LINTS.to_owned()));
    Verdict { refusal, warnings }
}

fn message(head: &str, errors: &[Finding]) -> String {
    let mut message = head.to_owned();
    for (index, error) in errors.iter().enumerate() {
        let text = error.to_string();
        let text = text.trim_end();
        if index == MOST_ERRORS || (index > 0 && message.len() + text.len() > LONGEST_MESSAGE) {
            message.push_str(&format!("\nand {} more; `heddle check` tells all of them", errors.len() - index));
            break;
        }
        message.push('\n');
        message.push_str(text);
    }
    cut(message, LONGEST_MESSAGE + MOST_OF_WARNING)
}

fn warnings_of(findings: &[Finding]) -> Vec<String> {
    let shown = if findings.len() > MOST_WARNINGS { MOST_WARNINGS - 1 } else { findings.len() };
    let mut lines: Vec<_> =
        findings[..shown].iter().map(|finding| cut(in_one_line(finding), MOST_OF_WARNING)).collect();
    if shown < findings.len() {
        lines.push(format!("and {} more warnings; `heddle check` tells all of them", findings.len() - shown));
    }
    lines
}

/// The place as short as can be, since a warning is cut: the ConfigMap is the one that was just written.
fn in_one_line(finding: &Finding) -> String {
    let key = finding.place.as_deref().and_then(|place| place.rsplit_once(", key ")).map_or("", |(_, key)| key);
    let place = match finding.line {
        Some(line) => format!("{key}:{line}: "),
        None => String::new(),
    };
    let object = finding.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    // It goes into a header.
    let text = format!("{place}{object}{}", finding.message);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most so many characters, and a sign that there were more.
fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// What agents would reject is found in a second in so many; whoever has more is told by the agents.
const MOST_DOCUMENTS: usize = 2_000;
const TOO_MANY_DOCUMENTS: &str = "more than 2000 documents are not judged here; `heddle check` judges them";

/// Bytes of text. Some findings are about documents in pairs.
const MOST_LINTED: usize = 128 * 1024;
const TOO_LARGE_FOR_LINTS: &str = "more than 128 KiB: only errors were looked for; `heddle check` has the warnings";

/// More than this, nobody reads in a terminal.
const MOST_ERRORS: usize = 20;

/// An API server hands on the message whole; kubectl prints it.
const LONGEST_MESSAGE: usize = 8 * 1024;

/// For the line of the log, which may quote what was found.
const MOST_IN_LOG: usize = 400;

/// Kubernetes asks for few warnings, of at most 120 characters, and drops those beyond 4 KiB in all.
const MOST_WARNINGS: usize = 5;
const MOST_OF_WARNING: usize = 120;
