//! The rule for `unsafe`: every use of it is in the table of SECURITY.md, by file and number, with the reason why it is sound.
//!
//! It reads words and not syntax. What is in comments and in texts does not count.

use std::{collections::BTreeMap, path::Path};

use super::{Breach, Files};

/// The document with the table.
const DOCUMENT: &str = "SECURITY.md";
/// What stands above the table.
const HEADING: &str = "## Unsafe code";

/// Compares the table with the code.
pub(super) fn check(files: &Files, breaches: &mut Vec<Breach>) {
    let Some((_, document)) = files.named(DOCUMENT).next() else { return };
    let listed = listed(document);
    let sources = files.texts.iter().filter(|(path, _)| path.extension().is_some_and(|extension| extension == "rs"));
    for (path, text) in sources {
        let (found, known) = (count(text), listed.get(path.to_string_lossy().as_ref()).map_or(0, |(_, count)| *count));
        if found != known {
            let complaint = format!("has {found} unsafe, and {DOCUMENT} tells of {known}: say there why each is sound");
            breaches.push(Breach::new(path, 1, complaint));
        }
    }
    for (name, (line, _)) in listed {
        if !files.texts.iter().any(|(path, _)| path == Path::new(name)) {
            breaches.push(Breach::new(Path::new(DOCUMENT), line, format!("{name} is no file here")));
        }
    }
}

/// The rows of the table, `| FILE | NUMBER | REASON |`: their lines and numbers by file.
fn listed(document: &str) -> BTreeMap<&str, (usize, usize)> {
    let lines = document.lines().enumerate().skip_while(|(_, line)| *line != HEADING).skip(1);
    let rows = lines.take_while(|(_, line)| !line.starts_with("## ")).filter_map(|(index, line)| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`'), (index + 1, cells.next()?.trim().parse().ok()?)))
    });
    rows.collect()
}

/// How often the word is in the code of a file.
fn count(text: &str) -> usize {
    let words = |line: &str| {
        let code = without_texts(line);
        let code = code.split("//").next().unwrap_or_default();
        code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| *word == "unsafe").count()
    };
    text.lines().map(words).sum()
}

/// A line without what stands in quotation marks.
fn without_texts(line: &str) -> String {
    line.replace("\\\"", "").split('"').step_by(2).collect::<Vec<_>>().join("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_code_and_not_in_the_table_is_told_and_the_other_way_round() {
        let code = "//! unsafe\nlet x = unsafe { f(\"unsafe \\\" unsafe\") }; // unsafe\nunsafe impl A for B {}\n#[expect(unsafe_code)]\n";
        assert_eq!(count(code), 2);
        let told = |table: &str| {
            let document = format!(
                "# S\n| `b.rs` | 7 | before |\n{HEADING}\n\n| file | uses | why |\n|---|---|---|\n{table}## Else\n"
            );
            let texts =
                vec![("SECURITY.md".into(), document), ("a.rs".into(), code.into()), ("c.rs".into(), "".into())];
            let mut breaches = Vec::new();
            check(&Files { texts }, &mut breaches);
            breaches.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told("| `a.rs` | 2 | good reasons |\n"), [""; 0]);
        assert_eq!(told("").len(), 1);
        assert_eq!(told("| `a.rs` | 3 | good reasons |\n").len(), 1);
        assert_eq!(
            told("| `a.rs` | 2 | good |\n| `gone.rs` | 1 | reasons |\n"),
            ["SECURITY.md:8: gone.rs is no file here"]
        );
    }
}
