//! RequestAuthentication: keys that nobody can find, and keys that anyone on the way can replace.

use std::net::IpAddr;

use http::Uri;

use super::{Found, Input};
use crate::{
    authorize::token::keys::OUTSIDE_ONLY,
    rules::{
        Spec,
        request_authentication::{JwtRule, KeySource},
    },
};

pub(super) fn check(input: &Input<'_>, found: &mut Found) {
    for rule in input.rules() {
        let Spec::RequestAuthentication(authentication) = &rule.spec else { continue };
        for (index, jwt_rule) in authentication.jwt_rules.iter().enumerate() {
            if let Some((key, message)) = problem(jwt_rule) {
                input.warn(found, &rule.key, &format!("spec.jwtRules[{index}].{key}"), message);
            }
        }
    }
}

fn problem(rule: &JwtRule) -> Option<(&'static str, String)> {
    let (key, uri) = match &rule.keys {
        KeySource::Inline(_) => return None,
        KeySource::Uri(uri) => ("jwksUri", uri.clone()),
        KeySource::Discovered => match rule.issuer.parse::<Uri>() {
            Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) => ("issuer", uri),
            _ => {
                let message = format!("{:?} is no URL to find keys at; give jwksUri or jwks", rule.issuer);
                return Some(("issuer", message));
            }
        },
    };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if host.parse::<IpAddr>().is_ok_and(|address| !OUTSIDE_ONLY(address)) {
        return Some((
            key,
            format!("{host} is of the node itself or a cloud's metadata service, and never asked for keys"),
        ));
    }
    let message =
        "keys that are fetched without TLS can be replaced by anyone on the way, and tokens forged; use https";
    (uri.scheme_str() == Some("http")).then(|| (key, message.to_owned()))
}
