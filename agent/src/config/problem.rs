//! What is wrong with a configuration file or a Kubernetes document, and where, in the form that people read.
//!
//! Lines and columns count from 1. A problem carries its own source line, so that it can be printed long after the
//! file has changed.

use std::{fmt, sync::Arc};

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counts from 1.
    pub line: usize,
    /// Counts characters from 1.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// File name as it was given.
    pub file: Arc<str>,
    /// Where in the file; `None` where the file as a whole is meant.
    pub position: Option<Position>,
    /// What was found, what is allowed, what to do.
    pub message: String,
    /// The source line at `position`.
    pub snippet: Option<String>,
}

/// Everything that is wrong with one file, in the order of the file. A command that gets this ends with
/// [`Problems::EXIT_CODE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problem {
    /// A problem of the file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.into(), position: None, message: message.into(), snippet: None }
    }

    /// A problem at a place in `text`, the whole content of the file.
    pub fn at(file: &str, text: &str, position: Position, message: impl Into<String>) -> Self {
        Self::in_line(file, text.lines().nth(position.line.saturating_sub(1)), position, message)
    }

    /// The same with the line of the text that it is in.
    pub(super) fn in_line(file: &str, line: Option<&str>, position: Position, message: impl Into<String>) -> Self {
        // A text may be one line of a megabyte with a problem in every eighth byte.
        let snippet = line.filter(|line| line.len() <= LONGEST_SNIPPET).map(str::to_owned);
        Self { file: file.into(), position: Some(position), message: message.into(), snippet }
    }
}

/// Bytes of a source line that is shown; a longer one says nothing to people.
const LONGEST_SNIPPET: usize = 1024;

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Position { line, column }) = self.position else {
            return write!(f, "{}: {}", self.file, self.message);
        };
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        let Some(snippet) = &self.snippet else { return Ok(()) };
        write!(f, "\n{}", pointed_at(line, column, snippet))
    }
}

/// A source line with its number, and below it a caret under the column.
pub(crate) fn pointed_at(line: usize, column: usize, snippet: &str) -> String {
    let number = line.to_string();
    // Tabs stay tabs in the pointer line, so that the caret lands below its character.
    let before: String =
        snippet.chars().take(column.saturating_sub(1)).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("  {number} | {snippet}\n  {:width$} | {before}^", "", width = number.len())
}

impl Problems {
    /// Exit status of a command that found problems in its configuration.
    pub const EXIT_CODE: u8 = 1;

    /// Sorts by place. `None` if the list is empty.
    pub fn new(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|problem| problem.position);
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// One after the other, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// The same with only those source lines that may be shown.
    #[must_use]
    pub(super) fn showing(mut self, may_show: impl Fn(usize) -> bool) -> Self {
        for problem in &mut self.0 {
            problem.snippet.take_if(|_| !problem.position.is_some_and(|position| may_show(position.line)));
        }
        self
    }

    /// How many there are, never 0.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
