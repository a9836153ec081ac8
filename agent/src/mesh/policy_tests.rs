//! Property: the index of policies says what a look at every rule says, whatever came before.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{Policy, by_selector::BySelector, policies::Policies};
use crate::{
    mesh::{Membership, SpiffeId, Workload, WorkloadUid},
    objects::{Map, ObjectName},
    rules::{
        Rule, RuleKey, RuleKind, Spec,
        authorization_policy::{Action, AuthorizationPolicy},
        value::Selector,
    },
};

const ROOT: &str = "root";

/// Few keys and values, so that selectors meet labels and each other.
fn labels() -> impl Strategy<Value = Map> {
    vec((select(&["app", "env", "tier"][..]), select(&["a", "b", "c"][..])), 0..4)
        .prop_map(|labels| labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn name() -> impl Strategy<Value = ObjectName> {
    (select(&[ROOT, "shop", "bank"][..]), 0..6u8)
        .prop_map(|(namespace, name)| ObjectName::new(namespace, &format!("p{name}")))
}

fn rule(name: &ObjectName, match_labels: Map) -> Rule {
    let spec = AuthorizationPolicy { selector: Selector { match_labels }, action: Action::Allow, rules: vec![] };
    let key = RuleKey { kind: RuleKind::AuthorizationPolicy, name: name.clone() };
    Rule { key, annotations: Map::new(), spec: Spec::AuthorizationPolicy(Arc::new(spec)), created: None }
}

fn workload(namespace: &str, labels: Map) -> Workload {
    let text = |text: &str| Arc::<str>::from(text);
    Workload {
        uid: WorkloadUid(text("uid")),
        name: text("pod"),
        namespace: text(namespace),
        service_account: text("default"),
        node: text("a"),
        identity: SpiffeId::new("cluster.local".parse().unwrap(), text(namespace), text("default")),
        addresses: [].into(),
        membership: Membership::Enrolled,
        owner: text("pod"),
        app: text(""),
        version: text(""),
        canonical_service: text("pod"),
        canonical_revision: text("latest"),
        labels: labels.into(),
        opaque_ports: Arc::default(),
        local: None,
    }
}

/// What a rule must be now; `None` removes it.
fn step() -> impl Strategy<Value = (ObjectName, Option<Map>)> {
    (name(), proptest::option::weighted(0.7, labels()))
}

proptest! {
    #[test]
    fn the_index_finds_what_a_look_at_every_policy_finds(
        steps in vec(step(), 0..40),
        pods in vec((select(&[ROOT, "shop", "bank", "other"][..]), labels()), 1..8),
    ) {
        let (mut index, mut all) = (Policies::new(ROOT.into()), std::collections::BTreeMap::new());
        let mut versions = Vec::new();
        for (name, labels) in steps {
            let now = labels.map(|labels| rule(&name, labels));
            let before = match &now {
                Some(now) => all.insert(name.clone(), now.clone()),
                None => all.remove(&name),
            };
            versions.push((index.clone(), before.clone(), now.clone()));
            index.replace(before.as_ref(), now.as_ref());
        }
        for (namespace, labels) in pods {
            let selects = |rule: &&Rule| {
                let Spec::AuthorizationPolicy(policy) = &rule.spec else { return false };
                let namespace_of_rule = &*rule.key.name.namespace;
                (namespace_of_rule == ROOT || namespace_of_rule == namespace) && policy.selector.selects(&labels)
            };
            let mut expected: Vec<&ObjectName> = all.values().filter(selects).map(|rule| &rule.key.name).collect();
            expected.sort_by_key(|name| (&*name.namespace != ROOT, *name));
            let workload = workload(namespace, labels.clone());
            let found: Vec<&ObjectName> = index.of(&workload).into_iter().map(|policy| &policy.name).collect();
            prop_assert_eq!(found, expected);
        }
        let mut at_once = Policies::new(ROOT.into());
        all.values().rev().for_each(|rule| at_once.replace(None, Some(rule)));
        prop_assert!(index == at_once, "the way there does not matter");
        for (before, was, now) in versions {
            let mut again = before.clone();
            again.replace(was.as_ref(), now.as_ref());
            prop_assert_eq!(before == again, was == now, "a copy is not touched by what comes later");
        }
        all.values().for_each(|rule| index.replace(Some(rule), None));
        prop_assert!(index == Policies::default(), "what goes leaves nothing");
        prop_assert!(index.is_empty());
    }
}

/// What a common label such as `env` has in common with all documents does not make one shelf of all of them.
#[test]
fn documents_are_spread_over_the_labels_that_tell_them_apart() {
    let mut index = BySelector::<Policy>::default();
    let labels = |app: usize| {
        Map::from([
            ("app".to_owned(), format!("app-{app}")),
            ("env".to_owned(), "prod".to_owned()),
            ("a-team".to_owned(), "one".to_owned()),
        ])
    };
    for app in 0..1_000 {
        let spec = Arc::new(AuthorizationPolicy {
            selector: Selector { match_labels: labels(app) },
            action: Action::Deny,
            rules: vec![],
        });
        let name = ObjectName::new("shop", &format!("p{app}"));
        index.insert(&name.clone(), Policy { name, is_dry_run: false, spec });
    }
    let looked_at = index.candidates("shop", &labels(500)).count();
    assert!(looked_at <= 4, "{looked_at}");
    let found: BTreeSet<String> = index.select("shop", &labels(500)).map(|policy| policy.name.to_string()).collect();
    assert_eq!(found, ["shop/p500".to_owned()].into());
}
