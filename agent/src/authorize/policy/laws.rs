//! Properties of decisions, over policies and facts out of few values, so that they meet all the time.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fmt::Debug, str::FromStr, sync::Arc};

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{
    Decision, Facts, Verdict, decide, explain, reference,
    testing::{OwnedFacts, OwnedRequest, headers, identity},
};
use crate::{
    identify::TrustDomains,
    mesh::Policy,
    objects::ObjectName,
    rules::authorization_policy::{
        AccessRule, Action, AddressAttribute, AuthorizationPolicy, Condition, Operation, RuleFrom, RuleTo, Source,
        TextAttribute, Values,
    },
};

fn domains() -> TrustDomains {
    TrustDomains::new("mesh.new".parse().unwrap(), ["mesh.old".parse().unwrap()])
}

type Texts = &'static [&'static str];

const PRINCIPALS: Texts = &[
    "mesh.new/ns/shop/sa/web",
    "mesh.old/ns/shop/sa/web",
    "cluster.local/ns/bank/*",
    "other/ns/shop/sa/web",
    "*.old/ns/shop/sa/web",
    "*/sa/web",
    "mesh.o*",
    "*",
];
const NAMESPACES: Texts = &["shop", "ba*", "*k", "*"];
const ACCOUNTS: Texts = &["web", "bank/web", "shop/api"];
const NETWORKS: Texts =
    &["10.0.0.0/8", "10.1.0.0/16", "10.1.0.1/32", "::ffff:10.1.0.0/112", "2001:db8::/32", "::/0", "0.0.0.0/0"];
const REQUEST_PRINCIPALS: Texts = &["id/alice", "id/*", "*/alice", "*"];
const HOSTS: Texts = &["example.com", "*.com", "exam*", "*"];
const PORTS: Texts = &["80", "81"];
const METHODS: Texts = &["GET", "P*", "*T", "*"];
const PATHS: Texts = &["/a", "/a*", "*b", "*", "/a/{*}", "/{**}/b"];
const TEXTS: Texts = &["a", "b", "a*", "*b", "*"];

/// A few of these, often none.
fn some<T: FromStr<Err: Debug> + Debug + Clone + 'static>(texts: Texts) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![3 => Just(Vec::new()), 1 => vec(select(texts), 1..3).prop_map(|texts| texts.into_iter().map(|text| text.parse().unwrap()).collect())]
}

