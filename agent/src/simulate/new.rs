//! The policies that are to be new.

use crate::{
    mesh::{DocumentState, DocumentStatus, MeshSettings, Snapshot, compile},
    objects::ObjectSet,
    rules::{RuleKey, RuleKind},
};

/// Why documents are no new policies.
#[derive(Debug, thiserror::Error)]
pub enum BadPolicies {
    /// An agent would not take one of them.
    #[error("{0}")]
    Refused(Box<DocumentStatus>),
    /// One of another kind.
    #[error("{0} is among the new policies, and only AuthorizationPolicies are simulated; leave it out of --policy")]
    OtherKind(RuleKey),
    /// There are none.
    #[error("there is no AuthorizationPolicy among the documents that are to be new (--policy)")]
    None,
}

/// A snapshot that has only the policies in these documents.
///
/// # Errors
/// There is none, one that is refused, or something else.
pub fn new_policies(documents: &ObjectSet, settings: &MeshSettings) -> Result<Snapshot, BadPolicies> {
    let compiled = compile(documents, settings);
    if let Some(refused) = compiled.documents.into_iter().find(|status| status.state != DocumentState::Accepted) {
        return Err(BadPolicies::Refused(Box::new(refused)));
    }
    let rules = compiled.snapshot.rules();
    if let Some(other) = rules.keys().find(|key| key.kind != RuleKind::AuthorizationPolicy) {
        return Err(BadPolicies::OtherKind(other.clone()));
    }
    if rules.is_empty() {
        return Err(BadPolicies::None);
    }
    Ok(compiled.snapshot)
}
