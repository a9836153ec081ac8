//! The registered claims of a token (RFC 7519, section 4.1): read, and held against a rule and the time.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::outcome::Reason;
use crate::rules::request_authentication::{ALWAYS_SPACE_DELIMITED, JwtRule};

/// Claims with a meaning of their own. One that is there and not of its type makes a token malformed.
#[derive(Debug, Default)]
pub(super) struct Registered {
    pub(super) issuer: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) audiences: Vec<String>,
    pub(super) presenter: Option<String>,
    expires: Option<f64>,
    begins: Option<f64>,
}

impl Registered {
    /// Reads them.
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Self, Reason> {
        Ok(Self {
            issuer: text(claims, "iss")?,
            subject: text(claims, "sub")?.filter(|subject| !subject.is_empty()),
            audiences: audiences(claims.get("aud"))?,
            // Of OpenID Connect and not of the format: what is no text is no presenter.
            presenter: text(claims, "azp").unwrap_or_default(),
            expires: date(claims, "exp")?,
            begins: date(claims, "nbf")?,
        })
    }

    /// Whether the token may be used now, and for what the rule is for.
    pub(super) fn check(&self, rule: &JwtRule, at: SystemTime) -> Result<(), Reason> {
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        if self.expires.is_some_and(|end| seconds(at) >= end + SKEW.as_secs_f64()) {
            return Err(Reason::Expired);
        }
        if self.begins.is_some_and(|begin| seconds(at) + SKEW.as_secs_f64() < begin) {
            return Err(Reason::NotYetValid);
        }
        let is_meant = |audience: &String| rule.audiences.contains(audience);
        match rule.audiences.is_empty() || self.audiences.iter().any(is_meant) {
            true => Ok(()),
            false => Err(Reason::WrongAudience),
        }
    }
}

/// Claims as policies read them: those that are texts with blanks between become lists.
pub(super) fn for_policies(mut claims: Map<String, Value>, rule: &JwtRule) -> Map<String, Value> {
    let named = rule.space_delimited_claims.iter().map(String::as_str);
    for name in ALWAYS_SPACE_DELIMITED.into_iter().chain(named) {
        if let Some(Value::String(text)) = claims.get(name) {
            let words = text.split(' ').filter(|word| !word.is_empty()).map(Value::from).collect();
            claims.insert(name.to_owned(), Value::Array(words));
        }
    }
    claims
}

/// The claim of this name; `.` leads into nested ones. A claim that has dots in its name, as those that are called after a
/// domain, goes before.
pub(super) fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find(claims.get(first)?.as_object()?, rest)
    })
}

fn text(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, Reason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Reason::Malformed),
    }
}

/// One text, or a list of them.
fn audiences(claim: Option<&Value>) -> Result<Vec<String>, Reason> {
    let texts = match claim {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().collect(),
        Some(one) => vec![one],
    };
    let texts: Option<Vec<String>> = texts.into_iter().map(|text| text.as_str().map(str::to_owned)).collect();
    texts.ok_or(Reason::Malformed)
}

/// Seconds since 1970, with or without a fraction. A token without an end never ends, as with Istio.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Reason> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Reason::Malformed),
    }
}

/// How much the clocks of the issuer and of this node may differ: what Envoy allows.
pub(super) const SKEW: Duration = Duration::from_secs(60);
