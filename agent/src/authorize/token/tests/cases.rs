//! The table of tokens: what is in a request, and what becomes of it.

use std::iter::repeat_n;

use base64::Engine;
use http::header;
use serde_json::{Map, Value, json};

use super::{
    issuer::{ED25519, Key, OTHER_P256, OTHER_RSA, P256, P384, P521, RSA, encoded, jwks},
    *,
};

const ISSUER: &str = "https://login.example.com";
const ALICE: &str = "https://login.example.com/alice";

/// The issuer's keys: one of each kind with an id, none without.
fn keys() -> String {
    jwks(&[
        RSA.jwk(json!({"kid": "rsa", "use": "sig"})),
        P256.jwk(json!({"kid": "p256", "alg": "ES256"})),
        P384.jwk(json!({"kid": "p384", "key_ops": ["verify"]})),
        P521.jwk(json!({"kid": "p521"})),
        ED25519.jwk(json!({"kid": "ed", "alg": "EdDSA"})),
    ])
}

#[expect(clippy::needless_pass_by_value, reason = "callers write json!() in place")]
fn rule(more: Value) -> Value {
    let mut rule = json!({"issuer": ISSUER, "jwks": keys()});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rule
}

/// Good claims, some of them replaced; null removes one.
#[expect(clippy::needless_pass_by_value, reason = "callers write json!() in place")]
fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "sub": "alice", "exp": NOW + 300});
    let map: &mut Map<String, Value> = claims.as_object_mut().unwrap();
    map.extend(more.as_object().unwrap().clone());
    map.retain(|_, value| !value.is_null());
    claims
}

fn header(algorithm: &str, id: &str) -> Value {
    json!({"alg": algorithm, "kid": id, "typ": "JWT"})
}

fn good() -> String {
    P256.token(&header("ES256", "p256"), &claims(json!({})))
}

fn with_claims(more: Value) -> String {
    P256.token(&header("ES256", "p256"), &claims(more))
}

fn with_header(header: &Value) -> String {
    P256.token(header, &claims(json!({})))
}

fn signed(key: &Key, algorithm: &str, id: &str) -> String {
    key.token(&header(algorithm, id), &claims(json!({})))
}

/// Each row: what it is, the token, what becomes of it with the issuer's rule.
fn check(rows: &[(&str, String, &str)]) {
    let rules = rules(&json!([rule(json!({}))]));
    for (what, token, expected) in rows {
        let outcome = ask(&rules, "/", &[("authorization", &format!("Bearer {token}"))]);
        assert_eq!(short(&outcome), *expected, "{what}: {token}");
    }
}

