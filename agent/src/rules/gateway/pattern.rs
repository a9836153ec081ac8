//! Regular expressions of match values, compiled once, when the document is read.

use std::{fmt, sync::Arc};

use regex::bytes::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};

/// Of one compiled expression and of its cache on each thread, in bytes: a route may have thousands of expressions,
/// and must not fill a node.
const MAX_COMPILED: usize = 64 << 10;

/// An expression that a value has to match as a whole. The syntax is that of the `regex` crate over bytes, close to
/// RE2's, which other meshes have: `\d`, `\w` and `(?i)` mean ASCII, time is linear in the value, and there are neither
/// back references nor look-around. Two are equal when they are written alike.
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    whole: Regex,
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Why it does not compile, in one line.
    pub fn new(source: &str) -> Result<Self, String> {
        // By itself first: `a)|(b` is none, and would become one in the group below.
        compile(source)?;
        let whole = compile(&format!("^(?:{source})$"))?;
        Ok(Self { source: source.into(), whole })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the whole of a value matches.
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.whole.is_match(value)
    }
}

fn compile(source: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(source);
    builder.unicode(false).size_limit(MAX_COMPILED).dfa_size_limit(MAX_COMPILED);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes when compiled"),
        // The crate draws the expression with a pointer, and names the reason in the last line.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    })
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.source).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_whole_value_has_to_match() {
        for (source, value, matches) in [
            ("a|b+", "a", true),
            ("a|b+", "bb", true),
            ("a|b+", "ab", false),
            ("a|b+", "xa", false),
            ("a|b+", "a\n", false),
            ("a|b+", "", false),
            ("^/v[0-9]+$", "/v12", true),
            ("(?i)on", "ON", true),
            (r"\d", "7", true),
            (r"\d", "\u{0667}", false),
            ("h.+llo", "h\u{e9}llo", true),
        ] {
            let pattern = Pattern::new(source).unwrap();
            assert_eq!(pattern.is_match(value.as_bytes()), matches, "{source} {value:?}");
        }
    }

    #[test]
    fn expressions_of_common_size_compile() {
        for source in [
            r"/users/\w+/orders/\d{1,10}(/.*)?",
            "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            ".{0,200}",
            r"(\w+\.){1,8}\w+",
        ] {
            assert!(Pattern::new(source).is_ok(), "{source}");
        }
    }

    #[test]
    fn what_does_not_compile_is_refused_with_the_reason() {
        for (source, reason) in [
            ("(", "unclosed group"),
            ("a)|(b", "unopened group"),
            ("(?=a)", "look-around, including look-ahead and look-behind, is not supported"),
            (r"(a)\1", "backreferences are not supported"),
            (r"\w{2000}", "it needs more than 65536 bytes when compiled"),
        ] {
            assert_eq!(Pattern::new(source).unwrap_err(), reason, "{source}");
        }
    }
}