fn source() -> impl Strategy<Value = Source> {
    let accounts_or_names = prop_oneof![
        (some(PRINCIPALS), some(PRINCIPALS), some(NAMESPACES), some(NAMESPACES)).prop_map(|(a, b, c, d)| Source {
            principals: a,
            not_principals: b,
            namespaces: c,
            not_namespaces: d,
            ..Source::default()
        }),
        (some(ACCOUNTS), some(ACCOUNTS)).prop_map(|(a, b)| Source {
            service_accounts: a,
            not_service_accounts: b,
            ..Source::default()
        }),
    ];
    let networks = (some(NETWORKS), some(NETWORKS), some(NETWORKS), some(NETWORKS));
    let requests = prop_oneof![
        2 => Just((Vec::new(), Vec::new())),
        1 => (some(REQUEST_PRINCIPALS), some(REQUEST_PRINCIPALS)),
    ];
    (accounts_or_names, networks, requests).prop_map(|(source, (a, b, c, d), (e, f))| Source {
        ip_blocks: a,
        not_ip_blocks: b,
        remote_ip_blocks: c,
        not_remote_ip_blocks: d,
        request_principals: e,
        not_request_principals: f,
        ..source
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let ports = (some(PORTS), some(PORTS));
    let of_requests = (some(HOSTS), some(HOSTS), some(METHODS), some(METHODS), some(PATHS), some(PATHS));
    (ports, option::of(of_requests)).prop_map(|((ports, not_ports), of_requests)| {
        let (hosts, not_hosts, methods, not_methods, paths, not_paths) = of_requests.unwrap_or_default();
        Operation { hosts, not_hosts, ports, not_ports, methods, not_methods, paths, not_paths }
    })
}

fn values<T: FromStr<Err: Debug> + Debug + Clone + 'static>(texts: Texts) -> impl Strategy<Value = Values<T>> {
    (some(texts), some(texts)).prop_map(|(values, not_values)| Values { values, not_values })
}

fn condition() -> impl Strategy<Value = Condition> {
    let claim = |path: &[&str]| TextAttribute::RequestClaim(path.iter().map(ToString::to_string).collect());
    let texts = [
        TextAttribute::ConnectionSni,
        TextAttribute::RequestAudiences,
        TextAttribute::RequestPresenter,
        TextAttribute::RequestHeader("x-a".parse().unwrap()),
        claim(&["groups"]),
        claim(&["scope"]),
        claim(&["realm", "roles"]),
    ];
    let addresses = [AddressAttribute::Source, AddressAttribute::Remote, AddressAttribute::Destination];
    prop_oneof![
        3 => (select(texts.to_vec()), values(TEXTS)).prop_map(|(attribute, values)| Condition::Text(attribute, values)),
        1 => values(PRINCIPALS).prop_map(|values| Condition::Text(TextAttribute::SourcePrincipal, values)),
        1 => values(NAMESPACES).prop_map(|values| Condition::Text(TextAttribute::SourceNamespace, values)),
        1 => values(REQUEST_PRINCIPALS).prop_map(|values| Condition::Text(TextAttribute::RequestPrincipal, values)),
        1 => (select(addresses.to_vec()), values(NETWORKS)).prop_map(|(of, values)| Condition::Address(of, values)),
        1 => values(ACCOUNTS).prop_map(Condition::ServiceAccount),
        1 => values(PORTS).prop_map(Condition::Port),
    ]
}

fn rule() -> impl Strategy<Value = AccessRule> {
    let from = vec(source().prop_map(|source| RuleFrom { source }), 0..3);
    let to = vec(operation().prop_map(|operation| RuleTo { operation }), 0..3);
    (from, to, vec(condition(), 0..3)).prop_map(|(from, to, when)| AccessRule { from, to, when })
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let action = select(vec![Action::Allow, Action::Allow, Action::Deny, Action::Deny, Action::Audit]);
    let one = (select(&["shop", "bank"][..]), action, vec(rule(), 0..4), proptest::bool::weighted(0.2));
    vec(one, 0..6).prop_map(|all| {
        let policy = |(index, (namespace, action, rules, is_dry_run))| Policy {
            name: ObjectName::new(namespace, &format!("p{index}")),
            is_dry_run,
            spec: Arc::new(AuthorizationPolicy { selector: Default::default(), action, rules }),
        };
        all.into_iter().enumerate().map(policy).collect()
    })
}

fn claims() -> impl Strategy<Value = Map<String, Value>> {
    let text = |texts: Texts| option::of(select(texts));
    let list = option::of(vec(select(&["a", "b", "ab"][..]), 0..3));
    (text(&["id", "id2", ""]), text(&["alice", "bob"]), list.clone(), text(&["a", "ab"]), list, text(&["a b", "ab"]))
        .prop_map(|(iss, sub, aud, azp, roles, scope)| {
            let all = [
                ("iss", json!(iss)),
                ("sub", json!(sub)),
                ("aud", json!(aud)),
                ("azp", json!(azp)),
                ("groups", json!(scope)),
                ("scope", json!(scope)),
                ("realm", json!({ "roles": roles })),
            ];
            all.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name.to_owned(), value))
                .collect()
        })
}

prop_compose! {
    fn request()(
        method in select(&["GET", "PUT", "get"][..]),
        path in select(&["/a", "/a/b", "/b", "/a?b", "/a/c/b"][..]),
        host in select(&["example.com", "Example.COM", "example.com:80", ""][..]),
        lines in vec(select(&["x-a: a", "x-a: ab", "x-a: c", "x-b: a"][..]), 0..3),
        claims in option::of(claims()),
    ) -> OwnedRequest {
        let (method, path, host) = (method.to_owned(), path.to_owned(), host.to_owned());
        OwnedRequest { method, path, host, headers: headers(&lines), claims, space_delimited: vec!["groups".to_owned()] }
    }
}

