//! From a request to an [`Outcome`]: find the token, take it apart, hold it against the rules that have its issuer.
//!
//! What costs nothing goes first: a token that is expired or for others is refused before its signature is computed.

use std::borrow::Cow;

use super::{
    Request,
    claims::{self, Registered},
    compact::{self, Unchecked},
    forward::outputs,
    keys::KnownKeys,
    outcome::{Outcome, Reason, Refusal, VerifiedToken},
    places::{Place, places},
};
use crate::{
    mesh::TokenRule,
    rules::request_authentication::{KeyFailure, KeySource},
};

/// A token, and where it was found by which rules.
struct Found<'r> {
    text: Cow<'r, str>,
    by: Vec<(&'r TokenRule, Place<'r>)>,
}

/// What a rule makes of a token.
struct Judged<'r> {
    rule: &'r TokenRule,
    reason: Reason,
    keys_may_be_old: bool,
}

/// What becomes of the token of a request to a workload that these rules select.
pub fn authenticate(rules: &[TokenRule], request: &Request<'_>, keys: &KnownKeys) -> Outcome {
    match find(rules, request).as_slice() {
        [] => Outcome::NoToken,
        [token] => {
            judge(token, request, keys).map_or_else(Outcome::Refused, |verified| Outcome::Verified(Box::new(verified)))
        }
        [_, _, ..] => Outcome::Refused(Refusal::of_request(Reason::SeveralTokens)),
    }
}

/// Every token that any rule looks for. The same text in two places is one.
fn find<'r>(rules: &'r [TokenRule], request: &Request<'r>) -> Vec<Found<'r>> {
    let mut found: Vec<Found<'r>> = Vec::new();
    for rule in rules {
        for place in places(rule.rule()) {
            for text in place.tokens(request) {
                match found.iter_mut().find(|other| other.text == text) {
                    Some(known) => known.by.push((rule, place)),
                    None => found.push(Found { text, by: vec![(rule, place)] }),
                }
                // Two are refused, whatever more there are: a query may have thousands.
                if found.len() == 2 {
                    return found;
                }
            }
        }
    }
    found
}

/// The first rule that believes it, or what the one says that came closest to it.
fn judge(token: &Found<'_>, request: &Request<'_>, keys: &KnownKeys) -> Result<VerifiedToken, Refusal> {
    let unchecked = compact::parse(&token.text).map_err(Refusal::of_request)?;
    let registered = Registered::read(&unchecked.claims).map_err(Refusal::of_request)?;
    let mut closest: Option<Judged<'_>> = None;
    for rule in rules_of(token, &registered) {
        match believe(rule, &unchecked, &registered, request, keys) {
            Ok(()) => return Ok(verified(rule, token, unchecked, registered)),
            Err(judged) if closest.as_ref().is_none_or(|other| other.reason < judged.reason) => closest = Some(judged),
            Err(_) => {}
        }
    }
    Err(closest.map_or_else(
        || Refusal::of_request(Reason::UnknownIssuer),
        |judged| Refusal {
            reason: judged.reason,
            rule: Some(judged.rule.clone()),
            keys_may_be_old: judged.keys_may_be_old,
        },
    ))
}

/// The rules that have found the token and have its issuer, each once.
fn rules_of<'r>(token: &Found<'r>, registered: &Registered) -> Vec<&'r TokenRule> {
    let mut rules: Vec<&TokenRule> = Vec::new();
    for (rule, _) in &token.by {
        let known = rules.iter().any(|other| std::ptr::eq(*other, *rule));
        if !known && registered.issuer.as_ref() == Some(&rule.rule().issuer) {
            rules.push(rule);
        }
    }
    rules
}

fn believe<'r>(
    rule: &'r TokenRule,
    token: &Unchecked<'_>,
    registered: &Registered,
    request: &Request<'_>,
    known: &KnownKeys,
) -> Result<(), Judged<'r>> {
    let no = |reason, keys_may_be_old| Judged { rule, reason, keys_may_be_old };
    registered.check(rule.rule(), request.at).map_err(|reason| no(reason, false))?;
    let algorithm = token.algorithm.ok_or_else(|| no(Reason::AlgorithmNotAllowed, false))?;
    let keys = known.of(rule.rule()).ok_or_else(|| no(Reason::KeysUnavailable, false))?;
    // Keys in a document are as old as the document, and nobody can fetch newer ones.
    let can_change = !matches!(rule.rule().keys, KeySource::Inline(_));
    let checked = keys.check(algorithm, token.key_id.as_deref(), token.message, &token.signature);
    checked.map_err(|failure| match failure {
        KeyFailure::UnknownKey => no(Reason::UnknownKey, can_change),
        KeyFailure::AlgorithmNotAllowed => no(Reason::AlgorithmNotAllowed, false),
        KeyFailure::BadSignature { by_id } => no(Reason::BadSignature, can_change && !by_id),
    })
}

fn verified(rule: &TokenRule, token: &Found<'_>, checked: Unchecked<'_>, registered: Registered) -> VerifiedToken {
    let Registered { subject, audiences, presenter, .. } = registered;
    // Wherever any rule saw this text, it is this token.
    let mut places: Vec<_> = token.by.iter().map(|(_, place)| place.kept()).collect();
    places.dedup();
    let outputs = outputs(rule.rule(), checked.payload, &checked.claims);
    VerifiedToken {
        rule: rule.clone(),
        issuer: rule.rule().issuer.clone(),
        subject,
        audiences,
        presenter,
        outputs,
        claims: claims::for_policies(checked.claims, rule.rule()),
        places,
    }
}
