//! Which rights the manifests give to the service accounts of Heddle, one by one.
//!
//! In: the manifests, which are built in. Out: what the API server is asked about.

use std::fmt;

use k8s_openapi::api::{authorization::v1::ResourceAttributes, rbac::v1::PolicyRule};
use serde::Deserialize;

/// Where Heddle is installed.
pub(super) const NAMESPACE: &str = "heddle-system";
/// The agents' account and its rights.
pub(super) const AGENT: Account =
    Account { name: "heddle-agent", manifest: include_str!("../../../../deploy/manifests/agent/rbac.yaml") };
/// The authority's.
pub(super) const AUTHORITY: Account =
    Account { name: "heddle-ca", manifest: include_str!("../../../../deploy/manifests/ca/rbac.yaml") };

/// A service account that the manifests make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    pub(super) name: &'static str,
    manifest: &'static str,
}

/// One verb on one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) verb: String,
    pub(super) group: String,
    pub(super) resource: String,
    /// One object, or all.
    pub(super) name: Option<String>,
    /// One namespace, or all.
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    metadata: Metadata,
    #[serde(default)]
    rules: Vec<PolicyRule>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    namespace: Option<String>,
}

impl Account {
    /// What its roles allow.
    ///
    /// # Errors
    /// The manifest cannot be read, which a test rules out.
    pub(super) fn rights(&self) -> Result<Vec<Right>, serde_saphyr::Error> {
        let manifests: Vec<Manifest> = serde_saphyr::from_multiple(self.manifest)?;
        let rights = manifests.iter().flat_map(|manifest| {
            manifest.rules.iter().flat_map(|rule| of_rule(rule, manifest.metadata.namespace.as_ref()))
        });
        Ok(rights.collect())
    }
}

impl Right {
    /// The same as the API server is asked about it.
    pub(super) fn attributes(&self) -> ResourceAttributes {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (&*self.resource, None),
        };
        ResourceAttributes {
            verb: Some(self.verb.clone()),
            group: Some(self.group.clone()),
            resource: Some(resource.to_owned()),
            subresource,
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            ..ResourceAttributes::default()
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match &self.name {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

fn of_rule(rule: &PolicyRule, namespace: Option<&String>) -> Vec<Right> {
    let groups = rule.api_groups.iter().flatten();
    let resources = || rule.resources.iter().flatten();
    let names: Vec<Option<String>> = match rule.resource_names.as_deref() {
        None | Some([]) => vec![None],
        Some(names) => names.iter().cloned().map(Some).collect(),
    };
    let pairs = groups.flat_map(|group| resources().map(move |resource| (group, resource)));
    let triples = pairs.flat_map(|(group, resource)| rule.verbs.iter().map(move |verb| (group, resource, verb)));
    triples
        .flat_map(|(group, resource, verb)| {
            names.iter().map(move |name| Right {
                verb: verb.clone(),
                group: group.clone(),
                resource: resource.clone(),
                name: name.clone(),
                namespace: namespace.cloned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_manifests_are_read_rule_by_rule() {
        let agent: Vec<String> = AGENT.rights().unwrap().iter().map(Right::to_string).collect();
        for right in ["list pods", "watch endpointslices.discovery.k8s.io", "create events"] {
            assert!(agent.iter().any(|found| found == right), "{right}: {agent:?}");
        }
        let authority = AUTHORITY.rights().unwrap();
        let secret = authority.iter().find(|right| right.to_string() == "update secrets heddle-ca").unwrap();
        assert_eq!(secret.namespace.as_deref(), Some(NAMESPACE));
        assert!(authority.iter().any(|right| right.to_string() == "create tokenreviews.authentication.k8s.io"));
    }

    #[test]
    fn a_subresource_is_asked_about_as_one() {
        let right = Right { resource: "pods/status".to_owned(), ..Right::default() };
        let asked = right.attributes();
        assert_eq!((asked.resource.as_deref(), asked.subresource.as_deref()), (Some("pods"), Some("status")));
    }
}