#[test]
fn signatures() {
    let token = good();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (first, second) = message.split_once('.').unwrap();
    let none = encoded(br#"{"alg":"none"}"#);
    check(&[
        ("RS256", signed(&RSA, "RS256", "rsa"), ALICE),
        ("RS384", signed(&RSA, "RS384", "rsa"), ALICE),
        ("RS512", signed(&RSA, "RS512", "rsa"), ALICE),
        ("PS256", signed(&RSA, "PS256", "rsa"), ALICE),
        ("PS384", signed(&RSA, "PS384", "rsa"), ALICE),
        ("PS512", signed(&RSA, "PS512", "rsa"), ALICE),
        ("ES256", signed(&P256, "ES256", "p256"), ALICE),
        ("ES384", signed(&P384, "ES384", "p384"), ALICE),
        ("ES512", signed(&P521, "ES512", "p521"), ALICE),
        ("EdDSA", signed(&ED25519, "EdDSA", "ed"), ALICE),
        ("another key of the kind", signed(&OTHER_P256, "ES256", "p256"), "bad_signature"),
        ("another RSA key", signed(&OTHER_RSA, "RS256", "rsa"), "bad_signature"),
        (
            "the signature of another token",
            format!("{}.{signature}", with_claims(json!({"sub": "root"})).rsplit_once('.').unwrap().0),
            "bad_signature",
        ),
        ("no signature", format!("{message}."), "bad_signature"),
        ("half a signature", format!("{message}.{}", encoded(&[7; 32])), "bad_signature"),
        ("a signature of zeros", format!("{message}.{}", encoded(&[0; 64])), "bad_signature"),
        (
            "PKCS#1 called PSS",
            RSA.token_of(r#"{"alg":"PS256","kid":"rsa"}"#, &claims(json!({})).to_string(), "RS256"),
            "bad_signature",
        ),
        (
            "SHA-256 called SHA-512",
            RSA.token_of(r#"{"alg":"RS512","kid":"rsa"}"#, &claims(json!({})).to_string(), "RS256"),
            "bad_signature",
        ),
        ("alg none, without a signature", format!("{none}.{second}."), "algorithm_not_allowed"),
        ("alg none, with one", format!("{none}.{second}.{signature}"), "algorithm_not_allowed"),
        ("alg None", with_header(&header("None", "p256")), "algorithm_not_allowed"),
        ("HMAC", with_header(&header("HS256", "p256")), "algorithm_not_allowed"),
        ("HMAC with the public key of RSA", with_header(&header("HS256", "rsa")), "algorithm_not_allowed"),
        ("another case", with_header(&header("es256", "p256")), "algorithm_not_allowed"),
        ("an algorithm that is not taken", with_header(&header("ES256K", "p256")), "algorithm_not_allowed"),
        ("ES384 by a key of P-256", with_header(&header("ES384", "p256")), "algorithm_not_allowed"),
        ("RS256 by a key of P-256", with_header(&header("RS256", "p256")), "algorithm_not_allowed"),
        ("EdDSA by a key of RSA", signed(&ED25519, "EdDSA", "rsa"), "algorithm_not_allowed"),
        ("alg missing", with_header(&json!({"kid": "p256"})), "malformed"),
        ("alg a number", with_header(&json!({"alg": 256, "kid": "p256"})), "malformed"),
        ("the header twice", format!("{first}.{first}.{signature}"), "unknown_issuer"),
    ]);
}

#[test]
fn ids_of_keys() {
    check(&[
        ("no id: all keys of the kind", with_header(&json!({"alg": "ES256"})), ALICE),
        ("an empty id is none", with_header(&header("ES256", "")), ALICE),
        ("an id that no key has", with_header(&header("ES256", "p257")), "unknown_key"),
        ("the id of another kind of key", signed(&P256, "ES256", "rsa"), "algorithm_not_allowed"),
        (
            "no id, and no key of the issuer",
            OTHER_P256.token(&json!({"alg": "ES256"}), &claims(json!({}))),
            "bad_signature",
        ),
        ("the case of an id counts", with_header(&header("ES256", "P256")), "unknown_key"),
        ("an id that is no text", with_header(&json!({"alg": "ES256", "kid": 1})), "malformed"),
        (
            "keys in the header are not believed",
            OTHER_P256.token(&json!({"alg": "ES256", "jwk": OTHER_P256.jwk(json!({}))}), &claims(json!({}))),
            "bad_signature",
        ),
        (
            "nor where it says",
            with_header(&json!({"alg": "ES256", "kid": "p256", "jku": "https://evil.example/"})),
            ALICE,
        ),
    ]);
    let bare =
        rules(&json!([{"issuer": ISSUER, "jwks": jwks(&[P256.jwk(json!({})), RSA.jwk(json!({"alg": "RS256"}))])}]));
    let of = |token: String| short(&ask(&bare, "/", &[("authorization", &format!("Bearer {token}"))]));
    assert_eq!(of(good()), ALICE, "a key without an id may have any");
    assert_eq!(of(signed(&RSA, "RS256", "any")), ALICE);
    assert_eq!(of(signed(&RSA, "PS256", "any")), "unknown_key", "the key is for RS256 only");
    assert_eq!(of(signed(&P384, "ES384", "any")), "unknown_key");
}

#[test]
fn issuers_and_subjects() {
    check(&[
        ("as it should be", good(), ALICE),
        ("another issuer", with_claims(json!({"iss": "https://evil.example"})), "unknown_issuer"),
        ("with a slash behind", with_claims(json!({"iss": "https://login.example.com/"})), "unknown_issuer"),
        ("another case", with_claims(json!({"iss": "https://LOGIN.example.com"})), "unknown_issuer"),
        ("no issuer", with_claims(json!({"iss": null})), "unknown_issuer"),
        ("an issuer that is no text", with_claims(json!({"iss": [ISSUER]})), "malformed"),
        ("no subject", with_claims(json!({"sub": null})), "https://login.example.com, nobody"),
        ("an empty subject", with_claims(json!({"sub": ""})), "https://login.example.com, nobody"),
        ("a subject that is no text", with_claims(json!({"sub": 7})), "malformed"),
        ("a subject with a slash", with_claims(json!({"sub": "a/b"})), "https://login.example.com/a/b"),
        ("a presenter that is no text is none", with_claims(json!({"azp": 7})), ALICE),
    ]);
}

#[test]
fn times() {
    check(&[
        ("before its end", with_claims(json!({"exp": NOW + 1})), ALICE),
        ("at its end", with_claims(json!({"exp": NOW})), ALICE),
        ("as late as clocks differ", with_claims(json!({"exp": NOW - 59})), ALICE),
        ("later", with_claims(json!({"exp": NOW - 60})), "expired"),
        ("with a fraction", with_claims(json!({"exp": NOW as f64 - 59.5})), ALICE),
        ("long ago", with_claims(json!({"exp": 0})), "expired"),
        ("before 1970", with_claims(json!({"exp": -1})), "expired"),
        ("never", with_claims(json!({"exp": null})), ALICE),
        ("in a very long time", with_claims(json!({"exp": 1e300})), ALICE),
        ("an end that is no number", with_claims(json!({"exp": "soon"})), "malformed"),
        ("a number in a text", with_claims(json!({"exp": (NOW + 9).to_string()})), "malformed"),
        ("from now", with_claims(json!({"nbf": NOW})), ALICE),
        ("as early as clocks differ", with_claims(json!({"nbf": NOW + 60})), ALICE),
        ("earlier", with_claims(json!({"nbf": NOW + 61})), "not_yet_valid"),
        ("a beginning that is no number", with_claims(json!({"nbf": true})), "malformed"),
        ("made in the future", with_claims(json!({"iat": NOW + 9999})), ALICE),
    ]);
}

#[test]
fn forms() {
    let token = good();
    let parts: Vec<&str> = token.split('.').collect();
    let join = |parts: [&str; 3]| parts.join(".");
    let object = |text: &str| encoded(text.as_bytes());
    let padded = base64::engine::general_purpose::URL_SAFE.encode(b"{\"alg\":\"ES256\"} ");
    let standard = parts[1].replace('-', "+").replace('_', "/");
    let long = with_claims(json!({"pad": repeat_n('x', LONGEST_TOKEN).collect::<String>()}));
    let crit = |value: Value| with_header(&json!({"alg": "ES256", "kid": "p256", "crit": value, "exp": 1}));
    // One character stands for six bits; of the last of a 64-byte signature only two count.
    let mut loose = token.clone();
    let last = loose.pop().unwrap();
    loose.push(if last == 'A' { 'B' } else { char::from(last as u8 + 1) });
    check(&[
        ("one part", "abc".to_owned(), "malformed"),
        ("two parts", format!("{}.{}", parts[0], parts[1]), "malformed"),
        ("four parts", format!("{token}.x"), "malformed"),
        ("five parts, encrypted", format!("{token}.x.y"), "malformed"),
        ("dots alone", "..".to_owned(), "malformed"),
        ("no base64", join(["!!", parts[1], parts[2]]), "malformed"),
        ("with padding", join([&padded, parts[1], parts[2]]), "malformed"),
        ("spare bits that are set", loose, "malformed"),
        ("no JSON", join([&object("{"), parts[1], parts[2]]), "malformed"),
        ("a header that is a list", join([&object("[]"), parts[1], parts[2]]), "malformed"),
        ("claims that are a text", join([parts[0], &object("\"a\""), parts[2]]), "malformed"),
        (
            "deep claims",
            join([parts[0], &object(&format!("{}1{}", "[".repeat(4000), "]".repeat(4000))), parts[2]]),
            "malformed",
        ),
        ("blanks inside", format!("{} {}", &token[..9], &token[9..]), "malformed"),
        ("blanks around", format!("  {token} "), ALICE),
        ("the longest", long, "too_long"),
        ("a critical header", crit(json!(["exp"])), "critical_header"),
        ("an empty list of them", crit(json!([])), "critical_header"),
        (
            "no payload encoding",
            with_header(&json!({"alg": "ES256", "kid": "p256", "b64": false, "crit": ["b64"]})),
            "critical_header",
        ),
        ("not UTF-8", "\u{fffd}".to_owned(), "malformed"),
    ]);
    if standard != parts[1] {
        check(&[("the other alphabet", join([parts[0], &standard, parts[2]]), "malformed")]);
    }
}

#[test]
fn audiences() {
    let rules = rules(&json!([rule(json!({"audiences": ["shop", "bank"]}))]));
    for (audience, expected) in [
        (json!("shop"), ALICE),
        (json!("bank"), ALICE),
        (json!(["other", "bank"]), ALICE),
        (json!("other"), "wrong_audience"),
        (json!("Shop"), "wrong_audience"),
        (json!("https://shop/"), "wrong_audience"),
        (json!([]), "wrong_audience"),
        (json!(null), "wrong_audience"),
        (json!(["bank", 1]), "malformed"),
        (json!({"bank": 1}), "malformed"),
    ] {
        let token = with_claims(json!({"aud": audience}));
        let outcome = ask(&rules, "/", &[("authorization", &format!("Bearer {token}"))]);
        assert_eq!(short(&outcome), expected, "{audience}");
    }
    let unasked = super::rules(&json!([rule(json!({}))]));
    let token = with_claims(json!({"aud": "whoever"}));
    assert_eq!(short(&ask(&unasked, "/", &[("authorization", &format!("Bearer {token}"))])), ALICE);
}

#[test]
fn places_by_default() {
    let rules = rules(&json!([rule(json!({}))]));
    let token = good();
    let with = |scheme: &str| format!("{scheme}{token}");
    for (what, target, lines, expected) in [
        ("nothing", "/".to_owned(), vec![], "none"),
        ("Bearer", "/".to_owned(), vec![("authorization", with("Bearer "))], ALICE),
        ("a scheme has no case", "/".to_owned(), vec![("authorization", with("bEARER "))], ALICE),
        ("a tab", "/".to_owned(), vec![("authorization", with("Bearer\t"))], ALICE),
        ("several blanks", "/".to_owned(), vec![("authorization", with("Bearer   "))], ALICE),
        ("another scheme", "/".to_owned(), vec![("authorization", "Basic YTpi".to_owned())], "none"),
        ("no scheme", "/".to_owned(), vec![("authorization", token.clone())], "none"),
        ("a scheme alone", "/".to_owned(), vec![("authorization", "Bearer".to_owned())], "none"),
        ("a scheme that only begins so", "/".to_owned(), vec![("authorization", with("Bearers "))], "none"),
        ("nonsense", "/".to_owned(), vec![("authorization", "Bearer nonsense".to_owned())], "malformed"),
        ("bytes that are no text", "/".to_owned(), vec![("authorization", "Bearer é".to_owned())], "malformed"),
        (
            "the second value",
            "/".to_owned(),
            vec![("authorization", "Basic YTpi".to_owned()), ("authorization", with("Bearer "))],
            ALICE,
        ),
        ("the parameter", format!("/?a=b&access_token={token}"), vec![], ALICE),
        ("the parameter, encoded", format!("/?access%5Ftoken={}", token.replace('.', "%2E")), vec![], ALICE),
        ("an empty parameter", "/?access_token=".to_owned(), vec![], "malformed"),
        ("a parameter without a value", "/?access_token".to_owned(), vec![], "malformed"),
        ("another parameter", format!("/?token={token}"), vec![], "none"),
        ("the same token in both", format!("/?access_token={token}"), vec![("authorization", with("Bearer "))], ALICE),
        (
            "a good and a bad one",
            "/?access_token=x".to_owned(),
            vec![("authorization", with("Bearer "))],
            "several_tokens",
        ),
        (
            "two in one header",
            "/".to_owned(),
            vec![("authorization", with("Bearer ")), ("authorization", "Bearer x".to_owned())],
            "several_tokens",
        ),
        ("two parameters", format!("/?access_token=x&access_token={token}"), vec![], "several_tokens"),
        ("a cookie is no place", "/".to_owned(), vec![("cookie", format!("access_token={token}"))], "none"),
    ] {
        let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(short(&ask(&rules, &target, &lines)), expected, "{what}");
    }
}

#[test]
fn places_that_a_rule_names() {
    let rules = rules(&json!([rule(json!({
        "fromHeaders": [{"name": "x-token"}, {"name": "x-prefixed", "prefix": "Token "}],
        "fromParams": ["jwt"],
        "fromCookies": ["session"],
    }))]));
    let token = good();
    for (what, target, lines, expected) in [
        ("a header", "/".to_owned(), vec![("x-token", token.clone())], ALICE),
        ("its name has no case", "/".to_owned(), vec![("X-Token", token.clone())], ALICE),
        ("a prefix", "/".to_owned(), vec![("x-prefixed", format!("Token {token}"))], ALICE),
        ("without its prefix", "/".to_owned(), vec![("x-prefixed", token.clone())], "none"),
        ("the default is none any more", "/".to_owned(), vec![("authorization", format!("Bearer {token}"))], "none"),
        ("an empty header", "/".to_owned(), vec![("x-token", String::new())], "malformed"),
        ("a parameter", format!("/a?jwt={token}"), vec![], ALICE),
        ("the default parameter", format!("/a?access_token={token}"), vec![], "none"),
        ("a cookie", "/".to_owned(), vec![("cookie", format!("a=b; session={token}; c=d"))], ALICE),
        ("in quotation marks", "/".to_owned(), vec![("cookie", format!("session=\"{token}\""))], ALICE),
        (
            "in another line",
            "/".to_owned(),
            vec![("cookie", "a=b".to_owned()), ("cookie", format!("session={token}"))],
            ALICE,
        ),
        ("beside one that is no text", "/".to_owned(), vec![("cookie", format!("a=é; session={token}"))], ALICE),
        ("the case of a cookie counts", "/".to_owned(), vec![("cookie", format!("Session={token}"))], "none"),
        ("an empty cookie", "/".to_owned(), vec![("cookie", "session=".to_owned())], "malformed"),
        (
            "the same in all",
            format!("/?jwt={token}"),
            vec![("x-token", token.clone()), ("cookie", format!("session={token}"))],
            ALICE,
        ),
        ("two that differ", "/?jwt=x".to_owned(), vec![("x-token", token.clone())], "several_tokens"),
    ] {
        let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(short(&ask(&rules, &target, &lines)), expected, "{what}");
    }
}

#[test]
fn several_rules_share_a_place_or_have_their_own() {
    let other = jwks(&[OTHER_P256.jwk(json!({"kid": "p256"}))]);
    let rules = rules(&json!([
        rule(json!({"audiences": ["shop"]})),
        {"issuer": ISSUER, "audiences": ["bank"], "jwks": other},
        {"issuer": "second", "jwks": other},
        {"issuer": "third", "jwks": other, "fromHeaders": [{"name": "x-third"}]},
    ]));
    let second = |issuer: &str, audience: &str| {
        OTHER_P256.token(&header("ES256", "p256"), &claims(json!({"iss": issuer, "aud": audience})))
    };
    let first = with_claims(json!({"aud": "shop"}));
    for (what, name, token, expected) in [
        ("the first", "authorization", first.clone(), ALICE),
        (
            "the first, for the audience of the other",
            "authorization",
            with_claims(json!({"aud": "bank"})),
            "bad_signature",
        ),
        ("the other rule of that issuer", "authorization", second(ISSUER, "bank"), ALICE),
        ("for nobody", "authorization", with_claims(json!({"aud": "x"})), "wrong_audience"),
        ("another issuer at the same place", "authorization", second("second", "x"), "second/alice"),
        ("an issuer at another's place", "authorization", second("third", "x"), "unknown_issuer"),
        ("an issuer at its own", "x-third", second("third", "x"), "third/alice"),
        ("another at that one's", "x-third", first.clone(), "unknown_issuer"),
    ] {
        let value = if name == "authorization" { format!("Bearer {token}") } else { token };
        assert_eq!(short(&ask(&rules, "/", &[(name, &value)])), expected, "{what}");
    }
    let both = [("authorization", format!("Bearer {first}")), ("x-third", second("third", "x"))];
    let lines: Vec<(&str, &str)> = both.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(short(&ask(&rules, "/", &lines)), "several_tokens", "nobody could say who it is of");
}

#[test]
fn a_believed_token_tells_policies_who_it_is_of() {
    let rules = rules(&json!([{"issuer": "none", "jwks": keys()}, rule(json!({"spaceDelimitedClaims": ["groups"]}))]));
    let token = with_claims(json!({
        "aud": ["shop", "bank"], "azp": "app", "scope": "read  write", "groups": "a b", "other": "c d",
        "permission": ["x y"], "nested": {"scope": "e f"},
    }));
    let outcome = ask(&rules, "/", &[("authorization", &format!("Bearer {token}"))]);
    let token = outcome.token().unwrap();
    assert_eq!((token.issuer(), token.subject(), token.presenter()), (ISSUER, Some("alice"), Some("app")));
    assert_eq!(token.audiences(), ["shop", "bank"]);
    let claims = token.claims();
    assert_eq!((&claims["scope"], &claims["groups"]), (&json!(["read", "write"]), &json!(["a", "b"])));
    assert_eq!((&claims["other"], &claims["permission"]), (&json!("c d"), &json!(["x y"])));
    assert_eq!((&claims["nested"], &claims["exp"]), (&json!({"scope": "e f"}), &json!(NOW + 300)));
    assert_eq!(token.rule(), (&ObjectName::new("shop", "tokens"), 1));
}

#[test]
fn a_refusal_challenges_the_client_and_names_the_rule() {
    let rules = rules(&json!([rule(json!({}))]));
    let outcome = ask(&rules, "/", &[("authorization", &format!("Bearer {}", with_claims(json!({"exp": 1}))))]);
    let Outcome::Refused(refusal) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(refusal.status(), 401);
    assert_eq!(refusal.challenge(), r#"Bearer error="invalid_token", error_description="the token has expired""#);
    assert_eq!(refusal.to_string(), "expired (RequestAuthentication shop/tokens, jwtRules[0])");
    let outcome = ask(&rules, "/", &[("authorization", "Bearer x")]);
    let Outcome::Refused(refusal) = &outcome else { panic!("{outcome:?}") };
    assert_eq!((refusal.rule(), refusal.to_string().as_str()), (None, "malformed"));
    for reason in Reason::ALL {
        let challenge = Refusal::of_request(*reason).challenge();
        let text = challenge.to_str().unwrap();
        assert_eq!(text.matches('"').count(), 4, "{text}");
    }
    let labels: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(labels.len(), Reason::ALL.len());
}

#[test]
fn keys_that_could_not_be_had_refuse_every_token_and_no_request_without_one() {
    for keys in [json!({}), json!({"jwksUri": "https://login.example.com/keys"})] {
        let mut rule = json!({"issuer": ISSUER});
        rule.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        let rules = rules(&json!([rule]));
        assert_eq!(short(&ask(&rules, "/", &[])), "none");
        let lines = [(header::AUTHORIZATION.as_str(), format!("Bearer {}", good()))];
        let outcome = ask(&rules, "/", &[(lines[0].0, &lines[0].1)]);
        assert_eq!(short(&outcome), "keys_unavailable");
        let Outcome::Refused(refusal) = outcome else { panic!() };
        assert_eq!(refusal.status(), 401);
    }
}
