//! Any text as the head of a request with a token, and any bytes as a set of keys.
//!
//! Promised: nothing is believed but what the issuer has signed; a token that is not for the application does not reach it, and
//! headers that only the mesh writes have what the mesh wrote. The issuer's keys are public ones and its tokens are among
//! the kept inputs: nobody here can sign another.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use fastrand::Rng;
use http::{HeaderMap, Uri};
use serde_json::{Map, Value, json};

use super::{Exercised, Mutator, Target, gist, head, lines};
use crate::{
    authorize::token::{Outcome, Request, authenticate, forward, keys::KnownKeys},
    mesh::{MeshSettings, Snapshot, TokenRule, compile_enforcing},
    objects::{ConfigMap, Object, ObjectName, ObjectSet, Pod},
    rules::{
        Enforced,
        request_authentication::{Jwks, KeySet},
    },
};

/// Readers of tokens, which believe one issuer.
#[derive(Debug)]
pub(super) struct Tokens {
    rules: Vec<TokenRule>,
    /// What each of the issuer's tokens says.
    genuine: Vec<Map<String, Value>>,
}

/// The issuer's public keys.
const KEYS: &str = include_str!("../../corpus/token/issuer.jwks");

/// One token a line, with the header that it is sent in: everything that the issuer has signed.
const GENUINE: &str = include_str!("../../corpus/token/genuine");

/// Seconds since 1970 at which all inputs come.
const NOW: u64 = 1_800_000_000;

impl Tokens {
    pub(super) fn new() -> Self {
        let rules = rules();
        let tokens = GENUINE.lines().filter_map(|line| line.split_once(": "));
        let genuine = tokens.filter_map(|(name, token)| {
            let headers = [(name.parse().ok()?, token.parse().ok()?)].into_iter().collect();
            said(&ask(&rules, &headers, &Uri::default()))
        });
        Self { genuine: genuine.collect(), rules }
    }
}

impl Target for Tokens {
    fn exercise(&self, input: &[u8], _: &mut Rng) -> Result<Exercised, String> {
        let mut ways = vec![keys(input)?];
        let Some(parts) = head::read(input) else { return Ok(Exercised { accepted: 0, ways }) };
        let outcome = ask(&self.rules, &parts.headers, &parts.uri);
        ways.push(match &outcome {
            Outcome::NoToken => "none".to_owned(),
            Outcome::Verified(token) => format!("believed, rule {}", token.rule().1),
            Outcome::Refused(refusal) => refusal.reason().as_str().to_owned(),
        });
        if said(&outcome).is_some_and(|claims| !self.genuine.contains(&claims)) {
            return Err(format!("{outcome:?} is believed, which nobody has signed"));
        }
        if !matches!(outcome, Outcome::Refused(_)) {
            self.passed_on(&outcome, parts.headers, parts.uri)?;
        }
        Ok(Exercised { accepted: usize::from(outcome.token().is_some()), ways })
    }

    fn mutator(&self) -> &Mutator {
        &MUTATOR
    }

    /// The issuer's tokens, in each place where one may be.
    fn seeds(&self, kept: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let tokens = GENUINE.lines().filter_map(|line| line.split_once(": "));
        let seeds = tokens.flat_map(|(name, token)| {
            let bare = token.trim_start_matches("Bearer ");
            [
                format!("GET / HTTP/1.1\n{name}: {token}\ncookie: a=b\n"),
                format!("GET /?access_token={bare}&p={bare} HTTP/2\nx-payload: forged\n"),
                format!("GET /?a=b HTTP/1.1\ncookie: a=b; c={bare}\nx-sub: forged\n"),
            ]
        });
        seeds.map(String::into_bytes).chain(kept).collect()
    }
}

impl Tokens {
    /// What the application gets has no token any more, and in the mesh's own headers what the mesh wrote.
    fn passed_on(&self, outcome: &Outcome, mut headers: HeaderMap, mut target: Uri) -> Result<(), String> {
        let written = forward(&self.rules, outcome.token(), &mut headers, &mut target).written;
        let own = WRITTEN.iter().map(|name| headers.get_all(*name).iter().count()).sum::<usize>();
        if own != written {
            return Err(format!("{written} headers were written, and {own} of the mesh are there: {headers:?}"));
        }
        match ask(&self.rules, &headers, &target) {
            Outcome::NoToken => Ok(()),
            other => Err(format!("{other:?} is what is found in what the application gets, of {outcome:?}")),
        }
    }
}

/// Bytes as keys that somebody publishes, and as those of a document, which has to be without fault.
fn keys(bytes: &[u8]) -> Result<String, String> {
    let published = KeySet::published(bytes);
    let written = std::str::from_utf8(bytes).map_err(|error| error.to_string()).and_then(Jwks::parse);
    if let Ok(keys) = &written {
        let again = serde_json::to_value(keys).ok().and_then(|text| Jwks::parse(text.as_str()?).ok());
        if again.as_ref() != Some(keys) {
            return Err(format!("{keys:?} comes back as {again:?}"));
        }
    }
    let count = |keys: &KeySet| keys.keys().len();
    match (&published, &written) {
        (Ok((keys, _)), _) if count(keys) > KeySet::MOST => Err(format!("{} keys are taken", count(keys))),
        (Ok((published, _)), Ok(written)) if count(published) != count(written.keys()) => {
            Err(format!("{published:?} where it is published, and {written:?} in a document"))
        }
        (Err(problem), Ok(_)) => Err(format!("taken in a document, and not where it is published: {problem}")),
        (Ok((keys, left_out)), _) => Ok(format!("{} keys, {:?}", count(keys), left_out.first().map(|why| gist(why)))),
        (Err(problem), _) => Ok(gist(problem)),
    }
}

