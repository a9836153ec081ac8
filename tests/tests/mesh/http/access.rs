//! Who may send which request: policies over method, path and header, and tokens, at the server's node.

use std::time::SystemTime;

use anyhow::{Context, Result};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use heddle_tests::bed::Agent;
use heddle_tests::peer::grpc::GrpcReport;
use heddle_tests::peer::http::report::Ask;
use heddle_tests::peer::websocket::WsReport;
use serde_json::{Value, json};

use super::tools::{Client, Web, document, listening};
use crate::world::{SOON, eventually};

const SECURITY: &str = "security.istio.io/v1";

/// An AuthorizationPolicy for the pod `far`.
fn policy(name: &str, action: &str, rules: &str) -> String {
    let spec = format!("{{selector: {{matchLabels: {{app: far}}}}, action: {action}, rules: {rules}}}");
    document(SECURITY, "AuthorizationPolicy", name, &spec)
}

#[test]
fn policies_decide_over_method_path_and_header_of_each_request() -> Result<()> {
    let mut web = Web::new("http-access")?;
    web.in_force(
        &(policy(
            "readers",
            "ALLOW",
            "[{to: [{operation: {methods: [GET], paths: [\"/public/*\", \"/item/{*}\"]}}]}, \
          {to: [{operation: {methods: [POST]}}], when: [{key: \"request.headers[x-role]\", values: [editor]}]}]",
        ) + &policy("secrets", "DENY", "[{to: [{operation: {paths: [/public/secret*]}}]}]")),
    )?;
    let cases = [
        ("GET", "/public/a", "", true),
        ("GET", "/public/a?x=/private", "", true),
        ("GET", "/item/1", "", true),
        ("GET", "/item/1/2", "", false),
        ("GET", "/private", "", false),
        ("PUT", "/public/a", "", false),
        ("POST", "/private", "editor", true),
        ("POST", "/private", "reader", false),
        ("POST", "/public/a", "", false),
        ("GET", "/public/secret/x", "", false),
        ("GET", "/public/./secret", "", false),
        ("GET", "/public/%73ecret", "", false),
        ("GET", "/x/../public/a", "", true),
        ("POST", "/public/secret", "editor", false),
    ];
    let mut served = 0;
    for h2 in [false, true] {
        for (method, target, role, allowed) in cases {
            let mut ask = Ask { h2, ..web.get(target).method(method) };
            if !role.is_empty() {
                ask = ask.header("x-role", role);
            }
            let answer = web.client.ask(ask)?;
            assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{method} {target} {role}, h2 {h2}: {answer:?}");
            served += usize::from(allowed);
        }
    }
    assert_eq!(web.server.requests().len(), served, "what is denied reaches nobody");
    let mut stranger = Client::of(&web.world.stranger()?)?;
    assert_eq!(stranger.ask(Ask::to(web.world.far.at(8080)).target("/private"))?.status, 403, "in plaintext");
    assert_eq!(stranger.ask(Ask::to(web.world.far.at(8080)).target("/public/a"))?.status, 200);
    Ok(())
}

#[test]
fn a_connection_is_not_judged_by_its_first_request() -> Result<()> {
    let mut web = Web::new("http-access-each")?;
    web.in_force(&policy("get", "ALLOW", "[{to: [{operation: {methods: [GET]}}]}]"))?;
    let request = |method: &str| format!("{method} / HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\n\r\n");
    let all = request("GET") + &request("POST") + &request("GET") + &request("DELETE");
    let answer = web.client.raw(web.service.at(80), &all, 3_000)?;
    let received = &answer.received;
    let statuses: Vec<&str> = received.match_indices("HTTP/1.1 ").map(|(at, _)| &received[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "403", "200", "403"], "{answer:?}");
    // A policy that changes counts for the next request of a connection that is open.
    let slow = Ask { h2: true, ..web.get("/").behave("delay=300") }.times(10, 1);
    let order = web.client.begin(slow)?;
    web.server.wait_request(|seen| seen.header("x-behave").is_some())?;
    web.in_force(&policy("none", "DENY", "[{}]"))?;
    let statuses: Vec<u16> = web.client.end(order)?.iter().map(|answer| answer.status).collect();
    assert!(statuses.last() != Some(&200), "{statuses:?}");
    Ok(())
}

