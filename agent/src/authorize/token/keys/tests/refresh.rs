//! When keys are fetched, kept and forgotten: scripted servers, and a paused clock.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    super::{
        refresh::{DEFAULT_LIMIT, LONGEST_LIFE, LONGEST_LIMIT, MAX_PAUSE, MOST_FETCHES, SHORTEST_LIFE, WISH_PAUSE},
        *,
    },
    server::{Hosts, KeyServer},
};
use crate::{
    authorize::token::{
        Outcome, Reason, Request, authenticate,
        tests::{
            issuer::{Key, OTHER_P256, P256, jwks},
            now, rules, snapshot,
        },
    },
    mesh::{Compiling, MeshState},
    objects::ObjectSet,
    observe::Observer,
    outside::Roots,
};

/// What a server says from now on.
#[derive(Clone)]
enum Says {
    Keys(&'static Key, Option<u64>),
    Fails,
    Nothing,
}

/// All servers. What is not in the script has one key and says nothing of its time.
#[derive(Default)]
struct Script {
    says: Mutex<BTreeMap<String, Says>>,
    asked: Mutex<Vec<(Instant, String, Duration)>>,
    open: Mutex<(usize, usize)>,
}

impl FetchKeys for Arc<Script> {
    fn fetch(&self, location: &KeyLocation, limit: Duration) -> BoxFuture<'static, Result<PublishedKeys, FetchError>> {
        let location = location.to_string();
        self.asked.lock().push((Instant::now(), location.clone(), limit));
        let says = self.says.lock().get(&location).cloned().unwrap_or(Says::Keys(&P256, None));
        let script = Arc::clone(self);
        async move {
            {
                let mut open = script.open.lock();
                open.0 += 1;
                open.1 = open.1.max(open.0);
            }
            sleep(Duration::from_millis(1)).await;
            let answer = match says {
                Says::Keys(key, good_for) => {
                    let set = jwks(&[key.jwk(json!({"kid": "k"}))]);
                    let (keys, left_out) = KeySet::published(set.as_bytes()).unwrap();
                    let good_for = good_for.map(Duration::from_secs);
                    Ok(PublishedKeys { keys: Arc::new(keys), left_out, good_for })
                }
                Says::Fails => Err(FetchError::Status { status: StatusCode::BAD_GATEWAY, moved: None }),
                Says::Nothing => {
                    sleep(limit).await;
                    Err(FetchError::TimedOut(limit))
                }
            };
            script.open.lock().0 -= 1;
            answer
        }
        .boxed()
    }
}

/// A mesh whose documents name keys.
struct World {
    script: Arc<Script>,
    mesh: watch::Sender<MeshState>,
    store: KeyStore,
    observer: Observer,
    start: Instant,
}

fn state(documents: &[(&str, &str, &str)]) -> MeshState {
    MeshState {
        snapshot: Arc::new(snapshot(&[], documents)),
        published: std::time::Instant::now(),
        compiling: Compiling::default(),
        objects: ObjectSet::default().counts(),
        source_problems: Arc::default(),
        mesh_problems: Arc::default(),
        documents: Arc::default(),
    }
}

/// `jwtRules` that fetch from these paths.
fn naming(paths: &[&str]) -> String {
    let rules: Vec<Value> = paths.iter().map(|path| json!({"issuer": "i", "jwksUri": place(path)})).collect();
    json!({ "jwtRules": rules }).to_string()
}

fn place(path: &str) -> String {
    format!("https://keys.example/{path}")
}

impl World {
    async fn new(spec: &str) -> Self {
        let script = Arc::<Script>::default();
        let observer = Observer::new("c".into(), None).unwrap();
        let (refresh, store) = KeyRefresh::new(Arc::new(Arc::clone(&script)), observer.clone());
        let (mesh, receiver) = watch::channel(state(&[("shop", "a", spec)]));
        tokio::spawn(refresh.run(receiver));
        let world = Self { script, mesh, store, observer, start: Instant::now() };
        world.passes(MOMENT).await;
        world
    }

    async fn documents(&self, documents: &[(&str, &str, &str)]) {
        self.mesh.send_replace(state(documents));
        self.passes(MOMENT).await;
    }

    async fn passes(&self, time: Duration) {
        sleep(time).await;
    }

