//! The routing suite over real agents: every file of `tests/routes`, each case that shows outside a decision.
//!
//! The unit test `routing_suite` decides the same cases as a pure function. Here the Services are pods with servers, the
//! routes are ConfigMaps, a case is sent by a real client, and what counts is what the server saw and what the client got.
//! Cases that fix the random number (`draw`) are left out, as is what only a decision has: explanations, durations.

// The form of the files, shared with the pure suite; what only that one looks at is not read here.
#[expect(dead_code, reason = "what is about decisions alone is read by the pure suite")]
#[path = "../../../../../agent/src/route/http/suite/case.rs"]
mod case;
mod judge;
mod stage;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use case::Group;
use stage::Stage;

/// Fewer would mean that cases are left out that were not before.
const AT_LEAST: usize = 280;

fn run(file: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("routes").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let groups: Vec<Group> = serde_saphyr::from_str(&text).with_context(|| file.to_owned())?;
    let mut stage = Stage::new(file)?;
    let (mut failures, mut judged, mut cases) = (Vec::new(), 0, 0);
    for group in &groups {
        if let Err(error) = stage.set(group) {
            failures.push(format!("{}: {error:#}", group.promise));
            continue;
        }
        for (index, case) in group.cases.iter().enumerate() {
            cases += 1;
            let told = stage.judge(group, case).with_context(|| format!("{}: case {index}", group.promise))?;
            judged += usize::from(told.judged);
            failures.extend(
                told.differences.iter().map(|told| format!("{}: case {index}: {told}\n    {case:?}", group.promise)),
            );
        }
    }
    ensure!(failures.is_empty(), "{} of {judged} cases of {file} fail:\n{}", failures.len(), failures.join("\n"));
    let wanted = EXPECTED.iter().find(|(name, _)| *name == file).map(|(_, count)| *count);
    ensure!(
        wanted.is_some_and(|wanted| judged >= wanted),
        "{judged} of {cases} cases of {file} were judged, expected {wanted:?}"
    );
    Ok(())
}

/// How many cases of each file are judged at least; together [`AT_LEAST`].
const EXPECTED: [(&str, usize); 12] = [
    ("01-matching.yaml", 68),
    ("02-precedence.yaml", 28),
    ("03-backends.yaml", 13),
    ("04-parents.yaml", 32),
    ("05-kinds.yaml", 18),
    ("06-headers.yaml", 7),
    ("07-redirect.yaml", 28),
    ("08-rewrite.yaml", 34),
    ("09-mirror.yaml", 5),
    ("10-cors.yaml", 18),
    ("11-resilience.yaml", 4),
    ("12-grpc.yaml", 28),
];

#[test]
fn every_file_of_the_suite_has_its_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("routes");
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut files: Vec<String> = names.filter(|name| name.ends_with(".yaml")).collect();
    files.sort();
    assert_eq!(files, EXPECTED.map(|(name, _)| name));
    let counts: BTreeMap<_, _> = EXPECTED.into_iter().collect();
    assert!(counts.values().sum::<usize>() >= AT_LEAST);
}

macro_rules! files {
    ($($test:ident: $file:literal,)*) => {
        $(
            #[test]
            fn $test() -> Result<()> {
                run($file)
            }
        )*
    };
}

files! {
    matching: "01-matching.yaml",
    precedence: "02-precedence.yaml",
    backends: "03-backends.yaml",
    parents: "04-parents.yaml",
    kinds: "05-kinds.yaml",
    headers: "06-headers.yaml",
    redirects: "07-redirect.yaml",
    rewrites: "08-rewrite.yaml",
    mirrors: "09-mirror.yaml",
    cors: "10-cors.yaml",
    resilience: "11-resilience.yaml",
    grpc: "12-grpc.yaml",
}
