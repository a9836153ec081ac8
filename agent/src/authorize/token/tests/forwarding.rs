//! What the application gets.

use serde_json::json;

use super::{
    issuer::{P256, jwks},
    *,
};

fn one_rule(more: &Value) -> Vec<TokenRule> {
    let mut rule = json!({"issuer": "i", "jwks": jwks(&[P256.jwk(json!({}))])});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rules(&json!([rule]))
}

fn token(claims: &Value) -> String {
    let mut all = json!({"iss": "i", "sub": "s"});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    P256.token(&json!({"alg": "ES256"}), &all)
}

/// What is left of a request: its target, its headers, and how many were removed and written.
fn passed(rules: &[TokenRule], target: &str, lines: &[(&str, &str)]) -> (String, Vec<String>, Forwarded) {
    let outcome = ask(rules, target, lines);
    assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    let (mut headers, mut target) = (headers(lines), target.parse().unwrap());
    let forwarded = forward(rules, outcome.token(), &mut headers, &mut target);
    let text =
        |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    let mut left: Vec<String> = headers.iter().map(text).collect();
    left.sort();
    (target.to_string(), left, forwarded)
}

#[test]
fn the_token_is_taken_out_of_where_it_was_and_nothing_else_is() {
    let token = token(&json!({}));
    let bearer = format!("Bearer {token}");
    let default = one_rule(&json!({}));
    let lines = [("authorization", bearer.as_str()), ("authorization", "Basic YTpi"), ("a", "b")];
    assert_eq!(passed(&default, "/p?q=1", &lines).1, ["a: b", "authorization: Basic YTpi"]);
    let target = format!("/p?a=%20b&access_token={token}&c");
    assert_eq!(passed(&default, &target, &[]).0, "/p?a=%20b&c");
    assert_eq!(passed(&default, &format!("/p?access_token={token}"), &[]).0, "/p");
    assert_eq!(passed(&default, &format!("http://h:1/p?access_token={token}"), &[]).0, "http://h:1/p");
    let both = passed(&default, &format!("/?access_token={token}"), &[("authorization", &bearer)]);
    assert_eq!((both.0.as_str(), both.1.len()), ("/", 0), "wherever it was");
    let cookies = one_rule(&json!({"fromCookies": ["t"]}));
    assert_eq!(passed(&cookies, "/", &[("cookie", &format!("a=b; t={token}; c=d"))]).1, ["cookie: a=b; c=d"]);
    assert_eq!(passed(&cookies, "/", &[("cookie", &format!("t={token}"))]).1, [""; 0]);
    let lines = [("cookie", format!("t=\"{token}\"")), ("cookie", "e=f;g".to_owned())];
    let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(passed(&cookies, "/", &lines).1, ["cookie: e=f; g"]);
    assert_eq!(passed(&cookies, "/", &[("cookie", &format!("é=ü; t={token}"))]).1, ["cookie: é=ü"]);
    let named = one_rule(&json!({"fromHeaders": [{"name": "x-jwt", "prefix": "JWT "}]}));
    assert_eq!(passed(&named, "/", &[("x-jwt", &format!("jwt {token}")), ("x-jwt", "other")]).1, ["x-jwt: other"]);
}

#[test]
fn the_token_stays_where_a_rule_says_so_and_where_it_is_nobodys() {
    let token = token(&json!({}));
    let bearer = format!("Bearer {token}");
    let keeps = one_rule(&json!({"forwardOriginalToken": true}));
    let (target, left, _) = passed(&keeps, &format!("/?access_token={token}"), &[("authorization", &bearer)]);
    assert_eq!((target, left), (format!("/?access_token={token}"), vec![format!("authorization: {bearer}")]));
    let elsewhere = one_rule(&json!({"fromHeaders": [{"name": "x"}]}));
    assert_eq!(passed(&elsewhere, "/", &[("authorization", &bearer)]).1, [format!("authorization: {bearer}")]);
    assert_eq!(passed(&[], "/", &[("authorization", &bearer)]).1, [format!("authorization: {bearer}")]);
}

