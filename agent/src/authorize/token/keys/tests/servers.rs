//! Fetching from real servers.

use std::{fs, io::Write, net::SocketAddr, path::Path, time::Instant};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::{
    super::{http_get::LARGEST_ANSWER, *},
    server::{Authority, Hosts, KeyServer, Says},
};
use crate::{
    authorize::token::tests::issuer::{ED25519, P256, RSA, jwks},
    observe::KeyFetchResult,
    outside::Roots,
};

const LIMIT: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(300);

fn everywhere() -> AddressRule {
    |_| true
}

fn servers(names: &[(&'static str, &'static str)]) -> KeyServers {
    KeyServers::new(Arc::new(Hosts(names.to_vec())), Roots::Machine, everywhere())
}

fn at(text: impl AsRef<str>) -> KeyLocation {
    KeyLocation::Uri(text.as_ref().parse().unwrap())
}

fn keys() -> String {
    jwks(&[P256.jwk(json!({"kid": "a"})), RSA.jwk(json!({"kid": "b"}))])
}

/// How a fetch that must fail failed: its label, and what it says.
async fn failure(servers: &KeyServers, location: &KeyLocation, limit: Duration) -> (KeyFetchResult, String) {
    let error = servers.fetch(location, limit).await.unwrap_err();
    (error.result(), error.to_string())
}

#[tokio::test]
async fn keys_are_fetched_by_name_address_path_and_query() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    server.has("/keys?v=1", &keys());
    let (servers, port) = (servers(&[("login.example.com", "127.0.0.1")]), server.address.port());
    for host in ["login.example.com", "127.0.0.1"] {
        let published = servers.fetch(&at(format!("http://{host}:{port}/keys?v=1")), LIMIT).await.unwrap();
        assert_eq!((published.keys.keys().len(), published.good_for), (2, None));
        assert_eq!(server.last_header("host"), Some(format!("{host}:{port}")));
        assert_eq!(server.last_header("authorization"), None);
    }
    let with_user = at(format!("http://user:secret@127.0.0.1:{port}/keys?v=1"));
    servers.fetch(&with_user, LIMIT).await.unwrap();
    assert_eq!(server.last_header("host"), Some(format!("127.0.0.1:{port}")));
}

#[tokio::test]
async fn keys_are_fetched_over_ipv6() {
    let server = KeyServer::plain("[::1]:0").await;
    server.has("/", &keys());
    let published = servers(&[]).fetch(&at(format!("http://[::1]:{}", server.address.port())), LIMIT).await;
    assert_eq!(published.unwrap().keys.keys().len(), 2);
}

#[tokio::test]
async fn a_server_must_prove_its_name_by_a_root_that_is_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = KeyServer::tls(&authority, &["login.example.com", "127.0.0.1"]).await;
    server.has("/keys", &keys());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roots.pem");
    let names = Hosts(vec![("login.example.com", "127.0.0.1"), ("other.example.com", "127.0.0.1")]);
    let servers = KeyServers::new(Arc::new(names), Roots::File(path.clone()), everywhere());
    let url = |host: &str| at(format!("https://{host}:{}/keys", server.address.port()));

    let (result, text) = failure(&servers, &url("login.example.com"), LIMIT).await;
    assert_eq!(result, KeyFetchResult::Tls, "no file: {text}");
    assert!(text.contains("roots.pem"), "{text}");
    fs::write(&path, "nothing\n").unwrap();
    let (result, text) = failure(&servers, &url("login.example.com"), LIMIT).await;
    assert!(result == KeyFetchResult::Tls && text.contains("found no certificate"), "{text}");
    fs::write(&path, other.root()).unwrap();
    let (result, text) = failure(&servers, &url("login.example.com"), LIMIT).await;
    assert!(result == KeyFetchResult::Tls && text.contains("jwks.roots"), "wrong root: {text}");
    assert_eq!(server.asked(), [""; 0], "nothing was asked of a server that proved nothing");

    // The file is read again, and the order in it does not matter.
    append(&path, &authority.root());
    for host in ["login.example.com", "127.0.0.1"] {
        assert_eq!(servers.fetch(&url(host), LIMIT).await.unwrap().keys.keys().len(), 2, "{host}");
    }
    let (result, text) = failure(&servers, &url("other.example.com"), LIMIT).await;
    assert_eq!(result, KeyFetchResult::Tls, "another name: {text}");
    let plain = at(format!("http://127.0.0.1:{}/keys", server.address.port()));
    assert_eq!(failure(&servers, &plain, LIMIT).await.0, KeyFetchResult::Unreachable, "HTTP to TLS");
}

