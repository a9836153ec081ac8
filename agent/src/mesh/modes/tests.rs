//! Tests of the index: against a table, and against a resolver that looks at every document.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{num::NonZeroU16, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::mesh::testing::pod;

const ROOT: &str = "heddle-system";

/// A document: where, name, day of the ConfigMap, `spec` of which `selector` is first.
fn rule(namespace: &str, name: &str, day: Option<u64>, spec: PeerAuthentication) -> Rule {
    let key = RuleKey { kind: RuleKind::PeerAuthentication, name: ObjectName::new(namespace, name) };
    let created = day.map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400));
    Rule { key, annotations: Default::default(), spec: Spec::PeerAuthentication(spec), created }
}

fn spec(labels: &[(&str, &str)], mode: &str, ports: &[(u16, &str)]) -> PeerAuthentication {
    let mtls = |mode: &str| Mtls {
        mode: match mode {
            "UNSET" => PeerMtlsMode::Unset,
            "DISABLE" => PeerMtlsMode::Disable,
            "PERMISSIVE" => PeerMtlsMode::Permissive,
            "STRICT" => PeerMtlsMode::Strict,
            other => panic!("{other}"),
        },
    };
    PeerAuthentication {
        selector: Selector { match_labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect() },
        mtls: mtls(mode),
        port_level_mtls: ports.iter().map(|(port, mode)| (NonZeroU16::new(*port).unwrap(), mtls(mode))).collect(),
    }
}

fn indexed(rules: impl IntoIterator<Item = Rule>) -> (Modes, Rules) {
    let rules: Rules = rules.into_iter().map(|rule| (rule.key.clone(), Arc::new(rule))).collect();
    let keys = rules.keys().cloned().collect();
    (Modes::default().updated(&rules, &keys, &ROOT.into()), rules)
}

/// What is said of port 80 and of port 81 of `shop`'s pod `app: web, tier: a`, as `MODE by NAMESPACE/NAME for LEVEL`.
fn said_of_web(rules: impl IntoIterator<Item = Rule>) -> [String; 2] {
    let (modes, _) = indexed(rules);
    let web = pod("shop", &[("app", "web"), ("tier", "a")]);
    [80, 81].map(|port| match modes.of(&web, port) {
        Some(said) => format!("{} by {} for {}", said.mode, said.document, said.level),
        None => "nothing".to_owned(),
    })
}

#[test]
fn the_most_specific_document_decides_and_unset_inherits() {
    let mesh = |mode| rule(ROOT, "mesh", Some(1), spec(&[], mode, &[]));
    let namespace = |mode| rule("shop", "all", Some(1), spec(&[], mode, &[]));
    let web = |mode, ports: &[(u16, &str)]| rule("shop", "web", Some(9), spec(&[("app", "web")], mode, ports));
    let both = |text: &str| [text.to_owned(), text.to_owned()];
    let table: Vec<(Vec<Rule>, [String; 2])> = vec![
        (vec![], both("nothing")),
        (vec![mesh("STRICT")], both("STRICT by heddle-system/mesh for the mesh")),
        (vec![mesh("UNSET")], both("nothing")),
        (vec![mesh("STRICT"), namespace("PERMISSIVE")], both("PERMISSIVE by shop/all for its namespace")),
        (vec![mesh("STRICT"), namespace("UNSET")], both("STRICT by heddle-system/mesh for the mesh")),
        (
            vec![mesh("STRICT"), namespace("PERMISSIVE"), web("DISABLE", &[])],
            both("DISABLE by shop/web for the pods that it selects"),
        ),
        (vec![namespace("PERMISSIVE"), web("UNSET", &[])], both("PERMISSIVE by shop/all for its namespace")),
        (
            vec![namespace("STRICT"), web("PERMISSIVE", &[(80, "DISABLE"), (81, "UNSET")])],
            [
                "DISABLE by shop/web for port 80 of the pods that it selects".to_owned(),
                "PERMISSIVE by shop/web for the pods that it selects".to_owned(),
            ],
        ),
        (
            vec![namespace("STRICT"), web("UNSET", &[(80, "PERMISSIVE")])],
            [
                "PERMISSIVE by shop/web for port 80 of the pods that it selects".to_owned(),
                "STRICT by shop/all for its namespace".to_owned(),
            ],
        ),
        // Those of others.
        (vec![rule("bank", "all", Some(1), spec(&[], "STRICT", &[]))], both("nothing")),
        (vec![rule("bank", "web", Some(1), spec(&[("app", "web")], "STRICT", &[]))], both("nothing")),
        (vec![rule("shop", "db", Some(1), spec(&[("app", "db")], "STRICT", &[]))], both("nothing")),
        (vec![rule("shop", "b", Some(1), spec(&[("app", "web"), ("tier", "b")], "STRICT", &[]))], both("nothing")),
    ];
    for (rules, expected) in table {
        assert_eq!(said_of_web(rules.clone()), expected, "{rules:?}");
    }
}

