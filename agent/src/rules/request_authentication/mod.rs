//! RequestAuthentication: which JSON Web Tokens a workload believes.

mod algorithm;
mod jwks;
mod key_set;
mod public_key;
mod rule;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::{
    authorization_policy::refuse_targets,
    value::{Selector, selector},
};
use crate::config::yaml::MapReader;

pub use algorithm::Algorithm;
pub use jwks::Jwks;
pub use key_set::{KeyFailure, KeySet};
pub use public_key::PublicKey;
pub use rule::{ClaimToHeader, JwtHeader, JwtRule, KeySource};

/// Claims that Istio takes for lists of words with blanks between in every token, whatever a rule says.
pub const ALWAYS_SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];

/// `security.istio.io/v1` RequestAuthentication. A request with a token that no rule can verify is refused; one without a
/// token is not, unless an AuthorizationPolicy demands one.
///
/// Evaluated like an AuthorizationPolicy at the server's node, and so without `targetRefs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestAuthentication {
    /// Which pods; all of the namespace without labels.
    #[serde(skip_serializing_if = "Selector::is_everything")]
    pub selector: Selector,
    /// Issuers and their keys.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jwt_rules: Vec<JwtRule>,
}

/// Reads the spec.
pub(super) fn read(spec: MapReader<'_>) -> Option<RequestAuthentication> {
    let selector = selector(&spec).unwrap_or_default();
    refuse_targets(&spec);
    let jwt_rules = spec.maps("jwtRules").into_iter().filter_map(rule::read).collect();
    spec.finish();
    Some(RequestAuthentication { selector, jwt_rules })
}
