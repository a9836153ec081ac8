//! The terminal: lines of at most 80 columns, with colours on a terminal only (`NO_COLOR` turns them off).
//!
//! A reader who has gone away is no reason to leave a half-built mesh behind: failures to print are ignored, the demo
//! runs on to its end and cleans up.

use std::io::{IsTerminal, Write};

/// Columns of text, so that nothing touches the right edge of a terminal of 80.
pub(super) const WIDTH: usize = 78;

/// Where the story is printed.
pub(super) struct Screen {
    silent: bool,
    colours: bool,
}

/// How a piece of text looks.
#[derive(Clone, Copy)]
pub(super) enum Look {
    /// Headings.
    Strong,
    /// What the eye may skip.
    Faint,
    /// An expectation that holds.
    Good,
    /// One that does not.
    Bad,
    /// A name or a value that matters.
    Accent,
}

impl Screen {
    pub(super) fn new(silent: bool, no_colours: bool) -> Self {
        let unwanted = no_colours || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { silent, colours: !unwanted && std::io::stdout().is_terminal() }
    }

    /// Prints a line as it is.
    pub(super) fn line(&self, text: &str) {
        if !self.silent {
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
        }
    }

    /// The text in a look, if there are colours at all.
    pub(super) fn paint(&self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Strong => "1",
            Look::Faint => "2",
            Look::Good => "32",
            Look::Bad => "1;31",
            Look::Accent => "36",
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Breaks text into lines of at most `width` columns, at spaces; a longer word has a line of its own.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_at_spaces_and_never_within_a_word() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("a spiffe://cluster.local/x b", 5), ["a", "spiffe://cluster.local/x", "b"]);
        assert_eq!(wrap("", 5), Vec::<String>::new());
    }
}