#[test]
fn a_websocket_ends_when_its_connection_is_not_permitted_any_more_and_counts_as_one_until_then() -> Result<()> {
    let web = Web::new("http-access-upgraded")?;
    let _chat = listening(&web.world.far, "ws-serve --listen 8090")?;
    let to = web.world.far.at(8090);
    let mut open = web.world.client.peer(&format!("ws --to {to} --count 100000 --pause-ms 5"))?.start()?;
    let connections = |agent: &Agent, direction| -> Result<f64> {
        Ok(agent.metrics()?.sum("heddle_pod_connections", &[("direction", direction)]))
    };
    eventually("it is a connection of its pods", SOON, || {
        Ok(web.world.b.metrics()?.sum("heddle_upgrades_total", &[]) == 1.0
            && connections(&web.world.a, "outbound")? == 1.0
            && connections(&web.world.b, "inbound")? >= 2.0)
    })?;
    web.in_force(&policy("none", "DENY", "[{}]"))?;
    open.close_stdin();
    let finished = open.wait(SOON)?;
    let report: WsReport = serde_json::from_str(finished.stdout.last().context("no report")?)?;
    assert!(report.echoed > 0 && !report.closed && report.error.is_some(), "{report:?}");
    eventually("nothing is left of it", SOON, || Ok(connections(&web.world.a, "outbound")? == 0.0))?;
    let withdrawn = web.world.b.metrics()?.sum("heddle_withdrawn_connections_total", &[]);
    assert_eq!(withdrawn, 1.0);
    Ok(())
}

#[test]
fn a_call_that_is_denied_ends_with_permission_denied() -> Result<()> {
    let web = Web::new("http-access-grpc")?;
    let _calls = listening(&web.world.far, "grpc-serve --listen 9000 --name calls")?;
    let service = web.world.bed.service("calls", &[(80, 9000)])?;
    service.backends(&[&web.world.far])?;
    web.in_force(&policy("unary", "DENY", "[{to: [{operation: {paths: [/heddle.test.Echo/Unary]}}]}]"))?;
    let ask = |method: &str| -> Result<GrpcReport> {
        web.world.client.ask(&format!("grpc --to {} --method {method}", service.at(80)))
    };
    let denied = ask("unary")?;
    assert_eq!(denied.calls[0].code, "PERMISSION_DENIED", "{denied:?}\n{}", web.said()?);
    assert_eq!(ask("bidi")?.calls[0].code, "OK");
    Ok(())
}

/// An issuer of tokens.
struct Issuer(Ed25519KeyPair);

impl Issuer {
    fn new() -> Result<Self> {
        Ok(Self(Ed25519KeyPair::generate().ok().context("making a key")?))
    }

    fn keys(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "EdDSA", "x": x}]}).to_string()
    }

    /// A token that is valid for `seconds`, with further claims.
    fn token(&self, seconds: i64, claims: &Value) -> Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let mut content = json!({"iss": "tests", "sub": "alice", "exp": i64::try_from(now)? + seconds});
        for (name, value) in claims.as_object().context("claims")? {
            content[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": "k"})), part(&content));
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(signed.as_bytes()).as_ref())))
    }
}

#[test]
fn tokens_are_checked_and_their_claims_decide() -> Result<()> {
    let mut web = Web::new("http-tokens")?;
    let (issuer, other) = (Issuer::new()?, Issuer::new()?);
    let rules = format!(
        "{{selector: {{matchLabels: {{app: far}}}}, jwtRules: [{{issuer: tests, jwks: '{}', outputClaimToHeaders: [{{header: x-user, claim: sub}}]}}]}}",
        issuer.keys()
    );
    let groups = policy(
        "admins",
        "ALLOW",
        "[{to: [{operation: {paths: [/open*]}}]}, {from: [{source: {requestPrincipals: [tests/*]}}], to: [{operation: {paths: [/mine*]}}]}, \
          {when: [{key: \"request.auth.claims[groups]\", values: [admin]}]}]",
    );
    web.in_force(&(document(SECURITY, "RequestAuthentication", "far", &rules) + &groups))?;
    let (good, admin) = (issuer.token(600, &json!({}))?, issuer.token(600, &json!({"groups": ["user", "admin"]}))?);
    let (expired, forged) = (issuer.token(-600, &json!({}))?, other.token(600, &json!({"groups": ["admin"]}))?);
    let cases = [
        ("/open", None, 200),
        ("/open", Some(&good), 200),
        ("/open", Some(&expired), 401),
        ("/open", Some(&forged), 401),
        ("/mine", None, 403),
        ("/mine", Some(&good), 200),
        ("/admin", None, 403),
        ("/admin", Some(&good), 403),
        ("/admin", Some(&admin), 200),
        ("/admin", Some(&forged), 401),
    ];
    for h2 in [false, true] {
        for (target, token, status) in cases {
            let mut ask = Ask { h2, ..web.get(target).header("x-user", "mallory") };
            if let Some(token) = token {
                ask = ask.header("authorization", &format!("Bearer {token}"));
            }
            let answer = web.client.ask(ask)?;
            assert_eq!(answer.status, status, "{target} {token:?}, h2 {h2}: {answer:?}");
            assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
            if let (200, Some(_)) = (status, token) {
                let seen = answer.seen().context("what the server saw")?;
                assert_eq!(
                    (seen.header("x-user").as_deref(), seen.header("authorization")),
                    (Some("alice"), None),
                    "{seen:?}"
                );
            }
        }
    }
    let not_a_token = web.client.ask(web.get("/open").header("authorization", "Bearer x.y.z"))?;
    assert_eq!(not_a_token.status, 401, "{not_a_token:?}");
    Ok(())
}
