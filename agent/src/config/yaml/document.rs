//! A file as the documents in it.
//!
//! A file is cut at its `---` lines before it is parsed, as kubectl does, so that a syntax error in one document does
//! not take the others with it.

use super::{Node, node::SyntaxError};
use crate::config::{Position, Problem};

/// One document of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'a> {
    /// Its part of the text.
    pub(crate) text: &'a str,
    /// How many lines of the file come before it.
    pub(crate) first_line: usize,
}

/// The documents of a file, without those that hold only comments and blanks.
pub(crate) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if is_separator(line) {
            documents.push(Document { text: &text[start..offset], first_line: start_line });
            (start, start_line) = (offset, number);
        }
        offset += line.len();
    }
    documents.push(Document { text: &text[start..], first_line: start_line });
    documents.retain(|document| !is_blank(document.text));
    documents
}

impl Document<'_> {
    /// The tree of this document, with places counted from the start of the file; `whole` is the file's text.
    pub(crate) fn parse(&self, file: &str, whole: &str) -> Result<Node, Problem> {
        let mut node = Node::parse(self.text).map_err(|SyntaxError { position, message }| {
            let message = format!("cannot be read as YAML: {message}");
            let position = position.unwrap_or(Position { line: 1, column: 1 });
            Problem::at(file, whole, self.moved(position), message)
        })?;
        node.move_down(self.first_line);
        Ok(node)
    }

    fn moved(&self, position: Position) -> Position {
        Position { line: position.line + self.first_line, ..position }
    }
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = if is_separator(line) { &line[3..] } else { line };
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "..."
    })
}