    fn says(&self, path: &str, says: Says) {
        self.script.says.lock().insert(place(path), says);
    }

    /// When a path was asked, since the start.
    fn asked(&self, path: &str) -> Vec<Duration> {
        let asked = self.script.asked.lock();
        asked.iter().filter(|(_, asked, _)| *asked == place(path)).map(|(at, ..)| *at - self.start).collect()
    }

    /// What becomes of a token of this key with a rule for this path; the store learns of it.
    fn asks(&self, path: &str, key: &Key, id: &str) -> Option<Reason> {
        let rules = rules(&json!([{"issuer": "i", "jwksUri": place(path)}]));
        let token = key.token(&json!({"alg": "ES256", "kid": id}), &json!({"iss": "i", "sub": "s"}));
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        let request = Request { headers: &headers, target: &Uri::from_static("/"), at: now() };
        let outcome = authenticate(&rules, &request, &self.store.load());
        self.store.learn_from(&outcome);
        match outcome {
            Outcome::Refused(refusal) => Some(refusal.reason()),
            Outcome::Verified(_) => None,
            Outcome::NoToken => panic!("it has one"),
        }
    }

    fn counted(&self, line: &str) -> bool {
        self.observer.scrape().unwrap().collect::<String>().lines().any(|shown| shown == line)
    }

    fn age(&self) -> f64 {
        let text = self.observer.scrape().unwrap().collect::<String>();
        let line = text.lines().find(|line| line.starts_with("heddle_token_keys_age_seconds ")).unwrap();
        line.split_once(' ').unwrap().1.parse().unwrap()
    }
}

