//! Resolution with a scripted name server and a paused clock, from documents to the snapshot in force.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    time::SystemTime,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    resolution::{LONGEST_LIFE, LOOKUP_TIMEOUT, MAX_ADDRESSES, MAX_LOOKUPS, MAX_PAUSE, SHORTEST_LIFE},
    *,
};
use crate::{
    mesh::{self, Destination, MeshSettings, MeshState, Names, SnapshotHandle},
    objects::{Change, Changes, ConfigMap, Object, ObjectFeed, ObjectName, stream},
    observe::Observer,
};

/// What the name server says to one question from now on.
#[derive(Clone)]
enum Says {
    Addresses(Vec<String>, u64),
    Fails,
    Nothing,
}

/// A name server. What is not in its script has no addresses, for an hour.
struct Script {
    start: Instant,
    says: Mutex<HashMap<String, Says>>,
    asked: Mutex<Vec<(Duration, String)>>,
    open: Mutex<(usize, usize)>,
}

impl Script {
    fn set(&self, question: &str, says: Says) {
        self.says.lock().insert(question.to_owned(), says);
    }

    fn has(&self, question: &str, addresses: &[&str], time_to_live: u64) {
        let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
        self.set(question, Says::Addresses(addresses, time_to_live));
    }

    /// When a question was asked, since the start.
    fn asked(&self, question: &str) -> Vec<Duration> {
        self.asked.lock().iter().filter(|(_, asked)| asked == question).map(|(at, _)| *at).collect()
    }
}

impl Lookup for Arc<Script> {
    fn lookup(&self, question: &Question) -> BoxFuture<'static, Result<Answer, LookupError>> {
        let question = question.to_string();
        self.asked.lock().push((self.start.elapsed(), question.clone()));
        let says = self.says.lock().get(&question).cloned().unwrap_or(Says::Addresses(Vec::new(), 3600));
        let script = Arc::clone(self);
        async move {
            {
                let mut open = script.open.lock();
                open.0 += 1;
                open.1 = open.1.max(open.0);
            }
            sleep(Duration::from_millis(1)).await;
            let answer = match says {
                Says::Addresses(addresses, seconds) => Ok(Answer {
                    addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
                    time_to_live: Duration::from_secs(seconds),
                }),
                Says::Fails => Err(hickory_resolver::net::NetError::Timeout.into()),
                Says::Nothing => std::future::pending().await,
            };
            script.open.lock().0 -= 1;
            answer
        }
        .boxed()
    }
}

/// A mesh whose names are asked of a script.
struct World {
    script: Arc<Script>,
    feed: ObjectFeed,
    handle: SnapshotHandle,
    state: watch::Receiver<MeshState>,
    observer: Observer,
}

impl World {
    fn new() -> Self {
        let start = Instant::now();
        let (says, asked, open) = Default::default();
        let script = Arc::new(Script { start, says, asked, open });
        let (feed, objects) = stream(Changes::default());
        let settings = MeshSettings {
            node: "node-a".into(),
            trust_domain: "cluster.local".parse().unwrap(),
            root_namespace: "heddle-system".into(),
        };
        let (handle, observer) = (SnapshotHandle::default(), Observer::new("c".into(), None).unwrap());
        let (answers, names) = watch::channel(Names::new());
        let state = mesh::run(objects, names, settings, handle.clone());
        let resolution = Resolution::new(Arc::new(Arc::clone(&script)), observer.clone(), answers);
        tokio::spawn(resolution.run(state.clone()));
        Self { script, feed, handle, state, observer }
    }

    /// Entries for these names and no others, dialled at what the names resolve to, port 443.
    async fn wants(&self, names: &[&str]) {
        let entry = |name: &&str| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
                 spec: {{hosts: [{name}], ports: [{{number: 443, name: tls}}], resolution: DNS}}\n"
            )
        };
        let text: String = names.iter().map(entry).collect();
        let map = ConfigMap {
            name: ObjectName::new("shop", "entries"),
            uid: None,
            created: Some(SystemTime::UNIX_EPOCH),
            data: BTreeMap::from([("a".to_owned(), text.as_str().into())]),
        };
        let object = Object::ConfigMap(Arc::new(map));
        self.feed.send(Changes { objects: vec![Change::Put(object)], problems: None });
        self.passes(Duration::from_millis(100)).await;
        let documents = Arc::clone(&self.state.borrow().documents);
        assert_eq!(documents.len(), names.len());
        documents.iter().for_each(|status| assert_eq!(status.state.as_str(), "accepted", "{status}"));
    }

    async fn passes(&self, time: Duration) {
        sleep(time).await;
    }

    /// How many endpoints an address stands for, at the port of all entries; none where it is outside.
    fn endpoints(&self, address: &str) -> usize {
        match self.handle.load().destination(format!("{address}:443").parse().unwrap()) {
            Destination::Service(port) => port.ready.len(),
            Destination::External => 0,
            other => panic!("{other:?}"),
        }
    }

    fn counted(&self, line: &str) -> bool {
        self.observer.scrape().unwrap().collect::<String>().lines().any(|shown| shown == line)
    }
}

