//! A fixed number of mutated examples: enough to notice that a reader's promise was broken, not enough to search for it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path};

use super::*;

const ROUNDS: usize = 250;

fn examples() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn whatever_becomes_of_an_example_is_accepted_or_told_and_what_is_accepted_comes_back() {
    let (mut rng, seeds) = (fastrand::Rng::with_seed(1), seeds(examples()));
    let cluster = include_str!("../../../../deploy/examples/shop.yaml");
    let exercise = Exercise::new(cluster, "cluster.local".parse().unwrap());
    let (mut rules, mut messages) = (0, 0);
    for _ in 0..ROUNDS {
        let (text, other) = (rng.choice(&seeds).unwrap(), rng.choice(&seeds).unwrap());
        let text = mutate(&mut rng, text, other);
        let exercised = exercise.run(&text).unwrap();
        rules += exercised.rules;
        messages += exercised.messages.len();
    }
    // The mutator neither leaves everything as it was nor destroys everything.
    assert!(rules > ROUNDS / 3 && messages > ROUNDS, "{rules} rules, {messages} messages");
}

#[test]
fn one_seed_gives_one_sequence() {
    let (examples, of_seed) = (examples(), fastrand::Rng::with_seed);
    let run = |mut rng: fastrand::Rng| -> Vec<Vec<u8>> {
        (0..20).map(|_| mutate(&mut rng, &examples[0], &examples[1])).collect()
    };
    assert_eq!(run(of_seed(7)), run(of_seed(7)));
    assert_ne!(run(of_seed(7)), run(of_seed(8)));
}

#[test]
fn a_rule_that_does_not_come_back_is_an_error() {
    let text = "{apiVersion: heddle.io/v1alpha1, kind: Capture, metadata: {name: c}, spec: {opaquePorts: [1]}}";
    let node = split(text)[0].parse("f", text).unwrap();
    let Reading::Rule(rule, _) = read("f", text, &node, "shop", Enforced::EVERYTHING) else { panic!("refused") };
    assert_eq!(comes_back(&rule), Ok(()));
    let mut other = (*rule).clone();
    other.key.kind = crate::rules::RuleKind::Telemetry;
    assert!(comes_back(&other).unwrap_err().starts_with("Telemetry shop/c does not come back"));
}