const MOMENT: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_ahead_and_believed() {
    let world = World::new(&naming(&["a"])).await;
    assert_eq!(world.asks("a", &P256, "k"), None);
    assert_eq!(world.asks("a", &OTHER_P256, "k"), Some(Reason::BadSignature));
    assert_eq!(world.asks("b", &P256, "k"), Some(Reason::KeysUnavailable), "no document names it");
    assert!(world.counted("heddle_token_key_fetches_total{result=\"ok\"} 1"));
    assert!(world.counted("heddle_token_key_places 1"));
    assert!(world.counted("heddle_token_key_places_missing 0"));
    assert!(world.counted("heddle_token_keys 1"));
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_again_after_what_the_server_says_within_bounds() {
    let cases = [
        (None, LONGEST_LIFE),
        (Some(0), SHORTEST_LIFE),
        (Some(600), Duration::from_secs(600)),
        (Some(86400), LONGEST_LIFE),
    ];
    for (good_for, life) in cases {
        let world = World::new(&naming(&["b"])).await;
        world.says("a", Says::Keys(&P256, good_for));
        world.documents(&[("shop", "a", &naming(&["a"]))]).await;
        world.passes(4 * life).await;
        let asked = world.asked("a");
        assert!((5..=6).contains(&asked.len()), "{good_for:?}: {asked:?}");
        for pair in asked.windows(2) {
            let pause = pair[1] - pair[0];
            assert!((life.mul_f64(0.9)..=life + MOMENT).contains(&pause), "{good_for:?}: {pause:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_keys_and_is_tried_again_with_growing_pauses() {
    let world = World::new(&naming(&["a"])).await;
    world.says("a", Says::Fails);
    world.passes(LONGEST_LIFE + Duration::from_secs(600)).await;
    assert_eq!(world.asks("a", &P256, "k"), None, "the last keys are in force");
    assert!(world.age() >= LONGEST_LIFE.as_secs_f64(), "and their age tells: {}", world.age());
    let asked = world.asked("a");
    let pauses: Vec<Duration> = asked.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() > 8 && pauses[0] < Duration::from_secs(1) + MOMENT, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= MAX_PAUSE + MOMENT), "{pauses:?}");
    assert!(pauses.iter().skip(6).all(|pause| *pause >= MAX_PAUSE / 2), "{pauses:?}");
    assert!(world.counted(&format!("heddle_token_key_fetches_total{{result=\"status\"}} {}", asked.len() - 1)));
    world.says("a", Says::Keys(&OTHER_P256, None));
    world.passes(MAX_PAUSE + MOMENT).await;
    assert_eq!(world.asks("a", &OTHER_P256, "k"), None, "replaced by new ones");
    assert_eq!(world.asks("a", &P256, "k"), Some(Reason::BadSignature));
    assert!(world.age() <= MAX_PAUSE.as_secs_f64() + 1.0, "{}", world.age());
}

#[tokio::test(start_paused = true)]
async fn without_keys_tokens_are_refused_until_there_are_some() {
    let world = World::new(&naming(&[])).await;
    assert!(world.age().is_nan());
    world.says("a", Says::Nothing);
    world.documents(&[("shop", "a", &naming(&["a"]))]).await;
    assert_eq!(world.asks("a", &P256, "k"), Some(Reason::KeysUnavailable));
    assert!(world.counted("heddle_token_key_places_missing 1"));
    world.says("a", Says::Keys(&P256, None));
    world.passes(DEFAULT_LIMIT + Duration::from_secs(2)).await;
    assert_eq!(world.asks("a", &P256, "k"), None);
    assert!(world.counted("heddle_token_key_fetches_total{result=\"timeout\"} 1"));
    assert!(world.counted("heddle_token_key_places_missing 0"));
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_place_that_no_document_names_are_forgotten() {
    let world = World::new(&naming(&["a", "b"])).await;
    world.documents(&[("shop", "a", &naming(&["b"]))]).await;
    assert_eq!(world.asks("a", &P256, "k"), Some(Reason::KeysUnavailable));
    assert_eq!(world.asks("b", &P256, "k"), None, "the other one stays");
    assert!(world.counted("heddle_token_key_places 1"));
    world.passes(3 * LONGEST_LIFE).await;
    assert_eq!((world.asked("a").len(), world.asked("b").len()), (1, 4));
    world.documents(&[]).await;
    assert_eq!(world.asks("b", &P256, "k"), Some(Reason::KeysUnavailable));
    assert!(world.age().is_nan() && world.counted("heddle_token_keys 0"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_its_place_is_unwanted_is_nobodys() {
    let world = World::new(&naming(&["b"])).await;
    world.mesh.send_replace(state(&[("shop", "a", &naming(&["a"]))]));
    tokio::task::yield_now().await;
    assert_eq!(world.asked("a").len(), 1);
    // The fetch takes a millisecond.
    world.mesh.send_replace(state(&[]));
    world.passes(MOMENT).await;
    assert!(world.counted("heddle_token_key_fetches_total{result=\"ok\"} 2"), "the answer came");
    assert_eq!(world.asks("a", &P256, "k"), Some(Reason::KeysUnavailable));
    assert!(world.counted("heddle_token_key_places 0"));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_two_documents_name_is_asked_once_with_the_longest_limit() {
    let world = World::new(&naming(&[])).await;
    let rule = |path: &str, timeout: &str| json!({"issuer": "i", "jwksUri": place(path), "timeout": timeout});
    let one = json!({"jwtRules": [rule("a", "2s"), rule("b", "10m")]}).to_string();
    let two = json!({"jwtRules": [rule("a", "7s"), {"issuer": "i", "jwksUri": place("c")}]}).to_string();
    world.documents(&[("shop", "one", &one), ("bank", "two", &two)]).await;
    let mut asked: Vec<_> = world.script.asked.lock().iter().map(|(_, place, limit)| (place.clone(), *limit)).collect();
    asked.sort();
    let expected = [("a", Duration::from_secs(7)), ("b", LONGEST_LIMIT), ("c", DEFAULT_LIMIT)];
    assert_eq!(asked, expected.map(|(path, limit)| (place(path), limit)));
    world.documents(&[("bank", "two", &two)]).await;
    assert_eq!(world.asks("a", &P256, "k"), None, "still named by one");
    assert_eq!(world.asked("a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn discovered_keys_are_of_their_issuer_and_keys_in_a_document_are_never_fetched() {
    let inline = json!({"issuer": "in", "jwks": jwks(&[P256.jwk(json!({}))])});
    let spec = json!({"jwtRules": [{"issuer": "https://i.example"}, inline]}).to_string();
    let world = World::new(&spec).await;
    let asked: Vec<String> = world.script.asked.lock().iter().map(|(_, place, _)| place.clone()).collect();
    assert_eq!(asked, [r#"the metadata of "https://i.example""#]);
    let known = world.store.load();
    let found = |rule: Value| known.of(rules(&json!([rule]))[0].rule()).is_some();
    assert!(found(json!({"issuer": "https://i.example"})));
    assert!(!found(json!({"issuer": "https://j.example"})));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_has_them_fetched_early_and_not_more_than_once_a_minute() {
    let world = World::new(&naming(&["a", "b"])).await;
    world.says("a", Says::Keys(&OTHER_P256, None));
    for _ in 0..300 {
        world.asks("a", &OTHER_P256, "rotated");
        world.passes(Duration::from_secs(1)).await;
    }
    let asked = world.asked("a");
    assert_eq!(asked.len(), 6, "five minutes: {asked:?}");
    for pair in asked.windows(2) {
        let pause = pair[1] - pair[0];
        assert!((WISH_PAUSE..WISH_PAUSE + Duration::from_secs(2)).contains(&pause), "{pause:?}");
    }
    assert_eq!(world.asked("b").len(), 1, "nobody asked for that");
    assert_eq!(world.asks("a", &OTHER_P256, "k"), None, "the new key is there");
}

#[tokio::test(start_paused = true)]
async fn only_what_newer_keys_could_prove_has_them_fetched() {
    let world = World::new(&naming(&["a"])).await;
    world.passes(WISH_PAUSE).await;
    assert_eq!(world.asks("a", &OTHER_P256, "k"), Some(Reason::BadSignature));
    world.passes(MOMENT).await;
    assert_eq!(world.asked("a").len(), 1, "the key is known, and has not signed");
    assert_eq!(world.asks("a", &OTHER_P256, ""), Some(Reason::BadSignature));
    world.passes(MOMENT).await;
    assert_eq!(world.asked("a").len(), 2, "without an id it may be of a new key");
    world.passes(WISH_PAUSE).await;
    assert_eq!(world.asks("a", &OTHER_P256, "new"), Some(Reason::UnknownKey));
    world.passes(MOMENT).await;
    assert_eq!(world.asked("a").len(), 3);
    world.passes(WISH_PAUSE).await;
    assert_eq!(world.asks("c", &P256, "k"), Some(Reason::KeysUnavailable));
    world.passes(MOMENT).await;
    assert_eq!(world.asked("c").len(), 0, "no document names it");
}

#[tokio::test(start_paused = true)]
async fn so_many_fetches_at_a_time_and_every_place_has_its_turn() {
    let paths: Vec<String> = (0..50).map(|number| format!("p{number}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let world = World::new(&naming(&paths)).await;
    assert_eq!(world.script.open.lock().1, MOST_FETCHES);
    assert!(paths.iter().all(|path| world.asks(path, &P256, "k").is_none()));
    assert!(world.counted("heddle_token_keys 50"));
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_mesh_and_leaves_the_keys() {
    let world = World::new(&naming(&["a"])).await;
    let World { mesh, script, store, .. } = world;
    drop(mesh);
    sleep(3 * LONGEST_LIFE).await;
    assert_eq!(script.asked.lock().len(), 1);
    assert_eq!(store.load().by_uri.len(), 1);
}

#[tokio::test]
async fn keys_of_a_real_server_make_a_token_believed() {
    let server = KeyServer::plain("127.0.0.1:0").await;
    server.has("/keys", &jwks(&[P256.jwk(json!({"kid": "k"}))]));
    let uri = format!("http://{}/keys", server.address);
    let spec = json!({"jwtRules": [{"issuer": "i", "jwksUri": uri}]}).to_string();
    let servers = KeyServers::new(Arc::new(Hosts::default()), Roots::Machine, |_| true);
    let (refresh, store) = KeyRefresh::new(Arc::new(servers), Observer::new("c".into(), None).unwrap());
    let (_mesh, receiver) = watch::channel(state(&[("shop", "a", &spec)]));
    tokio::spawn(refresh.run(receiver));
    let rules = rules(&json!([{"issuer": "i", "jwksUri": uri}]));
    let wait = async {
        while store.load().of(rules[0].rule()).is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
    let token = P256.token(&json!({"alg": "ES256", "kid": "k"}), &json!({"iss": "i", "sub": "s"}));
    let target: Uri = format!("/?access_token={token}").parse().unwrap();
    let request = Request { headers: &HeaderMap::new(), target: &target, at: now() };
    let outcome = authenticate(&rules, &request, &store.load());
    assert_eq!(outcome.token().unwrap().principal().as_deref(), Some("i/s"));
}