fn ask(rules: &[TokenRule], headers: &HeaderMap, target: &Uri) -> Outcome {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    authenticate(rules, &Request { headers, target, at }, &KnownKeys::default())
}

fn said(outcome: &Outcome) -> Option<Map<String, Value>> {
    outcome.token().map(|token| token.claims().clone())
}

/// Headers that the rules write.
const WRITTEN: [&str; 2] = ["x-payload", "x-sub"];

/// One rule with places of its own, and one with the usual ones, as an agent has them.
fn rules() -> Vec<TokenRule> {
    let own = json!({
        "issuer": "i", "jwks": KEYS, "fromHeaders": [{"name": "x", "prefix": "T "}], "fromParams": ["p"], "fromCookies": ["c"],
        "outputPayloadToHeader": "x-payload",
        "outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}],
    });
    let usual = json!({ "issuer": "i", "jwks": KEYS, "audiences": ["shop"] });
    let document = json!({
        "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": {"name": "tokens"},
        "spec": {"jwtRules": [own, usual]},
    });
    let data = BTreeMap::from([("a".to_owned(), document.to_string().as_str().into())]);
    let map = ConfigMap { name: ObjectName::new("shop", "tokens"), uid: None, created: None, data };
    let address = [10, 0, 0, 1].into();
    let pod = Pod { name: ObjectName::new("shop", "cart"), addresses: [address].into(), ..Pod::default() };
    let mut objects = ObjectSet::default();
    objects.insert(Object::ConfigMap(map.into()));
    objects.insert(Object::Pod(Arc::new(pod)));
    let trust_domain = "cluster.local".parse().unwrap_or_else(|_| unreachable!("it is a domain"));
    let settings = MeshSettings { node: "a".into(), trust_domain, root_namespace: "heddle-system".into() };
    let snapshot: Snapshot = compile_enforcing(&objects, &settings, Enforced::EVERYTHING).snapshot;
    snapshot.workload(address).map(|workload| snapshot.token_rules_of(workload)).unwrap_or_default()
}

const MUTATOR: Mutator = Mutator {
    words: &WORDS,
    repeated: &[b"a=b; ", b"&a=b", b"x: T a.b.c\n", KEY, b"[", b"A", b"."],
    marks: b"\n :;,=?&.\"{}[]",
    parts: lines,
    most: 32 << 10,
};

/// One that can be used, before others.
const KEY: &[u8] = br#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIUvOsYLTs"},"#;

const WORDS: [&[u8]; 62] = [
    b"GET / HTTP/1.1\n",
    b"GET /?access_token=",
    b"&access_token=",
    b"&p=",
    b"?p=",
    b"%2e",
    b"%70=",
    b"\nx: T ",
    b"\nx: t\t",
    b"\nx: ",
    b"\nauthorization: Bearer ",
    b"\nauthorization: bEARER  ",
    b"\nauthorization: Basic YTpi",
    b"\ncookie: c=",
    b"; c=",
    b" c = ",
    b"\"",
    b"\nx-payload: forged",
    b"\nx-sub: root",
    b"\nX-Sub: root",
    b".",
    b"..",
    b"=",
    b"A",
    b"-",
    b"_",
    b"+",
    b"/",
    b"\xff",
    // Headers: {"alg":"none"}, {"alg":"HS256"}, {"alg":"ES256","crit":["x"]}, {"alg":"EdDSA","kid":7}.
    b"eyJhbGciOiJub25lIn0",
    b"eyJhbGciOiJIUzI1NiJ9",
    b"eyJhbGciOiJFUzI1NiIsImNyaXQiOlsieCJdfQ",
    b"eyJhbGciOiJFZERTQSIsImtpZCI6N30",
    // Claims: {"iss":"i"}, {"iss":"i","sub":"root","exp":1}, {"iss":["i"]}, {"iss":"i","nbf":9e99}.
    b"eyJpc3MiOiJpIn0",
    b"eyJpc3MiOiJpIiwic3ViIjoicm9vdCIsImV4cCI6MX0",
    b"eyJpc3MiOlsiaSJdfQ",
    b"eyJpc3MiOiJpIiwibmJmIjo5ZTk5fQ",
    b"{\"keys\":[",
    b"]}",
    b"{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
    b"\"kty\":\"EC\"",
    b"\"kty\":\"OKP\"",
    b"\"kty\":\"oct\",\"k\":\"AA\"",
    b"\"crv\":\"P-256\"",
    b"\"crv\":\"P-521\"",
    b"\"crv\":\"Ed25519\"",
    b"\"crv\":\"secp256k1\"",
    b"\"use\":\"enc\"",
    b"\"key_ops\":[\"sign\"]",
    b"\"alg\":\"RS256\"",
    b"\"alg\":\"ES384\"",
    b"\"kid\":\"\"",
    b"\"kid\":1",
    b"\"d\":\"AA\"",
    b"\"x\":\"\"",
    b"\"y\":\"AA\"",
    b"null",
    b"{}",
    b"[]",
    b",",
    b"1e999",
    b"\\u0000",
];
