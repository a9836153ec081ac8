//! Whatever a client sends: nothing but what the issuer signed is believed, and nothing breaks.

use proptest::{collection::vec, prelude::*};

use super::{
    issuer::{ED25519, P256, RSA, encoded, jwks},
    *,
};

fn all_keys() -> Vec<TokenRule> {
    let keys = jwks(&[P256.jwk(json!({})), RSA.jwk(json!({})), ED25519.jwk(json!({}))]);
    rules(
        &json!([{"issuer": "i", "jwks": keys, "fromHeaders": [{"name": "x"}], "fromParams": ["p"], "fromCookies": ["c"]}]),
    )
}

fn tokens() -> Vec<String> {
    let claims = json!({"iss": "i", "sub": "s", "exp": NOW + 9, "role": "user"});
    vec![
        P256.token(&json!({"alg": "ES256"}), &claims),
        RSA.token(&json!({"alg": "RS256", "kid": "k"}), &claims),
        RSA.token(&json!({"alg": "PS512"}), &claims),
        ED25519.token(&json!({"alg": "EdDSA"}), &claims),
    ]
}

fn given(rules: &[TokenRule], token: &[u8]) -> Option<Outcome> {
    let mut headers = HeaderMap::new();
    headers.insert("x", HeaderValue::from_bytes(token).ok()?);
    let target = Uri::from_static("/");
    Some(authenticate(rules, &Request { headers: &headers, target: &target, at: now() }, &KnownKeys::default()))
}

/// One change of a text.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    // Of the alphabet of tokens more often than not: other bytes are noticed at once.
    let byte = prop_oneof![3 => "[A-Za-z0-9_.-]".prop_map(|text| text.as_bytes()[0]), 1 => any::<u8>()].boxed();
    prop_oneof![
        (at(), byte.clone()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), byte).prop_map(|(at, byte)| Change::Insert(at, byte)),
        at().prop_map(Change::Remove),
        (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        at().prop_map(Change::Cut),
    ]
}

fn apply(token: &mut Vec<u8>, change: &Change) {
    if token.is_empty() {
        return;
    }
    let length = token.len();
    match change {
        Change::Set(at, byte) => token[at.index(length)] = *byte,
        Change::Insert(at, byte) => token.insert(at.index(length), *byte),
        Change::Remove(at) => drop(token.remove(at.index(length))),
        Change::Swap(a, b) => token.swap(a.index(length), b.index(length)),
        Change::Cut(at) => token.truncate(at.index(length)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_changed_token_is_believed(which in 0..4_usize, changes in vec(change(), 1..4)) {
        thread_local! {
            static WORLD: (Vec<TokenRule>, Vec<String>) = (all_keys(), tokens());
        }
        WORLD.with(|(rules, tokens)| {
            let mut token = tokens[which].clone().into_bytes();
            changes.iter().for_each(|change| apply(&mut token, change));
            // Blanks around a token are not of it.
            if token.trim_ascii() != tokens[which].as_bytes() && let Some(outcome) = given(rules, &token) {
                prop_assert!(outcome.token().is_none(), "{}", String::from_utf8_lossy(&token));
            }
            prop_assert!(given(rules, tokens[which].as_bytes()).is_some_and(|outcome| outcome.token().is_some()));
            Ok(())
        })?;
    }

    #[test]
    fn no_bytes_break_it(
        lines in vec((prop_oneof![Just("x"), Just("cookie"), Just("y")], vec(any::<u8>(), 0..200)), 0..4),
        query in "[ -~]{0,60}",
    ) {
        thread_local! {
            static RULES: Vec<TokenRule> = all_keys();
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &lines {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(*name, value);
            }
        }
        let target: Uri = format!("/?{query}").parse().unwrap_or_default();
        RULES.with(|rules| {
            let outcome = authenticate(rules, &Request { headers: &headers, target: &target, at: now() }, &KnownKeys::default());
            prop_assert!(outcome.token().is_none());
            let (mut headers, mut target) = (headers.clone(), target.clone());
            forward(rules, None, &mut headers, &mut target);
            Ok(())
        })?;
    }

    #[test]
    fn no_parts_break_it(header in ".{0,40}", claims in ".{0,60}", signature in vec(any::<u8>(), 0..80)) {
        let token = format!("{}.{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()), encoded(&signature));
        let parsed = compact::parse(&token);
        prop_assert!(parsed.is_err() || header.trim_start().starts_with('\u{7b}'), "taken for a token: {}", token);
    }

    #[test]
    fn no_bytes_of_a_key_server_break_it(text in prop_oneof![
        vec(any::<u8>(), 0..100),
        ("RSA|EC|OKP", "P-256|Ed25519|P-521", "[A-Za-z0-9_-]{0,90}", "[A-Za-z0-9_-]{0,90}").prop_map(|(kind, curve, x, y)| {
            jwks(&[json!({"kty": kind, "crv": curve, "x": x, "y": y, "n": x, "e": y})]).into_bytes()
        }),
    ]) {
        let _ = crate::rules::request_authentication::KeySet::published(&text);
    }
}
