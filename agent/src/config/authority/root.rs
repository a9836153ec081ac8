//! Reads `root` of `ca.yaml`: where the keys come from.

use std::time::Duration;

use super::{
    RootConfig, SecretRoots, defaults,
    read::{place, within},
};
use crate::config::{
    resolve::{ABSOLUTE_PATH, absolute_path, required},
    yaml::MapReader,
};

const EXAMPLES: &str = "{secret: {namespace: heddle-system, name: heddle-ca}} or {files: {path: /etc/heddle/ca}}";

/// Where the keys come from; `None` where a problem left nothing, which has been reported then.
pub(super) fn root_config(root: &MapReader<'_>, leaf_lifetime: Duration) -> Option<RootConfig> {
    let Some(config) = root.map("root") else {
        if !root.has("root") {
            root.missing("root", &format!("where the keys come from: {EXAMPLES}"));
        }
        return None;
    };
    let (secret, files) = (config.map("secret"), config.map("files"));
    match (config.has("secret"), config.has("files")) {
        (true, true) => config.complain_here("found secret and files, allowed: one of the two; remove the other"),
        (false, false) => config.complain_here(format!("names no place of keys, allowed: {EXAMPLES}")),
        (true, false) | (false, true) => {}
    }
    config.finish();
    match (secret, files) {
        (Some(secret), None) => of_secret(secret, leaf_lifetime),
        (None, Some(files)) => of_files(files),
        _ => None,
    }
}

fn of_secret(secret: MapReader<'_>, leaf_lifetime: Duration) -> Option<RootConfig> {
    let place = place(&secret);
    let lifetime = within(&secret, "lifetime", "a duration from 1m to 20y", &defaults::ROOT_LIFETIME_RANGE);
    let percent = secret.integer("rotateBelowPercent", "a whole number from 1 to 90", |n| (1..=90).contains(n));
    let longest = *defaults::ROOT_LIFETIME_RANGE.end();
    let overlap =
        within(&secret, "overlap", "a duration that is not shorter than leafLifetime", &(leaf_lifetime..=longest));
    let (lifetime, percent, overlap) = (
        lifetime.unwrap_or(defaults::ROOT_LIFETIME),
        percent.unwrap_or(defaults::ROTATE_BELOW_PERCENT),
        overlap.unwrap_or(leaf_lifetime),
    );
    let left = lifetime * u32::from(percent) / 100;
    if left < 2 * overlap {
        let left = humantime::format_duration(left);
        secret.complain_here(format!(
            "rotateBelowPercent leaves {left} of lifetime for a rotation, and it takes twice overlap; raise lifetime or \
             rotateBelowPercent"
        ));
    }
    secret.finish();
    Some(RootConfig::Secret(SecretRoots { place: place?, lifetime, rotate_below_percent: percent, overlap }))
}

fn of_files(files: MapReader<'_>) -> Option<RootConfig> {
    let path = required(&files, "path", ABSOLUTE_PATH, absolute_path);
    let generate = files.boolean("generate");
    files.finish();
    Some(RootConfig::Files { path: path?, generate: generate.unwrap_or(false) })
}