prop_compose! {
    fn facts()(
        who in option::of(select(&[
            "mesh.new/ns/shop/sa/web", "mesh.old/ns/shop/sa/web", "mesh.new/ns/bank/sa/web", "mesh.old/ns/bank/sa/api",
            "other/ns/shop/sa/web", "cluster.local/ns/bank/sa/web",
        ][..])),
        source in select(&["10.1.0.1", "10.2.0.1", "::ffff:10.1.0.1", "2001:db8::1", "192.0.2.1"][..]),
        remote in select(&["10.1.0.1", "192.0.2.1", "2001:db8::1"][..]),
        destination in select(&["10.1.0.9:80", "10.2.0.9:81", "[2001:db8::9]:80"][..]),
        sni in option::of(select(&["a", "ab", "c"][..])),
        request in option::of(request()),
    ) -> OwnedFacts {
        OwnedFacts {
            identity: who.map(identity),
            source: source.parse().unwrap(),
            remote: remote.parse().unwrap(),
            destination: destination.parse().unwrap(),
            sni: sni.map(str::to_owned),
            request,
        }
    }
}

fn asked<R>(policies: &[Policy], facts: &OwnedFacts, of: impl Fn(&[&Policy], &TrustDomains, &Facts<'_>) -> R) -> R {
    let policies: Vec<&Policy> = policies.iter().collect();
    facts.ask(|facts| of(&policies, &domains(), facts))
}

fn verdict(policies: &[Policy], facts: &OwnedFacts) -> Verdict {
    asked(policies, facts, |policies, domains, facts| decide(policies, domains, facts).verdict())
}

fn with_rules(policy: &Policy, change: impl FnOnce(&mut Vec<AccessRule>)) -> Policy {
    let mut spec = (*policy.spec).clone();
    change(&mut spec.rules);
    Policy { spec: Arc::new(spec), ..policy.clone() }
}

fn of_action(policies: &[Policy], action: Action) -> Option<usize> {
    policies.iter().position(|policy| policy.spec.action == action && !policy.is_dry_run)
}

fn named(action: Action, rules: Vec<AccessRule>) -> Policy {
    let spec = Arc::new(AuthorizationPolicy { selector: Default::default(), action, rules });
    Policy { name: ObjectName::new("shop", "more"), is_dry_run: false, spec }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn an_evaluator_that_is_written_another_way_says_the_same(policies in policies(), facts in facts()) {
        asked(&policies, &facts, |policies, domains, facts| {
            let Decision { ruling, on_trial, hits } = decide(policies, domains, facts);
            prop_assert_eq!(ruling, reference::decide(policies, domains, facts));
            let enforced: Vec<Policy> = policies.iter().map(|policy| Policy { is_dry_run: false, ..(*policy).clone() }).collect();
            let enforced: Vec<&Policy> = enforced.iter().collect();
            if let Some(on_trial) = on_trial {
                prop_assert_eq!(on_trial.verdict(), reference::decide(&enforced, domains, facts).verdict());
            } else {
                prop_assert!(policies.iter().all(|policy| !policy.is_dry_run || policy.spec.action == Action::Audit));
            }
            let is_told = |policy: &&&Policy| policy.is_dry_run || policy.spec.action == Action::Audit;
            let expected = policies.iter().filter(is_told).filter_map(|policy| {
                let rule = policy.spec.rules.iter().position(|rule| reference::matches(policy, rule, domains, facts))?;
                Some((&policy.name, rule))
            });
            prop_assert_eq!(hits.iter().map(|hit| (hit.rule.policy, hit.rule.rule)).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            Ok(())
        })?;
    }

    #[test]
    fn an_explanation_agrees_with_the_decision(policies in policies(), facts in facts()) {
        asked(&policies, &facts, |policies, domains, facts| {
            let (decision, why) = (decide(policies, domains, facts), explain(policies, domains, facts));
            prop_assert_eq!(why.verdict, decision.verdict());
            prop_assert_eq!(why.decision, decision.ruling.to_string());
            prop_assert_eq!(why.on_trial, decision.on_trial.map(|ruling| ruling.to_string()));
            prop_assert_eq!(why.policies.len(), policies.len());
            for (policy, explained) in policies.iter().zip(&why.policies) {
                let matching: Vec<bool> = policy.spec.rules.iter().map(|rule| reference::matches(policy, rule, domains, facts)).collect();
                prop_assert_eq!(explained.rules.iter().map(|rule| rule.matches).collect::<Vec<_>>(), matching.clone());
                prop_assert_eq!(explained.matches, matching.iter().position(|matches| *matches));
                for rule in &explained.rules {
                    prop_assert_eq!(rule.unmet.is_empty(), rule.matches);
                    prop_assert!(rule.unmet.iter().all(|unmet| !unmet.found.is_empty() && !unmet.wanted.is_empty()));
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn what_one_deny_policy_refuses_nothing_allows(policies in policies(), facts in facts()) {
        let denying = policies.iter().filter(|policy| policy.spec.action == Action::Deny && !policy.is_dry_run);
        if denying.into_iter().any(|policy| verdict(std::slice::from_ref(policy), &facts) == Verdict::Denied) {
            let mut more = policies;
            more.push(named(Action::Allow, vec![AccessRule::default()]));
            prop_assert_eq!(verdict(&more, &facts), Verdict::Denied);
        }
    }

    #[test]
    fn a_further_rule_of_an_allow_policy_never_refuses_what_was_allowed(policies in policies(), facts in facts(), rule in rule()) {
        let Some(index) = of_action(&policies, Action::Allow) else { return Ok(()) };
        let mut more = policies.clone();
        more[index] = with_rules(&policies[index], |rules| rules.push(rule));
        prop_assert!(verdict(&policies, &facts) == Verdict::Denied || verdict(&more, &facts) == Verdict::Allowed);
    }

    #[test]
    fn a_further_deny_rule_or_policy_never_allows_what_was_refused(policies in policies(), facts in facts(), rule in rule()) {
        let before = verdict(&policies, &facts);
        let mut more = policies.clone();
        more.push(named(Action::Deny, vec![rule.clone()]));
        prop_assert!(before == Verdict::Allowed || verdict(&more, &facts) == Verdict::Denied);
        if let Some(index) = of_action(&policies, Action::Deny) {
            let mut more = policies.clone();
            more[index] = with_rules(&policies[index], |rules| rules.insert(0, rule));
            prop_assert!(before == Verdict::Allowed || verdict(&more, &facts) == Verdict::Denied);
        }
    }

    #[test]
    fn a_connection_of_which_anything_is_allowed_may_come_near(policies in policies(), facts in facts()) {
        let ahead = asked(&policies, &facts, |policies, domains, facts| {
            decide(policies, domains, &Facts { request: None, requests_follow: true, ..*facts }).verdict()
        });
        // With a request as one of those to come, and without as bytes.
        prop_assert!(ahead == Verdict::Allowed || verdict(&policies, &facts) == Verdict::Denied);
    }

    #[test]
    fn the_order_of_policies_and_rules_does_not_matter(
        (policies, shuffled) in policies().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        facts in facts(),
    ) {
        let turned: Vec<Policy> = shuffled.iter().map(|policy| with_rules(policy, |rules| rules.reverse())).collect();
        let verdicts = |all: &[Policy]| asked(all, &facts, |policies, domains, facts| {
            let decision = decide(policies, domains, facts);
            (decision.verdict(), decision.on_trial.map(|ruling| ruling.verdict()), decision.hits.len())
        });
        prop_assert_eq!(verdicts(&policies), verdicts(&turned));
    }

    #[test]
    fn audit_and_trials_decide_nothing(policies in policies(), facts in facts()) {
        let deciding: Vec<Policy> = policies.iter().filter(|policy| !policy.is_dry_run && policy.spec.action != Action::Audit).cloned().collect();
        let of = |all: &[Policy]| asked(all, &facts, |policies, domains, facts| decide(policies, domains, facts).ruling.to_string());
        prop_assert_eq!(of(&policies), of(&deciding));
    }
}