#[test]
fn of_two_documents_that_are_as_specific_the_older_decides() {
    let web = |name, day, mode| rule("shop", name, day, spec(&[("app", "web")], mode, &[]));
    let tier = |name, day, mode| rule("shop", name, day, spec(&[("tier", "a")], mode, &[(80, "DISABLE")]));
    let root = |name, day, mode| rule(ROOT, name, day, spec(&[("app", "web")], mode, &[]));
    let all = |name, day, mode| rule("shop", name, day, spec(&[], mode, &[]));
    let first_word = |rules: Vec<Rule>| said_of_web(rules).map(|said| said.split(" for").next().unwrap().to_owned());
    let both = |text: &str| [text.to_owned(), text.to_owned()];
    let table = [
        (vec![web("a", Some(2), "STRICT"), web("b", Some(1), "PERMISSIVE")], both("PERMISSIVE by shop/b")),
        (vec![web("a", Some(1), "STRICT"), web("b", Some(1), "PERMISSIVE")], both("STRICT by shop/a")),
        (vec![web("a", None, "STRICT"), web("b", Some(9), "PERMISSIVE")], both("PERMISSIVE by shop/b")),
        (vec![web("b", None, "STRICT"), web("a", None, "PERMISSIVE")], both("PERMISSIVE by shop/a")),
        // Another selector does not make it more specific, nor does the namespace; all of the older one counts.
        (
            vec![web("a", Some(2), "STRICT"), tier("b", Some(1), "UNSET")],
            ["DISABLE by shop/b".to_owned(), "nothing".to_owned()],
        ),
        (vec![web("a", Some(2), "STRICT"), root("b", Some(1), "PERMISSIVE")], both("PERMISSIVE by heddle-system/b")),
        (vec![web("a", Some(1), "STRICT"), root("b", Some(2), "PERMISSIVE")], both("STRICT by shop/a")),
        (vec![all("a", Some(2), "STRICT"), all("b", Some(1), "PERMISSIVE")], both("PERMISSIVE by shop/b")),
        (vec![all("a", Some(2), "STRICT"), all("b", Some(1), "UNSET")], both("nothing")),
    ];
    for (rules, expected) in table {
        assert_eq!(first_word(rules.clone()), expected, "{rules:?}");
    }
}

#[test]
fn a_selector_of_the_root_namespace_selects_everywhere() {
    let (modes, _) = indexed([rule(ROOT, "web", None, spec(&[("app", "web")], "STRICT", &[]))]);
    for namespace in ["shop", "bank", ROOT] {
        let said = modes.of(&pod(namespace, &[("app", "web")]), 80).unwrap();
        assert_eq!((said.mode, said.level), (Mode::Strict, Level::Workload), "{namespace}");
        assert_eq!(modes.of(&pod(namespace, &[("app", "db")]), 80), None, "{namespace}");
    }
}

#[test]
fn a_pod_looks_at_few_of_many_documents_with_a_label_in_common() {
    let of = |number: usize| {
        let instance = number.to_string();
        rule("shop", &instance, None, spec(&[("app", "web"), ("instance", &instance)], "STRICT", &[]))
    };
    let (modes, _) = indexed((0..1000).map(of));
    let kept = &modes.namespaces["shop"].selecting;
    let web = pod("shop", &[("app", "web"), ("instance", "500")]);
    assert_eq!(kept.looked_at(&web.labels), 1);
    assert_eq!(modes.of(&web, 80).unwrap().document.to_string(), "shop/500");
}

fn labels() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    vec((select(&["app", "tier"][..]), select(&["a", "b"][..])), 0..3)
}

fn mode() -> impl Strategy<Value = &'static str> {
    select(&["UNSET", "STRICT", "PERMISSIVE", "DISABLE"][..])
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let ports = option::of(mode()).prop_map(|mode| mode.map(|mode| (80, mode)));
    let name = (select(&["shop", "bank", ROOT][..]), select(&["a", "b", "c", "d", "e"][..]));
    let one =
        (name, option::of(0..3u64), labels(), mode(), ports).prop_map(|((namespace, name), day, of, mode, port)| {
            rule(namespace, name, day, spec(&of, mode, if of.is_empty() { &[] } else { port.as_slice() }))
        });
    vec(one, 0..10)
}

/// As the promise reads: every document is looked at.
fn naive(rules: &Rules, workload: &Workload, port: u16) -> Option<Mode> {
    let mut documents: Vec<Document> = rules.values().filter_map(|rule| Document::of(rule)).collect();
    documents.sort_by(|a, b| a.age.cmp(&b.age));
    let is_in = |document: &Document, namespace: &str| *document.age.name.namespace == *namespace;
    let selecting = documents.iter().find(|document| {
        let is_near = is_in(document, &workload.namespace) || is_in(document, ROOT);
        is_near && !document.selector.is_everything() && document.selector.selects(&workload.labels)
    });
    let general = |namespace: &str| {
        documents.iter().find(|document| is_in(document, namespace) && document.selector.is_everything())?.mode
    };
    let narrow = selecting.and_then(|document| document.ports.get(&port).copied().or(document.mode));
    narrow.or_else(|| general(&workload.namespace)).or_else(|| general(ROOT))
}

proptest! {
    #[test]
    fn the_index_says_what_a_look_at_every_document_says(all in vec(rules(), 1..4), of in labels()) {
        let (mut modes, mut before) = (Modes::default(), Rules::new());
        for rules in all {
            let rules: Rules = rules.into_iter().map(|rule| (rule.key.clone(), Arc::new(rule))).collect();
            let keys = before.keys().chain(rules.keys()).filter(|key| before.get(*key) != rules.get(*key));
            modes = modes.updated(&rules, &keys.cloned().collect(), &ROOT.into());
            let whole = Modes::default().updated(&rules, &rules.keys().cloned().collect(), &ROOT.into());
            prop_assert_eq!(&modes, &whole, "however it came about");
            for namespace in ["shop", "bank", ROOT, "empty"] {
                let workload = pod(namespace, &of);
                for port in [80, 81] {
                    let found = modes.of(&workload, port).map(|said| said.mode);
                    prop_assert_eq!(found, naive(&rules, &workload, port), "{}:{} {:?}", namespace, port, &rules);
                }
            }
            before = rules;
        }
    }
}
