//! The rule for manifests: a crate in the workspace's list is used by a member, or leaves the list.
//!
//! It reads the manifests' lines and takes the layout for granted that ours have: one table, then one crate a line.

use std::path::Path;

use super::{Breach, Files};

/// Checks the workspace's list against the manifests of the members.
pub(super) fn check(files: &Files, breaches: &mut Vec<Breach>) {
    let manifests: Vec<(&Path, &str)> = files.named("Cargo.toml").collect();
    let Some((root, list)) = manifests.iter().find(|(path, _)| *path == Path::new("Cargo.toml")) else { return };
    let used: Vec<&str> = manifests.iter().flat_map(|(_, text)| inherited(text)).collect();
    for (line, name) in listed(list) {
        if !used.contains(&name) {
            let complaint = format!("no member uses {name}: take it off [workspace.dependencies]");
            breaches.push(Breach::new(root, line, complaint));
        }
    }
}

/// The crates of `[workspace.dependencies]`, with their lines counted from 1.
fn listed(manifest: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = manifest.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines
        .skip_while(|(_, line)| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|(_, line)| !line.starts_with('['))
        .filter(|(_, line)| !line.starts_with('#'))
        .filter_map(|(number, line)| Some((number, line.split_once('=')?.0.trim())))
}

/// The crates that a member takes from the workspace: `name.workspace = true` or `name = { workspace = true, .. }`.
fn inherited(manifest: &str) -> impl Iterator<Item = &str> {
    manifest.lines().filter(|line| line.contains("workspace = true")).filter_map(|line| {
        let name = line.split_once('=')?.0.trim();
        Some(name.strip_suffix(".workspace").unwrap_or(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_nobody_uses_is_told_with_its_line() {
        let list = "[workspace]\n[workspace.dependencies]\n# why\nbytes = \"1\"\ntokio = { version = \"1\" }\nlog = \"0.4\"\n[lints]\n";
        let member = "[dependencies]\nbytes.workspace = true\ntokio = { workspace = true, features = [\"net\"] }\n";
        let files =
            Files { texts: vec![("Cargo.toml".into(), list.into()), ("agent/Cargo.toml".into(), member.into())] };
        let mut breaches = Vec::new();
        check(&files, &mut breaches);
        let told: Vec<String> = breaches.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["Cargo.toml:6: no member uses log: take it off [workspace.dependencies]"]);
    }
}
