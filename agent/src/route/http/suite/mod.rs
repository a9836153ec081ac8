//! The routing suite as pure decisions: every file of `tests/routes`, each case in it.
//!
//! A case says what is sent and what has to come of it. The same files are for the real agent too, so nothing in them
//! depends on how a decision is made. `tests/routes/README.md` tells their form.

#![expect(clippy::unwrap_used, reason = "tests")]

pub(crate) mod case;
mod outcome;
pub(crate) mod world;

use std::{fs, path::Path};

use case::Group;
use world::World;

use super::{Decision, Outcome, Request, Scene, decide};
use crate::{mesh::Reach, route::backend::Draw, rules::http_route::Scheme, target::RequestTarget};

/// Fewer would mean that a file is not read.
pub(crate) const AT_LEAST: usize = 310;

#[test]
fn every_case_of_the_routing_suite_holds() {
    let (mut count, mut failures) = (0, Vec::new());
    for (place, group) in groups() {
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
    assert!(failures.is_empty(), "{} of {count} fail:\n{}", failures.len(), failures.join("\n"));
    assert!(count >= AT_LEAST, "only {count} cases");
}

/// Every group of the suite, by its file and promise.
pub(crate) fn groups() -> Vec<(String, Group)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/routes");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let groups: Vec<Group> = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        all.extend(groups.into_iter().map(|group| (format!("{name}: {}", group.promise), group)));
    }
    all
}

#[test]
fn a_session_keeps_its_backend_of_whatever_weight() {
    let rule = r#"{"rules": [{"backendRefs": [{"name": "v1", "port": 80}, {"name": "v2", "port": 80, "weight": 0}]}]}"#;
    let text = format!(r#"{{"promise": "", "routes": [{{"spec": {rule}}}]}}"#);
    let group: Group = serde_json::from_str(&text).unwrap();
    let world = World::new("sessions", &group.routes);
    let (dialled, table) = world.dialled("shop/web:80", "clients");
    let (target, headers) = (RequestTarget::parse("/").unwrap(), http::HeaderMap::new());
    let (method, scheme) = (&http::Method::GET, Scheme::Http);
    let request = Request { method, target: &target, headers: &headers, scheme, authority: "web" };
    let Decision::Rule(matched) = decide(table, &request) else { panic!("no rule") };
    let endpoint = |to| world.dialled(to, "clients").0.ready.get_within(Reach::All, 0).unwrap().0.address;
    for (session, expected) in [
        (None, "v1"),
        (Some(endpoint("shop/v1:80")), "v1"),
        (Some(endpoint("shop/v2:80")), "v2"),
        (Some(endpoint("shop/v3:80")), "v1"),
    ] {
        let scene = Scene { snapshot: &world.snapshot, dialled, draw: Draw(0), session };
        let Outcome::Forward(forward) = matched.outcome(&scene, &request) else { panic!("no backend") };
        assert_eq!(forward.backend.backend.service.name, expected, "{session:?}");
    }
}
