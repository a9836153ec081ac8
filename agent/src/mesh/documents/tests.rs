//! Tests of the rules of acceptance: ConfigMaps in, rules in force and fates of documents out.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn documents() -> Documents {
    Documents::new("heddle-system".into(), Enforced::THIS_BUILD)
}

/// A ReferenceGrant: the kind with the least in it. `from` tells versions apart.
fn grant(name: &str, from: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: {name}}}\n\
         spec: {{from: [{{group: g, kind: k, namespace: {from}}}], to: [{{group: g, kind: k}}]}}\n"
    )
}

fn broken(name: &str) -> String {
    grant(name, "7")
}

fn map(name: &str, age: u64, texts: &[(&str, &str)]) -> ConfigMap {
    ConfigMap {
        name: ObjectName::new("shop", name),
        uid: None,
        created: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age)),
        data: texts.iter().map(|(key, text)| ((*key).to_owned(), (*text).into())).collect(),
    }
}

/// What is in force, as `name=from`.
fn in_force(documents: &Documents) -> Vec<String> {
    let text = |rule: &Arc<Rule>| {
        let spec = serde_json::to_value(&rule.spec).unwrap();
        format!("{}={}", rule.key.name, spec["from"][0]["namespace"].as_str().unwrap())
    };
    documents.in_force().values().map(text).collect()
}

/// Where each document is and what became of it.
fn fates(documents: &Documents) -> Vec<String> {
    let fate = |status: &DocumentStatus| {
        let last_good = matches!(status.state, DocumentState::Rejected { last_good_in_force: true, .. });
        let kept = if last_good { ", last good kept" } else { "" };
        format!(
            "{} {}:{} {}{kept}",
            status.config_map.name,
            status.data_key,
            status.position.line,
            status.state.as_str()
        )
    };
    documents.status().iter().map(fate).collect()
}

fn first_problem(documents: &Documents) -> String {
    let rejected = documents.status().into_iter().find_map(|status| match status.state {
        DocumentState::Rejected { problems, .. } => Some(problems[0].to_string()),
        _ => None,
    });
    rejected.unwrap().lines().next().unwrap().to_owned()
}

#[test]
fn a_document_is_in_force_until_it_or_its_config_map_goes() {
    let mut documents = documents();
    documents.put(&map("m", 0, &[("a", &(grant("x", "one") + &grant("y", "one"))), ("b", &grant("z", "one"))]));
    assert_eq!(in_force(&documents), ["shop/x=one", "shop/y=one", "shop/z=one"]);
    let changed = documents.put(&map("m", 0, &[("a", &grant("x", "two"))]));
    assert_eq!(in_force(&documents), ["shop/x=two"]);
    assert_eq!(changed.len(), 3);
    documents.remove(&ObjectName::new("shop", "m"));
    assert_eq!((in_force(&documents), documents.status().len()), (vec![], 0));
    assert!(documents.definitions.is_empty());
}

#[test]
fn a_rejected_document_leaves_its_last_accepted_version_in_force_and_others_alone() {
    let mut documents = documents();
    documents.put(&map("m", 0, &[("a", &(broken("x") + &grant("y", "one")))]));
    assert_eq!(in_force(&documents), ["shop/y=one"]);
    assert_eq!(fates(&documents), ["m a:2 rejected", "m a:7 accepted"]);
    documents.put(&map("m", 0, &[("a", &(grant("x", "one") + &grant("y", "one")))]));
    documents.put(&map("m", 0, &[("a", &(broken("x") + &grant("y", "two")))]));
    assert_eq!(in_force(&documents), ["shop/x=one", "shop/y=two"]);
    assert_eq!(fates(&documents), ["m a:2 rejected, last good kept", "m a:7 accepted"]);
    documents.put(&map("m", 0, &[("a", &grant("y", "two"))]));
    assert_eq!(in_force(&documents), ["shop/y=two"], "a document that is gone is gone, rejected before or not");
}

#[test]
fn a_text_that_cannot_be_read_keeps_what_it_said() {
    let mut documents = documents();
    documents.put(&map("m", 0, &[("a", &(grant("x", "one") + &grant("y", "one")))]));
    for _ in 0..2 {
        documents.put(&map("m", 0, &[("a", &(grant("x", "two") + "---\n{ not: yaml\n"))]));
        assert_eq!(in_force(&documents), ["shop/x=two", "shop/y=one"], "nobody can tell that y was not meant");
    }
    assert!(first_problem(&documents).starts_with("ConfigMap shop/m, key a:"), "{}", first_problem(&documents));
    documents.put(&map("m", 0, &[("a", "{ not: yaml at all\n"), ("b", &grant("y", "moved"))]));
    assert_eq!(in_force(&documents), ["shop/x=two", "shop/y=moved"], "a definition that can be read is preferred");
    documents.put(&map("m", 0, &[("a", ""), ("b", &grant("y", "moved"))]));
    assert_eq!(in_force(&documents), ["shop/y=moved"]);
}

