//! The routing suite as pure decisions: every file of `tests/routes`, each case in it.
//!
//! A case says what is sent and what has to come of it. The same files are for the real agent too, so nothing in them
//! depends on how a decision is made. `tests/routes/README.md` tells their form.

#![expect(clippy::unwrap_used, reason = "tests")]

mod case;
mod outcome;
mod world;

use std::{fs, path::Path};

use case::Group;
use world::World;

/// Fewer would mean that a file is not read.
const AT_LEAST: usize = 310;

#[test]
fn every_case_of_the_routing_suite_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/routes");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let (mut count, mut failures) = (0, Vec::new());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let groups: Vec<Group> = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        for group in groups {
            let place = format!("{name}: {}", group.promise);
            let world = World::new(&place, &group.routes);
            if world.problems() != group.problems {
                failures.push(format!("{place}: problems {:#?}, expected {:#?}", world.problems(), group.problems));
            }
            for (index, case) in group.cases.iter().enumerate() {
                count += 1;
                let told = world.differences(case);
                failures.extend(told.into_iter().map(|told| format!("{place}: case {index}: {told}\n  {case:?}")));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} fail:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= AT_LEAST, "only {count} cases");
}
