//! The rules for Rust files: size, header, whitespace, lint exceptions.
//!
//! It reads lines and not syntax: a rule that needs a parser belongs into a lint.

use std::path::Path;

use super::{Breach, Files};

/// Checks one Rust file.
pub(super) fn check(path: &Path, text: &str, breaches: &mut Vec<Breach>) {
    check_size(path, text, breaches);
    if !has_header(text) {
        breaches.push(Breach::new(path, 1, "no `//!` header: say what the file is for, what comes in and out"));
    }
    for (index, line) in text.lines().enumerate() {
        let mut complain = |complaint: &str| breaches.push(Breach::new(path, index + 1, complaint));
        if line.ends_with([' ', '\t']) {
            complain("blank at the end of the line: run `cargo fmt --all`");
        }
        if line.contains('\t') {
            complain("tab: indent by spaces, and write \\t in strings");
        }
        if is_allow_attribute(line) {
            complain(
                "`allow` attribute: use `#[expect(lint, reason = \"...\")]`, which tells when it is needed no more",
            );
        }
    }
}

/// An exception that is no longer needed, or whose file has gone, is a breach too.
pub(super) fn check_exceptions(files: &Files, breaches: &mut Vec<Breach>) {
    for (name, _) in LONG_FILES {
        let needed =
            files.texts.iter().any(|(path, text)| path == Path::new(name) && size_without_tests(text) > MAX_LINES);
        if !needed {
            let complaint = format!("{name} is listed as a long file and is none: take it off the list");
            breaches.push(Breach::new(Path::new(file!()), 1, complaint));
        }
    }
}

fn check_size(path: &Path, text: &str, breaches: &mut Vec<Breach>) {
    let size = size_without_tests(text);
    let excepted = LONG_FILES.iter().any(|(name, _)| path == Path::new(name));
    // A file of tests alone is as long as its cases are many.
    let is_tests = path.ends_with("tests.rs") || path.parent().is_some_and(|folder| folder.ends_with("tests"));
    if size > MAX_LINES && !excepted && !is_tests {
        let complaint = format!("{size} lines without tests, {MAX_LINES} are the most: split it by what it does");
        breaches.push(Breach::new(path, MAX_LINES + 1, complaint));
    }
}

/// Lines before the inline unit tests, which by our order of things come last.
fn size_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len()).find(|&index| begins_tests(&lines[index..])).unwrap_or(lines.len())
}

fn begins_tests(lines: &[&str]) -> bool {
    let is_marked = lines.first().is_some_and(|line| line.starts_with("#[cfg(test)]"));
    let item = lines.iter().find(|line| !line.starts_with('#'));
    is_marked && item.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
}

/// True when the first line, after attributes of the whole file, is a `//!` comment with words in it.
fn has_header(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_end);
    let mut line = lines.next();
    while let Some(attribute) = line.filter(|line| line.starts_with("#![") || line.starts_with("#!/")) {
        let mut last = attribute;
        while !last.ends_with(']') && !last.starts_with("#!/") {
            let Some(next) = lines.next() else { return false };
            last = next;
        }
        line = lines.find(|line| !line.is_empty());
    }
    line.and_then(|line| line.strip_prefix("//!")).is_some_and(|words| !words.trim().is_empty())
}

fn is_allow_attribute(line: &str) -> bool {
    let code = line.trim_start();
    let attribute = code.strip_prefix("#[").or_else(|| code.strip_prefix("#!["));
    attribute.is_some_and(|inner| {
        inner.starts_with("allow(") || (inner.starts_with("cfg_attr(") && inner.contains("allow("))
    })
}

const MAX_LINES: usize = 400;

/// Files that may be longer, each with the reason why splitting it would harm the reader.
const LONG_FILES: [(&str, &str); 0] = [];

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        let mut breaches = Vec::new();
        check(Path::new("agent/src/some.rs"), text, &mut breaches);
        breaches.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tidy_file_passes() {
        assert_eq!(
            complaints("#![no_std]\n#![expect(\n    x,\n    reason = \"y\"\n)]\n\n//! What for.\nfn f() {}\n"),
            [""; 0]
        );
    }

    #[test]
    fn each_breach_is_told_with_its_line() {
        let cases = [
            ("fn f() {}\n", "some.rs:1: no `//!`"),
            ("//!\nfn f() {}\n", "some.rs:1: no `//!`"),
            ("//! x\nfn f() {} \n", "some.rs:2: blank"),
            ("//! x\n\tfn f() {}\n", "some.rs:2: tab"),
            ("//! x\n#[allow(dead_code)]\n", "some.rs:2: `allow`"),
            ("//! x\n    #![allow(dead_code)]\n", "some.rs:2: `allow`"),
            ("//! x\n#[cfg_attr(test, allow(dead_code))]\n", "some.rs:2: `allow`"),
        ];
        for (text, expected) in cases {
            let told = complaints(text);
            assert_eq!(told.len(), 1, "{text:?} gives {told:?}");
            assert!(told[0].contains(expected), "{text:?} gives {told:?}, not {expected:?}");
        }
    }

    #[test]
    fn only_lines_before_the_tests_count() {
        let lines = |count: usize| format!("//! x\n{}", "// y\n".repeat(count - 1));
        assert_eq!(complaints(&lines(400)), [""; 0]);
        assert_eq!(complaints(&(lines(400) + "#[cfg(test)]\n#[expect(x)]\nmod tests {\n// z\n}\n")), [""; 0]);
        assert_eq!(complaints(&(lines(400) + "#[cfg(test)]\nmod tests;\n")).len(), 1, "tests elsewhere end nothing");
        let told = complaints(&lines(401));
        assert!(told.len() == 1 && told[0].contains("401 lines"), "{told:?}");
    }
}
