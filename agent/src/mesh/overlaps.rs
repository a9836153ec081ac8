//! Documents that do not count for what they name, because an older one of their namespace names it too.
//!
//! In: a snapshot. Out: each such document with the one that counts, for `heddle status` and `heddle check`. Nothing is
//! kept: it is looked up when somebody asks, as `routes::parents` is.

use std::fmt;

use super::{Snapshot, backend_policies, destinations, fallbacks};
use crate::{
    objects::ObjectName,
    rules::{Rule, RuleKey, Spec},
};

/// A part of a document that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The document.
    pub document: RuleKey,
    /// Where it names the thing, such as `spec.host`.
    pub path: String,
    /// The document of the same kind that counts.
    pub winner: ObjectName,
}

impl Snapshot {
    /// All of them, ordered by document.
    pub fn overlaps(&self) -> Vec<Overlap> {
        self.rules().values().flat_map(|rule| self.overlaps_of(rule)).collect()
    }

    /// Those of one document.
    pub fn overlaps_of(&self, rule: &Rule) -> Vec<Overlap> {
        let overlap = |path: String, winner: Option<&ObjectName>| {
            let winner = winner.filter(|winner| **winner != rule.key.name)?.clone();
            Some(Overlap { document: rule.key.clone(), path, winner })
        };
        let of_targets = |winners: Vec<Option<&ObjectName>>| {
            let winners = winners.into_iter().enumerate();
            winners.filter_map(|(index, winner)| overlap(format!("spec.targetRefs[{index}]"), winner)).collect()
        };
        match &rule.spec {
            Spec::DestinationRule(spec) => {
                let names = destinations::names(rule, spec);
                let mut winners = names.iter().map(|name| self.destinations.winner(&rule.key.name.namespace, name));
                winners.find_map(|winner| overlap("spec.host".to_owned(), winner)).into_iter().collect()
            }
            Spec::BackendTrafficPolicy(spec) => {
                let targets = backend_policies::targets(rule, spec);
                of_targets(targets.iter().map(|service| self.backend_policies.winner(service)).collect())
            }
            Spec::Fallback(spec) => {
                let targets = fallbacks::targets(rule, spec);
                of_targets(targets.iter().map(|target| self.fallbacks.winner(target)).collect())
            }
            _ => Vec::new(),
        }
    }
}

impl Overlap {
    /// Why the part does not count.
    pub fn reason(&self) -> String {
        format!(
            "{} {} comes first and counts alone for the same; remove one of the two",
            self.document.kind, self.winner
        )
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.document, self.path, self.reason())
    }
}
