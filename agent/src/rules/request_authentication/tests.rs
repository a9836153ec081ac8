//! Tests of reading RequestAuthentication documents.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::rules::{RuleKind, Spec, testing::*};

const KIND: RuleKind = RuleKind::RequestAuthentication;

fn rules(spec: &str) -> Vec<JwtRule> {
    match accepted(KIND, spec) {
        Spec::RequestAuthentication(authentication) => authentication.jwt_rules,
        other => panic!("{other:?}"),
    }
}

fn rule(issuer: &str, keys: KeySource) -> JwtRule {
    JwtRule {
        issuer: issuer.to_owned(),
        audiences: vec![],
        keys,
        from_headers: vec![],
        from_params: vec![],
        from_cookies: vec![],
        output_payload_to_header: None,
        forward_original_token: false,
        output_claim_to_headers: vec![],
        timeout: None,
        space_delimited_claims: vec![],
    }
}

/// The key of RFC 8037, appendix A.2.
fn key_of_an_issuer() -> serde_json::Value {
    serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": "11", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

#[test]
fn every_field_is_read() {
    let found = rules(
        "jwtRules:
- issuer: https://example.com
  audiences: [a, b]
  jwksUri: https://example.com/.well-known/jwks.json
  fromHeaders: [{name: X-Token, prefix: 'Token '}, {name: y}]
  fromParams: [token]
  fromCookies: [session]
  outputPayloadToHeader: X-Payload
  forwardOriginalToken: true
  outputClaimToHeaders: [{header: X-Sub, claim: sub}]
  timeout: 1.5s
  spaceDelimitedClaims: [scope]",
    );
    let expected = JwtRule {
        audiences: vec!["a".to_owned(), "b".to_owned()],
        from_headers: vec![
            JwtHeader { name: "x-token".parse().unwrap(), prefix: "Token ".to_owned() },
            JwtHeader { name: "y".parse().unwrap(), prefix: String::new() },
        ],
        from_params: vec!["token".to_owned()],
        from_cookies: vec!["session".to_owned()],
        output_payload_to_header: Some("x-payload".parse().unwrap()),
        forward_original_token: true,
        output_claim_to_headers: vec![ClaimToHeader { header: "x-sub".parse().unwrap(), claim: "sub".to_owned() }],
        timeout: Some(Duration::from_millis(1500)),
        space_delimited_claims: vec!["scope".to_owned()],
        ..rule("https://example.com", KeySource::Uri("https://example.com/.well-known/jwks.json".parse().unwrap()))
    };
    assert_eq!(found, [expected]);
}

#[test]
fn keys_may_be_in_the_document_or_found_by_the_issuer() {
    let set = serde_json::json!({"keys": [key_of_an_issuer(), {"kty": "EC", "crv": "secp256k1"}], "more": 1});
    let found = rules(&format!("jwtRules: [{{issuer: a, jwks: '{set}'}}]"));
    let KeySource::Inline(jwks) = &found[0].keys else { panic!("{found:?}") };
    assert_eq!((jwks.entries().len(), &jwks.entries()[0]["kty"]), (2, &serde_json::json!("OKP")));
    let usable: Vec<_> = jwks.keys().keys().iter().map(PublicKey::id).collect();
    assert_eq!(usable, [Some("11")], "the other one is for what is not taken here");
    assert_eq!(rules("jwtRules: [{issuer: a}]"), [rule("a", KeySource::Discovered)]);
    assert_eq!(rules("{}"), []);
}

#[test]
fn every_problem_of_a_document_is_told_with_its_place() {
    let table: &[(&str, &[&str])] = &[
        (
            "targetRefs: []
jwtRules: [{}]",
            &[
                "5:15: spec.targetRefs: is for gateways and waypoints, and this mesh has none; use selector to choose pods",
                "6:14: spec.jwtRules[0].issuer: missing, must be text that is not empty",
            ],
        ),
        (
            r#"jwtRules:
- issuer: ""
  audiences: [""]
  jwksUri: example.com/keys
  jwks: '{}'"#,
            &[
                r#"6:13: spec.jwtRules[0].issuer: found "", allowed: text that is not empty"#,
                r#"7:17: spec.jwtRules[0].audiences[0]: found "", allowed: text that is not empty"#,
                "8:14: spec.jwtRules[0].jwksUri: cannot be there together with jwks; remove one of them",
                r#"8:14: spec.jwtRules[0].jwksUri: found "example.com/keys", allowed: a URL such as https://example.com/keys.json"#,
                r#"9:11: spec.jwtRules[0].jwks: has no list of keys under "keys" with at least one entry"#,
            ],
        ),
        (
            r#"jwtRules:
- issuer: a
  jwks: '{'
- issuer: a
  jwks: '{"keys": []}'
- issuer: a
  jwks: '{"keys": [{"kty": "oct", "k": "x"}]}'
- issuer: a
  jwks: '{"keys": [{"kty": "RSA"}, {"kty": "oct"}]}'
- issuer: a
  jwks: '{"keys": [1]}'
- issuer: a
  jwks: {keys: []}
- issuer: a
  jwks: '{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": "EC", "crv": "P-256", "use": "enc"}]}'"#,
            &[
                "7:11: spec.jwtRules[0].jwks: is no JSON: EOF while parsing an object at line 1 column 1",
                r#"9:11: spec.jwtRules[1].jwks: has no list of keys under "keys" with at least one entry"#,
                r#"11:11: spec.jwtRules[2].jwks: keys[0] has "k", part of a secret key; give the public key only"#,
                r#"13:11: spec.jwtRules[3].jwks: keys[1].kty is "oct", allowed: RSA, EC, OKP"#,
                "15:11: spec.jwtRules[4].jwks: keys[0] is no object",
                "17:11: spec.jwtRules[5].jwks: found a map, allowed: text (quote numbers and booleans)",
                r#"19:11: spec.jwtRules[6].jwks: has no key that tokens can be checked with: keys[0].n has 17 bits, allowed: 2048 to 8192; keys[1].use is "enc", not "sig""#,
            ],
        ),
        (
            r#"jwtRules:
- issuer: a
  fromHeaders: [{prefix: x}, {name: "a b"}, {name: a, value: b}]
  fromParams: [""]
  fromCookies: a
  outputPayloadToHeader: ":x"
  outputClaimToHeaders: [{claim: a}, {header: a, claim: ""}, null]
  timeout: 0s
  forwardOriginalToken: "yes"
  spaceDelimitedClaims: [""]
  presence: MANDATORY"#,
            &[
                "7:19: spec.jwtRules[0].fromHeaders[0].name: missing, must be a header's name",
                r#"7:39: spec.jwtRules[0].fromHeaders[1].name: found "a b", allowed: a header's name"#,
                r#"7:57: unknown key "value" in spec.jwtRules[0].fromHeaders[2], allowed: name, prefix"#,
                r#"8:18: spec.jwtRules[0].fromParams[0]: found "", allowed: text that is not empty"#,
                r#"9:18: spec.jwtRules[0].fromCookies: found "a", allowed: text that is not empty"#,
                r#"10:28: spec.jwtRules[0].outputPayloadToHeader: found ":x", allowed: a header's name"#,
                "11:28: spec.jwtRules[0].outputClaimToHeaders[0].header: missing, must be a header's name",
                r#"11:59: spec.jwtRules[0].outputClaimToHeaders[1].claim: found "", allowed: text that is not empty"#,
                "11:64: spec.jwtRules[0].outputClaimToHeaders[2].header: missing, must be a header's name",
                "11:64: spec.jwtRules[0].outputClaimToHeaders[2].claim: missing, must be text that is not empty",
                r#"12:14: spec.jwtRules[0].timeout: found "0s", allowed: a duration from 1ms to 8760h, such as 250ms, 10s or 1.5h"#,
                r#"13:27: spec.jwtRules[0].forwardOriginalToken: found "yes", allowed: true or false"#,
                r#"14:28: spec.jwtRules[0].spaceDelimitedClaims[0]: found "", allowed: text that is not empty"#,
                "15:15: spec.jwtRules[0].presence: is not enforced by this build; remove it, since a document is accepted only whole",
            ],
        ),
    ];
    all_refused(KIND, table);
}

fn keys() -> impl Strategy<Value = KeySource> {
    let other =
        ("RSA|EC|OKP", any::text()).prop_map(|(kind, id)| serde_json::json!({"kty": kind, "kid": id, "n": [1, null]}));
    let inline = vec(other, 0..3).prop_map(|mut keys| {
        keys.push(key_of_an_issuer());
        KeySource::Inline(Jwks::parse(&serde_json::json!({ "keys": keys }).to_string()).unwrap())
    });
    let uri = "https?://[a-z]{1,5}(:80)?(/[a-z]{1,5}(\\?a=b)?)?".prop_map(|uri| KeySource::Uri(uri.parse().unwrap()));
    prop_oneof![inline, uri, Just(KeySource::Discovered)]
}

prop_compose! {
    fn jwt_rules()(
        issuer in any::text(),
        lists in vec(any::texts(), 4),
        keys in keys(),
        headers in vec((any::header_name(), option::of(any::text())), 0..3),
        payload in option::of(any::header_name()),
        forward in proptest::bool::ANY,
        claims in vec((any::header_name(), any::text()), 0..3),
        timeout in option::of(any::duration()),
    ) -> JwtRule {
        let [audiences, from_params, from_cookies, space_delimited_claims]: [_; 4] = lists.try_into().unwrap();
        let header = |(name, prefix): (_, Option<String>)| JwtHeader { name, prefix: prefix.unwrap_or_default() };
        JwtRule {
            issuer,
            audiences,
            keys,
            from_headers: headers.into_iter().map(header).collect(),
            from_params,
            from_cookies,
            output_payload_to_header: payload,
            forward_original_token: forward,
            output_claim_to_headers: claims.into_iter().map(|(header, claim)| ClaimToHeader { header, claim }).collect(),
            timeout,
            space_delimited_claims,
        }
    }
}

prop_compose! {
    fn authentications()(selector in any::selector(), jwt_rules in vec(jwt_rules(), 0..3)) -> RequestAuthentication {
        RequestAuthentication { selector, jwt_rules }
    }
}

proptest! {
    #[test]
    fn what_it_serializes_to_is_read_again(authentication in authentications()) {
        comes_back(KIND, &Spec::RequestAuthentication(authentication))?;
    }

    #[test]
    fn damage_is_read_or_refused_with_a_reason(authentication in authentications(), damage in any::damage()) {
        damage_is_told(KIND, &Spec::RequestAuthentication(authentication), &damage)?;
    }
}
