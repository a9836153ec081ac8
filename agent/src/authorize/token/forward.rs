//! What the application gets of a token: headers that the rules name, and the token itself only where a rule says so.
//!
//! Headers that any rule of the workload writes are removed first, with or without a token: whatever stands there when the
//! application reads it was written here.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::{Map, Value};

use super::{claims::find, outcome::VerifiedToken};
use crate::{mesh::TokenRule, rules::request_authentication::JwtRule};

/// What was changed, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Headers of the client that only the mesh may write.
    pub removed: usize,
    /// Headers that were written.
    pub written: usize,
}

/// Makes a request that is let through ready for the application. `rules` are all of the workload, `token` is what they found.
pub fn forward(
    rules: &[TokenRule],
    token: Option<&VerifiedToken>,
    headers: &mut HeaderMap,
    target: &mut Uri,
) -> Forwarded {
    if let Some(token) = token.filter(|token| !token.rule.rule().forward_original_token) {
        token.places.iter().for_each(|place| place.clear(headers, target));
    }
    let mut forwarded = Forwarded::default();
    for name in rules.iter().flat_map(written_by) {
        forwarded.removed += headers.get_all(name).iter().count();
        headers.remove(name);
    }
    for (name, value) in token.into_iter().flat_map(|token| &token.outputs) {
        headers.append(name, value.clone());
        forwarded.written += 1;
    }
    forwarded
}

/// The headers that a rule writes.
fn written_by(rule: &TokenRule) -> impl Iterator<Item = &HeaderName> {
    let claims = rule.rule().output_claim_to_headers.iter().map(|claim| &claim.header);
    rule.rule().output_payload_to_header.iter().chain(claims)
}

/// The headers that a rule has written for a token. A claim that is not there, no header's value, or a list or map writes
/// none: Istio copies texts, numbers and booleans. Claims are as the issuer wrote them, lists with blanks too.
pub(super) fn outputs(rule: &JwtRule, payload: &str, claims: &Map<String, Value>) -> Vec<(HeaderName, HeaderValue)> {
    let payload = rule.output_payload_to_header.iter().map(|name| (name, payload.to_owned()));
    let claims = rule.output_claim_to_headers.iter().filter_map(|output| {
        let text = written(find(claims, &output.claim)?)?;
        Some((&output.header, text))
    });
    // UTF-8 beyond ASCII is opaque to HTTP, and goes through; control characters do not.
    let header = |(name, text): (&HeaderName, String)| {
        let value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
        Some((name.clone(), value))
    };
    payload.chain(claims).filter_map(header).collect()
}

fn written(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
