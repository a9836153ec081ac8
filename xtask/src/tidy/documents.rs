//! The rules for Markdown: relative links lead to files, no blank at a line's end.
//!
//! Links to other sites are not followed: a test must not depend on someone else's server. Anchors are not checked.

use std::path::Path;

use super::Breach;

/// Checks one document; `root` is where its path starts.
pub(super) fn check(root: &Path, path: &Path, text: &str, breaches: &mut Vec<Breach>) {
    let folder = root.join(path.parent().unwrap_or(Path::new("")));
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            breaches.push(Breach::new(path, index + 1, "blank at the end of the line: remove it"));
        }
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in relative_links(line) {
            let base = if target.starts_with('/') { root } else { &folder };
            if !base.join(target.trim_start_matches('/')).exists() {
                breaches.push(Breach::new(path, index + 1, format!("link to {target}, which does not exist")));
            }
        }
    }
}

/// The targets of `[text](target)` and `[name]: target` that name files, without their anchors.
fn relative_links(line: &str) -> impl Iterator<Item = &str> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let definition = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target.trim());
    inline
        .chain(definition)
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .filter_map(|target| target.split('#').next().filter(|file| !file.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        let mut breaches = Vec::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        check(root, Path::new("src/README.md"), text, &mut breaches);
        breaches.iter().map(|breach| breach.complaint.clone()).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "[a](main.rs) [b](tidy/mod.rs#rules) [c](/Cargo.toml) [d](https://example.org/x) [e](#here)\n\
            [f]: ../Cargo.toml\n\
            ```\n[not a link](nowhere.md)\n```\n";
        assert_eq!(complaints(text), [""; 0]);
    }

    #[test]
    fn dead_links_are_told() {
        let told = complaints("see [a](main.rs) and [b](gone.md) and\n[c]: gone/too.md#part\n");
        assert_eq!(told, ["link to gone.md, which does not exist", "link to gone/too.md, which does not exist"]);
    }
}
