//! What is legal and surely not meant, as warnings.
//!
//! In: the objects, and every mesh document that can be read, also of kinds that this build does not enforce yet. Out:
//! warnings with the place of what they are about. Each lint is a pure function. A lint about something that is missing
//! looks only where the input has any object of that kind: a file of routes alone says nothing about its Services. What
//! was not looked at for that reason is told once.

mod access;
mod access_l7;
mod capture;
mod destinations;
mod entries;
mod extensions;
mod fallbacks;
mod matches;
mod modes;
mod place;
mod pods;
mod route_view;
mod routes;
mod selectors;
mod services;
mod telemetry;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Finding, Severity};
use crate::{
    mesh::{self, DocumentState, DocumentStatus, MeshSettings, Rules, Snapshot},
    objects::{Kind, ObjectSet},
    rules::{Enforced, Rule, RuleKey},
};

/// What lints read.
struct Input<'a> {
    objects: &'a ObjectSet,
    settings: &'a MeshSettings,
    snapshot: &'a Snapshot,
    rules: &'a Rules,
    places: BTreeMap<&'a RuleKey, &'a DocumentStatus>,
}

/// What lints find.
#[derive(Default)]
pub(super) struct Found {
    /// In the order of lints and documents.
    pub(super) findings: Vec<Finding>,
    /// Kinds that documents refer to and the input has no object of.
    pub(super) unchecked: BTreeSet<&'static str>,
}

const LINTS: [fn(&Input<'_>, &mut Found); 14] = [
    routes::check,
    matches::check,
    extensions::check,
    services::check,
    fallbacks::check,
    selectors::check,
    access::check,
    access_l7::check,
    modes::check,
    destinations::check,
    entries::check,
    capture::check,
    telemetry::check,
    tokens::check,
];

/// Runs every lint.
pub(super) fn run(objects: &ObjectSet, settings: &MeshSettings) -> Found {
    let compiled = mesh::compile_enforcing(objects, settings, Enforced::EVERYTHING);
    let accepted = compiled.documents.iter().filter(|status| status.state == DocumentState::Accepted);
    let places = accepted.filter_map(|status| Some((status.rule.as_ref()?, status))).collect();
    let snapshot = &compiled.snapshot;
    let input = Input { objects, settings, snapshot, rules: snapshot.rules(), places };
    let mut found = Found::default();
    LINTS.iter().for_each(|lint| lint(&input, &mut found));
    found
}

impl<'a> Input<'a> {
    fn rules(&self) -> impl Iterator<Item = &'a Rule> + use<'a> {
        self.rules.values().map(AsRef::as_ref)
    }

    /// Whether the input has any object of a kind; if not, that is noted.
    fn has(&self, kind: Kind, found: &mut Found) -> bool {
        let has = match kind {
            Kind::Namespace => !self.objects.namespaces.is_empty(),
            Kind::Pod => !self.objects.pods.is_empty(),
            Kind::Service => !self.objects.services.is_empty(),
            Kind::EndpointSlice => !self.objects.endpoint_slices.is_empty(),
            Kind::Node => !self.objects.nodes.is_empty(),
            Kind::ServiceAccount => !self.objects.service_accounts.is_empty(),
            Kind::ConfigMap => !self.objects.config_maps.is_empty(),
        };
        if !has {
            found.unchecked.insert(kind.as_str());
        }
        has
    }

    /// Warns about a part of a document, such as `spec.rules[0]`.
    fn warn(&self, found: &mut Found, key: &RuleKey, path: &str, message: impl AsRef<str>) {
        let Some(status) = self.places.get(key) else { return };
        let message = format!("{path}: {}", message.as_ref());
        found.findings.push(match place::problem(self.objects, status, path, &message) {
            Some(problem) => Finding::at(Severity::Warning, Some(key.to_string()), &problem),
            None => Finding::about(Severity::Warning, status, message),
        });
    }
}