#[test]
fn claims_become_headers() {
    let outputs: Vec<Value> = [
        ("h-text", "text"),
        ("h-number", "number"),
        ("h-negative", "negative"),
        ("h-fraction", "fraction"),
        ("h-large", "large"),
        ("h-yes", "yes"),
        ("h-nested", "a.b.c"),
        ("h-dotted", "https://example.com/role"),
        ("h-scope", "scope"),
        ("h-umlaut", "umlaut"),
        ("h-list", "list"),
        ("h-map", "a"),
        ("h-null", "null"),
        ("h-empty", "empty"),
        ("h-missing", "missing"),
        ("h-beyond", "text.more"),
        ("h-lines", "lines"),
        ("h-iss", "iss"),
    ]
    .iter()
    .map(|(header, claim)| json!({"header": header, "claim": claim}))
    .collect();
    let rules = one_rule(&json!({"outputClaimToHeaders": outputs}));
    let token = token(&json!({
        "text": "t", "number": 7, "negative": -7, "fraction": 1.5, "large": 9007199254740993_u64, "yes": true,
        "a": {"b": {"c": "deep"}}, "https://example.com/role": "dotted", "scope": "read write", "umlaut": "ü",
        "list": ["x"], "null": null, "empty": "", "lines": "a\r\nx-admin: yes",
    }));
    let (_, left, forwarded) = passed(&rules, "/", &[("authorization", &format!("Bearer {token}"))]);
    assert_eq!(
        left,
        [
            "h-dotted: dotted",
            "h-fraction: 1.5",
            "h-iss: i",
            "h-large: 9007199254740993",
            "h-negative: -7",
            "h-nested: deep",
            "h-number: 7",
            "h-scope: read write",
            "h-text: t",
            "h-umlaut: ü",
            "h-yes: true",
        ]
    );
    assert_eq!(forwarded, Forwarded { removed: 0, written: 11 });
}

#[test]
fn the_payload_becomes_a_header_as_it_is() {
    let token = token(&json!({"x": "y"}));
    let rules = one_rule(&json!({"outputPayloadToHeader": "x-payload"}));
    let (_, left, _) = passed(&rules, "/", &[("authorization", &format!("Bearer {token}"))]);
    assert_eq!(left, [format!("x-payload: {}", token.split('.').nth(1).unwrap())]);
}

#[test]
fn what_a_client_writes_under_the_meshs_names_never_arrives() {
    let keys = jwks(&[P256.jwk(json!({}))]);
    let rules = rules(&json!([
        {"issuer": "i", "jwks": keys, "outputPayloadToHeader": "x-payload",
         "outputClaimToHeaders": [{"header": "x-role", "claim": "role"}]},
        {"issuer": "j", "jwks": keys, "outputClaimToHeaders": [{"header": "X-Other", "claim": "role"}]},
    ]));
    let forged = [("x-payload", "p"), ("X-Role", "admin"), ("x-role", "root"), ("x-other", "o"), ("x-free", "f")];
    let (_, left, forwarded) = passed(&rules, "/", &forged);
    assert_eq!((left, forwarded), (vec!["x-free: f".to_owned()], Forwarded { removed: 4, written: 0 }), "no token");
    let bearer = format!("Bearer {}", token(&json!({})));
    let with_token: Vec<_> = forged.into_iter().chain([("authorization", bearer.as_str())]).collect();
    let (_, left, _) = passed(&rules, "/", &with_token);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0] == "x-free: f" && left[1].starts_with("x-payload: ") && left[1] != "x-payload: p", "{left:?}");
}

#[test]
fn a_header_may_have_the_token_and_get_the_payload() {
    let token = token(&json!({}));
    let rules = one_rule(&json!({"fromHeaders": [{"name": "x"}], "outputPayloadToHeader": "x"}));
    let (_, left, forwarded) = passed(&rules, "/", &[("x", &token)]);
    assert_eq!(left, [format!("x: {}", token.split('.').nth(1).unwrap())]);
    assert_eq!(forwarded.written, 1);
}