fn append(path: &Path, text: &str) {
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn https_to_what_speaks_no_tls_fails() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roots.pem");
    fs::write(&path, authority.root()).unwrap();
    let servers = KeyServers::new(Arc::new(Hosts::default()), Roots::File(path), everywhere());
    let (result, text) = failure(&servers, &at(format!("https://{}/", server.address)), LIMIT).await;
    assert_eq!(result, KeyFetchResult::Tls, "{text}");
}

#[tokio::test]
async fn an_issuers_metadata_leads_to_its_keys() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    let base = format!("http://{}", server.address);
    let servers = servers(&[]);
    let well_known = "/realm/.well-known/openid-configuration";
    let issuer = format!("{base}/realm");
    let of = |issuer: &str| KeyLocation::Issuer(issuer.into());
    server.has("/keys", &keys());

    server.has(well_known, &json!({"issuer": issuer, "jwks_uri": format!("{base}/keys"), "more": []}).to_string());
    assert_eq!(servers.fetch(&of(&issuer), LIMIT).await.unwrap().keys.keys().len(), 2);
    assert_eq!(server.asked(), [well_known, "/keys"]);
    // The slash is a part of the issuer, and not of the place.
    let (result, text) = failure(&servers, &of(&format!("{issuer}/")), LIMIT).await;
    assert!(result == KeyFetchResult::Invalid && text.contains("is of issuer"), "{text}");

    for (metadata, said) in [
        (
            json!({"issuer": "https://evil.example", "jwks_uri": format!("{base}/keys")}),
            "is of issuer \"https://evil.example\"",
        ),
        (json!({"jwks_uri": format!("{base}/keys")}), "is of issuer null"),
        (json!({"issuer": issuer}), "has no web address as jwks_uri: null"),
        (json!({"issuer": issuer, "jwks_uri": "file:///etc/passwd"}), "has no web address as jwks_uri"),
        (json!([]), "is of issuer null"),
    ] {
        server.has(well_known, &metadata.to_string());
        let (result, text) = failure(&servers, &of(&issuer), LIMIT).await;
        assert!(result == KeyFetchResult::Invalid && text.contains(said), "{text}");
    }
    server.has(well_known, "<html>");
    let (result, text) = failure(&servers, &of(&issuer), LIMIT).await;
    assert!(result == KeyFetchResult::Invalid && text.contains("is no JSON"), "{text}");
    for issuer in ["testing@secure.example.com", "login", "ftp://login.example.com", ""] {
        let (result, text) = failure(&servers, &of(issuer), LIMIT).await;
        assert!(result == KeyFetchResult::NoAddress && text.contains("jwksUri"), "{issuer}: {text}");
    }
}

#[tokio::test]
async fn other_answers_than_200_are_failures_and_redirects_are_not_followed() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    let servers = servers(&[]);
    server.has("/elsewhere", &keys());
    for status in [201, 204, 301, 302, 307, 308, 401, 403, 404, 429, 500, 503] {
        let place = format!("http://{}/elsewhere", server.address);
        server.says("/keys", Says::Whole(status, vec![("location", place)], keys()));
        let (result, text) = failure(&servers, &at(format!("http://{}/keys", server.address)), LIMIT).await;
        assert_eq!(result, KeyFetchResult::Status, "{status}: {text}");
        assert!(text.contains(&status.to_string()) && text.contains("not followed"), "{text}");
    }
    assert!(!server.asked().contains(&"/elsewhere".to_owned()));
}

#[tokio::test]
async fn a_server_that_is_silent_is_left() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    server.says("/hangs", Says::Hangs);
    server.says("/stops", Says::Stops);
    // The kernel takes the connection; nobody else does.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = Authority::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("roots.pem");
    fs::write(&path, authority.root()).unwrap();
    let servers = KeyServers::new(Arc::new(Hosts::default()), Roots::File(path), everywhere());
    let silent = silent.local_addr().unwrap();
    for url in [
        format!("http://{}/hangs", server.address),
        format!("http://{}/stops", server.address),
        format!("http://{silent}/"),
        format!("https://{silent}/"),
    ] {
        let started = Instant::now();
        let (result, text) = failure(&servers, &at(&url), SOON).await;
        assert_eq!((result, text.as_str()), (KeyFetchResult::Timeout, "no answer within 300ms"), "{url}");
        assert!(started.elapsed() >= SOON, "{url}");
    }
}