const MOMENT: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn both_families_are_asked_and_lead_to_endpoints() {
    let world = World::new();
    world.script.has("api.example.com A", &["192.0.2.1", "192.0.2.2"], 60);
    world.script.has("api.example.com AAAA", &["2001:db8::1"], 60);
    world.wants(&["api.example.com"]).await;
    assert_eq!([world.endpoints("192.0.2.1"), world.endpoints("192.0.2.2")], [2, 2]);
    assert_eq!([world.endpoints("[2001:db8::1]"), world.endpoints("192.0.2.3")], [1, 0]);
    assert!(world.counted("heddle_dns_lookups_total{result=\"ok\"} 2"));
    assert!(world.counted("heddle_dns_names 1"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_asked_for_again_when_its_time_is_over_within_bounds() {
    for (seconds, life) in [(60, Duration::from_secs(60)), (0, SHORTEST_LIFE), (86400, LONGEST_LIFE)] {
        let world = World::new();
        world.script.has("a.example.com A", &["192.0.2.1"], seconds);
        world.wants(&["a.example.com"]).await;
        world.passes(2 * life).await;
        let asked = world.script.asked("a.example.com A");
        assert_eq!(asked.len(), 3, "{seconds} s: {asked:?}");
        for pair in asked.windows(2) {
            let pause = pair[1] - pair[0];
            assert!((life..life + MOMENT).contains(&pause), "{seconds} s: {pause:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_generation_is_published_only_when_addresses_changed() {
    let world = World::new();
    world.script.has("a.example.com A", &["192.0.2.1"], 10);
    world.wants(&["a.example.com"]).await;
    let generation = world.handle.load().generation;
    world.passes(Duration::from_secs(60)).await;
    assert!(world.script.asked("a.example.com A").len() > 5);
    assert_eq!(world.handle.load().generation, generation, "the same answer");
    world.script.has("a.example.com A", &["192.0.2.9"], 10);
    world.passes(Duration::from_secs(11)).await;
    assert_eq!(world.handle.load().generation, generation + 1);
    assert_eq!((world.endpoints("192.0.2.1"), world.endpoints("192.0.2.9")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_last_answer_and_is_tried_again_with_growing_pauses() {
    let world = World::new();
    world.script.has("a.example.com A", &["192.0.2.1"], 10);
    world.wants(&["a.example.com"]).await;
    world.script.set("a.example.com A", Says::Fails);
    world.passes(Duration::from_secs(600)).await;
    assert_eq!(world.endpoints("192.0.2.1"), 1, "the last answer is in force");
    let asked = world.script.asked("a.example.com A");
    let pauses: Vec<Duration> = asked.windows(2).skip(1).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] >= Duration::from_secs(1) && pauses[0] < Duration::from_secs(1) + MOMENT, "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= MAX_PAUSE + MOMENT), "{pauses:?}");
    assert!(pauses.iter().skip(6).all(|pause| *pause >= MAX_PAUSE / 2), "{pauses:?}");
    assert!(world.counted(&format!("heddle_dns_lookups_total{{result=\"failed\"}} {}", asked.len() - 1)));
    world.script.has("a.example.com A", &["192.0.2.2"], 10);
    world.passes(MAX_PAUSE + MOMENT).await;
    assert_eq!((world.endpoints("192.0.2.1"), world.endpoints("192.0.2.2")), (0, 1), "and replaced by a new one");
}

#[tokio::test(start_paused = true)]
async fn one_family_that_fails_takes_nothing_from_the_other() {
    let world = World::new();
    world.script.has("a.example.com A", &["192.0.2.1"], 10);
    world.script.set("a.example.com AAAA", Says::Fails);
    world.wants(&["a.example.com"]).await;
    assert_eq!(world.endpoints("192.0.2.1"), 1);
    world.script.has("a.example.com A", &["192.0.2.2"], 10);
    world.passes(Duration::from_secs(11)).await;
    assert_eq!(world.endpoints("192.0.2.2"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_answer_that_there_are_no_addresses_is_taken_at_its_word() {
    let world = World::new();
    world.script.has("a.example.com A", &["192.0.2.1"], 10);
    world.wants(&["a.example.com"]).await;
    world.script.has("a.example.com A", &[], 10);
    world.passes(Duration::from_secs(11)).await;
    assert_eq!(world.endpoints("192.0.2.1"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_wants_is_forgotten_and_not_asked_for() {
    let world = World::new();
    for name in ["a", "b"] {
        world.script.has(&format!("{name}.example.com A"), &["192.0.2.1"], 10);
    }
    world.wants(&["a.example.com", "b.example.com"]).await;
    assert!(world.counted("heddle_dns_names 2"));
    world.wants(&["b.example.com"]).await;
    assert!(world.counted("heddle_dns_names 1"));
    let before = world.script.asked("a.example.com A").len();
    world.passes(Duration::from_secs(60)).await;
    assert_eq!(world.script.asked("a.example.com A").len(), before);
    assert!(world.script.asked("b.example.com A").len() > 5, "the other one is");
    // Were the old answer kept, it would be in force before the new one.
    world.script.set("a.example.com A", Says::Fails);
    world.wants(&["a.example.com"]).await;
    assert_eq!(world.endpoints("192.0.2.1"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_its_name_is_unwanted_is_nobodys() {
    let world = World::new();
    world.script.set("a.example.com A", Says::Nothing);
    world.wants(&["a.example.com"]).await;
    world.wants(&[]).await;
    world.passes(LOOKUP_TIMEOUT).await;
    assert_eq!(world.script.asked("a.example.com A").len(), 1);
    assert!(world.counted("heddle_dns_lookups_total{result=\"failed\"} 1"), "the end of the lookup is counted");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_without_an_answer_ends_and_is_tried_again() {
    let world = World::new();
    world.script.set("a.example.com A", Says::Nothing);
    world.wants(&["a.example.com"]).await;
    world.script.has("a.example.com A", &["192.0.2.1"], 60);
    world.passes(LOOKUP_TIMEOUT + Duration::from_secs(1)).await;
    assert_eq!(world.endpoints("192.0.2.1"), 1);
}

#[tokio::test(start_paused = true)]
async fn so_many_lookups_at_a_time_and_so_many_addresses_of_a_name() {
    let world = World::new();
    let names: Vec<String> = (0..40).map(|number| format!("n{number}.example.com")).collect();
    let many: Vec<String> = (0..100).map(|number| format!("192.0.2.{number}")).collect();
    for (index, name) in names.iter().enumerate() {
        let addresses = if index == 0 { many.clone() } else { vec![format!("198.51.100.{index}")] };
        world.script.set(&format!("{name} A"), Says::Addresses(addresses, 60));
    }
    world.wants(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(world.script.open.lock().1, MAX_LOOKUPS);
    assert_eq!(world.endpoints("192.0.2.0"), MAX_ADDRESSES);
    assert_eq!((world.endpoints("192.0.2.63"), world.endpoints("192.0.2.64")), (MAX_ADDRESSES, 0), "the first ones");
    assert!(world.counted("heddle_dns_addresses_left_out 36"));
    assert!((1..40).all(|index| world.endpoints(&format!("198.51.100.{index}")) == 1), "all names have their turn");
    world.wants(&["n1.example.com"]).await;
    assert!(world.counted("heddle_dns_addresses_left_out 0"));
}

/// A name server on a port of its own cannot be named in resolv.conf, so this asks none: what is tested is the file.
#[tokio::test]
async fn the_resolver_configuration_is_read_when_it_changes_and_blamed_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    let resolver = SystemResolver::new(&path);
    let question = Question { name: "a.example.com".into(), family: AddressFamily::V4 };
    let missing = resolver.lookup(&question).await.unwrap_err();
    assert!(matches!(missing, LookupError::Unreadable { .. }), "{missing}");
    fs::write(&path, "search example.com\n").unwrap();
    let useless = resolver.lookup(&question).await.unwrap_err();
    assert!(matches!(useless, LookupError::Unusable { .. }), "{useless}");
    for error in [missing, useless] {
        assert!(error.to_string().contains("resolv.conf"), "{error}");
    }
    // Nobody serves port 53 of this address.
    fs::write(&path, "nameserver 127.83.83.83\noptions timeout:1 attempts:1\n").unwrap();
    let unanswered = resolver.lookup(&question).await.unwrap_err();
    assert!(matches!(unanswered, LookupError::Unanswered(_)), "{unanswered}");
    fs::write(&path, "search example.com\n").unwrap();
    let useless = resolver.lookup(&question).await.unwrap_err();
    assert!(matches!(useless, LookupError::Unusable { .. }), "read again: {useless}");
}