#[test]
fn of_two_config_maps_the_older_wins_in_whatever_order_they_come() {
    let (old, new) = (map("z-old", 9, &[("a", &grant("x", "old"))]), map("a-new", 1, &[("a", &grant("x", "new"))]));
    for order in [[&old, &new], [&new, &old]] {
        let mut documents = documents();
        order.into_iter().for_each(|map| drop(documents.put(map)));
        assert_eq!(in_force(&documents), ["shop/x=old"]);
        assert_eq!(fates(&documents), ["a-new a:2 conflict", "z-old a:2 accepted"]);
        documents.remove(&old.name);
        assert_eq!(in_force(&documents), ["shop/x=new"], "the loser steps in");
        assert_eq!(fates(&documents), ["a-new a:2 accepted"]);
    }
}

#[test]
fn the_same_object_twice_in_one_config_map_is_a_conflict_that_the_first_wins() {
    let mut documents = documents();
    documents.put(&map("m", 0, &[("a", &(grant("x", "one") + &grant("x", "two"))), ("b", &grant("x", "three"))]));
    assert_eq!(in_force(&documents), ["shop/x=one"]);
    assert_eq!(fates(&documents), ["m a:2 accepted", "m a:7 conflict", "m b:2 conflict"]);
}

#[test]
fn a_config_map_governs_its_own_namespace_only() {
    let mut documents = documents();
    let foreign = grant("x", "one").replace("{name: x}", "{name: x, namespace: bank}");
    documents.put(&map("m", 0, &[("a", &foreign)]));
    assert_eq!(in_force(&documents), [""; 0]);
    assert_eq!(
        first_problem(&documents),
        "ConfigMap shop/m, key a:4:32: metadata.namespace: found \"bank\", allowed: \"shop\" or none, since a \
         ConfigMap governs its own namespace only"
    );
    let own = ConfigMap { name: ObjectName::new("bank", "own"), ..map("own", 0, &[("a", &grant("x", "own"))]) };
    documents.put(&own);
    assert_eq!(in_force(&documents), ["bank/x=own"], "a foreign claim is no conflict");
}

#[test]
fn a_file_may_speak_for_any_namespace_and_hold_other_objects() {
    let mut documents = documents();
    let text = grant("x", "one")
        + &grant("y", "one").replace("{name: y}", "{name: y, namespace: bank}")
        + "---\n{apiVersion: v1, kind: Namespace, metadata: {name: bank}}\n";
    documents.put(&ConfigMap { name: ObjectName::new("", "/etc/mesh/a.yaml"), ..map("", 0, &[("", &text)]) });
    assert_eq!(in_force(&documents), ["bank/y=one", "heddle-system/x=one"]);
    assert_eq!(documents.status().len(), 2);
}

#[test]
fn what_is_not_mesh_configuration_or_not_enforced_is_rejected_and_never_ignored() {
    let cases = [
        ("{apiVersion: v1, kind: Service, metadata: {name: x}}", "is not mesh configuration"),
        ("{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: x}}", "kind: found \"Gateway\""),
        ("just a text", "document: found"),
    ];
    for (text, expected) in cases {
        let mut documents = documents();
        documents.put(&map("m", 0, &[("a", text)]));
        assert!(first_problem(&documents).contains(expected), "{text}: {}", first_problem(&documents));
    }
}

/// A step of a history: which ConfigMap, and what its only text becomes (`None`: the ConfigMap goes).
fn step() -> impl Strategy<Value = (usize, Option<Vec<(u8, u8)>>)> {
    (0..3_usize, proptest::option::of(proptest::collection::vec((0..3_u8, 0..3_u8), 0..3)))
}

proptest! {
    #[test]
    fn what_is_in_force_does_not_depend_on_the_way_there(steps in proptest::collection::vec(step(), 1..12)) {
        let map_of = |index: usize, grants: &[(u8, u8)]| {
            let text: String = grants.iter().map(|(name, from)| grant(&format!("g{name}"), &format!("f{from}"))).collect();
            map(&format!("m{index}"), index as u64, &[("a", &text)])
        };
        let (mut with_history, mut last) = (documents(), BTreeMap::new());
        for (index, grants) in &steps {
            match grants {
                Some(grants) => {
                    with_history.put(&map_of(*index, grants));
                    last.insert(*index, grants.clone());
                }
                None => {
                    with_history.remove(&ObjectName::new("shop", &format!("m{index}")));
                    last.remove(index);
                }
            }
        }
        let mut at_once = documents();
        for (index, grants) in last.iter().rev() {
            at_once.put(&map_of(*index, grants));
        }
        prop_assert_eq!(in_force(&with_history), in_force(&at_once));
        prop_assert_eq!(with_history.status(), at_once.status());
    }
}