#[tokio::test]
async fn answers_without_usable_keys_are_failures() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    let servers = servers(&[]);
    let many: Vec<Value> = (0..101).map(|_| P256.jwk(json!({}))).collect();
    let secret = ED25519.jwk(json!({"d": "AAAA"}));
    for (body, said) in [
        (String::new(), "is no JSON"),
        ("garbage".to_owned(), "is no JSON"),
        ("{}".to_owned(), "has no list of keys"),
        (jwks(&[]), "has no list of keys"),
        (jwks(&many), "has 101 keys, allowed: up to 100"),
        (jwks(&[json!({"kty": "oct", "k": "AAAA"})]), "keys[0] has \"k\", part of a secret key"),
        (
            jwks(&[secret, json!(7)]),
            "keys[0] has \"d\", part of a secret key; give the public key only; keys[1] is no object",
        ),
        (jwks(&[P256.jwk(json!({"use": "enc"}))]), "keys[0].use is \"enc\", not \"sig\""),
        (jwks(&[P256.jwk(json!({"key_ops": ["sign"]}))]), "without \"verify\""),
        (jwks(&[P256.jwk(json!({"alg": "ES384"}))]), "which is not for a key like this"),
        (jwks(&[P256.jwk(json!({"alg": "none"}))]), "keys[0].alg is \"none\", allowed: RS256"),
        (jwks(&[P256.jwk(json!({"kid": 7}))]), "keys[0].kid is 7"),
        (jwks(&[P256.jwk(json!({"crv": "P-384"}))]), "is no point of the curve P-384"),
        (jwks(&[P256.jwk(json!({"y": "AAAA"}))]), "is no point of the curve P-256"),
        (jwks(&[P256.jwk(json!({"x": "a+b"}))]), "keys[0].x is \"a+b\", allowed: base64url"),
        (jwks(&[P256.jwk(json!({"crv": "secp256k1"}))]), "allowed: P-256, P-384, P-521"),
        (jwks(&[ED25519.jwk(json!({"crv": "X25519"}))]), "allowed: Ed25519"),
        (jwks(&[RSA.jwk(json!({"n": "AQAB"}))]), "keys[0].n has 17 bits"),
        (jwks(&[RSA.jwk(json!({"e": ""}))]), "keys[0].e is \"\""),
        (jwks(&[RSA.jwk(json!({"e": null}))]), "keys[0].e is null"),
        ("{\"a\": \"-----BEGIN CERTIFICATE-----\"}".to_owned(), "has no list of keys"),
    ] {
        server.has("/", &body);
        let (result, text) = failure(&servers, &at(format!("http://{}/", server.address)), LIMIT).await;
        assert!(result == KeyFetchResult::Invalid && text.contains(said), "{text}\nfor {body}");
    }
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_left_out_and_told() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    let secret = RSA.jwk(json!({"d": "AAAA"}));
    let all = [P256.jwk(json!({"kid": "a"})), secret, json!({"kty": "new"}), ED25519.jwk(json!({"kid": "b"}))];
    server.has("/", &jwks(&all));
    let published = servers(&[]).fetch(&at(format!("http://{}", server.address)), LIMIT).await.unwrap();
    let ids: Vec<_> = published.keys.keys().iter().map(|key| key.id().unwrap()).collect();
    assert_eq!((ids, published.left_out.len()), (vec!["a", "b"], 2));
    assert!(published.left_out[1].starts_with("keys[2].kty is \"new\""), "{:?}", published.left_out);
}

#[tokio::test]
async fn a_long_answer_ends_where_it_becomes_too_long() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    let servers = servers(&[]);
    server.has("/known", &" ".repeat(LARGEST_ANSWER + 1));
    server.says("/pieces", Says::Pieces(LARGEST_ANSWER * 20));
    for path in ["known", "pieces"] {
        let (result, text) = failure(&servers, &at(format!("http://{}/{path}", server.address)), LIMIT).await;
        assert!(result == KeyFetchResult::Invalid && text.contains("longer than"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_or_is_no_http_is_a_failure() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    server.says("/", Says::Breaks);
    let servers = servers(&[]);
    assert_eq!(
        failure(&servers, &at(format!("http://{}", server.address)), LIMIT).await.0,
        KeyFetchResult::Unreachable
    );

    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = rude.local_addr().unwrap();
    let task = tokio::spawn(async move {
        for text in ["SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", ""] {
            let (mut stream, _) = rude.accept().await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    for _ in 0..3 {
        let (result, text) = failure(&servers, &at(format!("http://{address}")), LIMIT).await;
        assert_eq!(result, KeyFetchResult::Unreachable, "{text}");
    }
    task.await.unwrap();
}

#[tokio::test]
async fn the_next_address_is_asked_where_one_does_not_answer() {
    // Nobody listens on the first address.
    let server = KeyServer::plain("127.0.0.2:0").await;
    server.has("/", &keys());
    let servers = servers(&[("two", "127.0.0.1"), ("two", "127.0.0.2"), ("one", "127.0.0.1")]);
    let port = server.address.port();
    assert!(servers.fetch(&at(format!("http://two:{port}/")), LIMIT).await.is_ok());
    let (result, text) = failure(&servers, &at(format!("http://one:{port}/")), LIMIT).await;
    assert!(result == KeyFetchResult::Unreachable && text.contains(&format!("127.0.0.1:{port}")), "{text}");
}

#[tokio::test]
async fn names_without_an_answer_or_address_are_told_apart() {
    let servers = servers(&[]);
    let (result, text) = failure(&servers, &at("http://broken/"), LIMIT).await;
    assert!(result == KeyFetchResult::NoAddress && text.starts_with("resolve broken: "), "{text}");
    let (result, text) = failure(&servers, &at("http://nobody/"), LIMIT).await;
    assert_eq!((result, text.as_str()), (KeyFetchResult::NoAddress, "nobody has no address"));
}

#[tokio::test]
async fn the_node_itself_is_never_asked_whatever_name_leads_there() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    server.has("/keys", &keys());
    let names = Hosts(vec![("rebound", "127.0.0.1"), ("meta", "169.254.169.254"), ("mapped", "::ffff:127.0.0.1")]);
    let servers = KeyServers::new(Arc::new(names), Roots::Machine, OUTSIDE_ONLY);
    let port = server.address.port();
    for host in ["127.0.0.1", "rebound", "meta", "mapped", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "0.0.0.0"]
    {
        let (result, text) = failure(&servers, &at(format!("http://{host}:{port}/keys")), LIMIT).await;
        assert!(result == KeyFetchResult::Forbidden && text.contains("never asked"), "{host}: {text}");
    }
    let issuer = KeyLocation::Issuer(format!("http://rebound:{port}").into());
    assert_eq!(failure(&servers, &issuer, LIMIT).await.0, KeyFetchResult::Forbidden);
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn metadata_cannot_lead_to_the_node_itself() {
    let outside = KeyServer::plain("127.0.0.2:0").await;
    let inside: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let issuer = format!("http://{}", outside.address);
    let metadata = json!({"issuer": issuer, "jwks_uri": format!("http://{inside}/keys")});
    outside.has("/.well-known/openid-configuration", &metadata.to_string());
    let all_but_one: AddressRule = |address| address != std::net::Ipv4Addr::LOCALHOST;
    let servers = KeyServers::new(Arc::new(Hosts::default()), Roots::Machine, all_but_one);
    let (result, _) = failure(&servers, &KeyLocation::Issuer(issuer.into()), LIMIT).await;
    assert_eq!(result, KeyFetchResult::Forbidden);
}

#[tokio::test]
async fn how_long_keys_are_good_is_as_the_server_says() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    for (value, expected) in [
        ("max-age=60", Some(60)),
        ("public, Max-Age=\"61\", must-revalidate", Some(61)),
        ("s-maxage=5", None),
        ("no-store", None),
        ("max-age=soon", None),
        ("max-age=-1", None),
        ("max-age", None),
    ] {
        server.says("/", Says::Whole(200, vec![("cache-control", value.to_owned())], keys()));
        let published = servers(&[]).fetch(&at(format!("http://{}", server.address)), LIMIT).await.unwrap();
        assert_eq!(published.good_for.map(|time| time.as_secs()), expected, "{value}");
    }
}
