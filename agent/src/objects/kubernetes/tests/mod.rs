//! Tests of the source over a small API server.

#![expect(clippy::unwrap_used, reason = "tests")]

mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use server::Server;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::objects::{Changes, ObjectKey, ObjectName, ObjectStream};
use crate::observe::RestartReason;

/// For the sake of busy machines; nothing here takes a second by itself but for pauses after failures.
const PATIENCE: Duration = Duration::from_secs(20);

/// A reader of the stream, as the compiler is one.
struct Reader {
    stream: ObjectStream,
    ending: crate::objects::Ending,
    status: SourceStatus,
    set: ObjectSet,
    problems: Vec<String>,
}

struct Opening {
    server: Server,
    documents: Option<PathBuf>,
    state: Option<PathBuf>,
    status: SourceStatus,
}

fn opening(server: &Server) -> Opening {
    Opening { server: server.clone(), documents: None, state: None, status: SourceStatus::default() }
}

impl Opening {
    fn state(self, path: &Path) -> Self {
        Self { state: Some(path.to_owned()), ..self }
    }

    async fn open(self) -> Reader {
        let config = kube::Config::new(format!("http://{}", self.server.address).parse().unwrap());
        let client = client::build(config, &self.status).unwrap();
        let documents = match self.documents {
            Some(path) => Some(Documents::open(path).await.unwrap()),
            None => None,
        };
        let running = timeout(PATIENCE, open_with(client, documents, self.state, self.status.clone())).await.unwrap();
        let Running { objects: mut stream, ending, .. } = running;
        let first = stream.take();
        let mut reader =
            Reader { stream, ending, status: self.status, set: ObjectSet::default(), problems: Vec::new() };
        reader.apply(first);
        reader
    }
}

impl Reader {
    fn apply(&mut self, changes: Changes) {
        self.set.apply(changes.objects);
        if let Some(problems) = changes.problems {
            self.problems = problems.iter().map(ToString::to_string).collect();
        }
    }

    async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, self.stream.next()).await {
                Ok(Some(changes)) => self.apply(changes),
                other => panic!("{what}: {other:?}; last {:?}, {:?}", self.set, self.problems),
            }
        }
    }

    fn namespaces(&self) -> Vec<String> {
        let label = |labels: &crate::objects::Map| labels.get("l").cloned().unwrap_or_default();
        self.set.namespaces.values().map(|ns| format!("{}={}", ns.name, label(&ns.labels))).collect()
    }
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn namespace(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"l": label}, "managedFields": [{"manager": "kubectl"}]}})
}

/// One object of each kind, as an API server lists them: without kind and version.
fn one_of_each() -> [(&'static str, Value); 7] {
    [
        ("namespaces", namespace("shop", "one")),
        (
            "nodes",
            json!({"metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "z"}},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "a"}]}}),
        ),
        (
            "pods",
            json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"},
                "creationTimestamp": "2025-01-31T12:00:00Z", "deletionTimestamp": null},
            "spec": {"nodeName": "node-a", "serviceAccountName": "web", "containers": [{"name": "c"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "conditions": [{"type": "Ready", "status": "True"}]}}),
        ),
        (
            "services",
            json!({"metadata": {"name": "web", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]}}),
        ),
        (
            "endpointslices",
            json!({"metadata": {"name": "web-x", "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": 8080}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": "web", "namespace": "shop"}}]}),
        ),
        ("serviceaccounts", json!({"metadata": {"name": "web", "namespace": "shop"}})),
        (
            "configmaps",
            json!({"metadata": {"name": "mesh", "namespace": "shop", "uid": "u-2",
                "labels": {"heddle.io/config": "true"}}, "data": {"a.yaml": "x: 1\n"}}),
        ),
    ]
}

async fn filled() -> Server {
    let server = Server::start().await;
    one_of_each().into_iter().for_each(|(plural, object)| server.put(plural, object));
    server
}

#[tokio::test]
async fn nothing_downstream_can_tell_the_api_from_files() {
    let server = filled().await;
    let directory = TempDir::new().unwrap();
    for (index, (plural, mut object)) in one_of_each().into_iter().enumerate() {
        let kind = Kind::ALL.into_iter().find(|kind| resource::path(*kind).2 == plural).unwrap();
        let version = if kind == Kind::EndpointSlice { "discovery.k8s.io/v1" } else { "v1" };
        object["apiVersion"] = version.into();
        object["kind"] = kind.as_str().into();
        fs::write(directory.path().join(format!("{index}.json")), object.to_string()).unwrap();
    }
    let mut files = crate::objects::files::open(directory.path().into(), "k").await.unwrap();
    let mut expected = ObjectSet::default();
    expected.apply(files.take().objects);
    assert_eq!(expected.objects().count(), 7);

    let reader = opening(&server).open().await;
    assert_eq!((&reader.set, reader.problems.as_slice()), (&expected, [].as_slice()));
    assert!(reader.status.report().live);
    assert_eq!(reader.status.waiting_for(), None);
}

#[tokio::test]
async fn changes_and_removals_are_handed_on() {
    let server = filled().await;
    let mut reader = opening(&server).open().await;
    server.put("namespaces", namespace("shop", "two"));
    server.put("namespaces", namespace("new", "one"));
    reader.until("change", |reader| reader.namespaces() == ["new=one", "shop=two"]).await;
    server.remove("namespaces", None, "shop", false);
    server.remove("pods", Some("shop"), "web", false);
    reader.until("removal", |reader| reader.namespaces() == ["new=one"] && reader.set.pods.is_empty()).await;
}

#[tokio::test]
async fn a_cut_watch_is_resumed_where_it_was() {
    let server = filled().await;
    let mut reader = opening(&server).open().await;
    eventually("watching", || reader.status.report().kinds.iter().all(|kind| kind.connected)).await;
    server.cut("namespaces");
    server.put("namespaces", namespace("meanwhile", "one"));
    server.remove("namespaces", None, "shop", false);
    reader.until("resumed", |reader| reader.namespaces() == ["meanwhile=one"]).await;
    assert_eq!(server.requests("/namespaces?&limit").len(), 1, "it was not listed again");
    let broken =
        reader.status.report().restarts.into_iter().find(|(reason, _)| *reason == RestartReason::Broken).unwrap();
    assert_eq!(broken.1, 1);
}

#[tokio::test]
async fn what_is_gone_after_a_new_list_is_removed() {
    let server = filled().await;
    let mut reader = opening(&server).open().await;
    eventually("watching", || reader.status.report().kinds.iter().all(|kind| kind.connected)).await;
    server.remove("namespaces", None, "shop", true);
    server.put("namespaces", namespace("other", "one"));
    server.forget();
    server.cut("namespaces");
    reader.until("listed anew", |reader| reader.namespaces() == ["other=one"]).await;
    assert_eq!(reader.set.pods.len(), 1, "other kinds are left alone");
    let report = reader.status.report();
    assert_eq!(report.kinds.iter().find(|kind| kind.kind == "Namespace").unwrap().relists, 1);
    assert!(
        report.restarts.iter().any(|(reason, count)| *reason == RestartReason::Expired && *count == 1),
        "{report:?}"
    );
    server.put("namespaces", namespace("other", "two"));
    reader.until("watched again", |reader| reader.namespaces() == ["other=two"]).await;
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let server = filled().await;
    for n in 0..1_100 {
        server.put("serviceaccounts", json!({"metadata": {"name": format!("a{n}"), "namespace": "many"}}));
    }
    let reader = opening(&server).open().await;
    assert_eq!(reader.set.service_accounts.len(), 1_101);
    assert_eq!(server.requests("/serviceaccounts?&limit=500").len(), 3);
}

#[tokio::test]
async fn a_broken_object_is_named_and_keeps_its_last_good_version() {
    let server = filled().await;
    server.put("namespaces", json!({"metadata": {"name": "never", "labels": {"l": 5}}}));
    let mut reader = opening(&server).open().await;
    let expected = "Namespace never: metadata.labels.l: found the number 5, allowed: text (quote numbers and booleans)";
    assert_eq!(reader.problems, [expected]);
    assert_eq!(reader.namespaces(), ["shop=one"]);
    server.put("namespaces", json!({"metadata": {"name": "shop", "labels": {"l": 6}}}));
    reader.until("broken", |reader| reader.problems.len() == 2).await;
    assert_eq!(reader.namespaces(), ["shop=one"], "the last good version stays");
    // Also when everything is listed anew.
    server.put("namespaces", namespace("never", "good"));
    server.forget();
    server.cut("namespaces");
    reader
        .until("mended", |reader| reader.namespaces() == ["never=good", "shop=one"] && reader.problems.len() == 1)
        .await;
    server.remove("namespaces", None, "shop", false);
    reader.until("removed", |reader| reader.namespaces() == ["never=good"] && reader.problems.is_empty()).await;
}

#[tokio::test]
async fn only_config_maps_with_the_label_are_read() {
    let server = filled().await;
    server.put("configmaps", json!({"metadata": {"name": "other", "namespace": "shop"}, "data": {"a": "b"}}));
    let mut reader = opening(&server).open().await;
    let key = ObjectName::new("shop", "mesh");
    assert_eq!(reader.set.config_maps.keys().collect::<Vec<_>>(), [&key]);
    // An API server says that it is deleted; one that has the selector wrong is not believed either.
    server.put("configmaps", json!({"metadata": {"name": "mesh", "namespace": "shop"}, "data": {"a": "b"}}));
    reader.until("label lost", |reader| reader.set.config_maps.is_empty()).await;
}

#[tokio::test]
async fn a_kind_that_is_forbidden_is_named_and_waited_for() {
    let server = filled().await;
    server.fail("endpointslices", 403);
    let opening = opening(&server);
    let status = opening.status.clone();
    let reader = tokio::spawn(opening.open());
    eventually("told", || status.waiting_for().is_some_and(|text| text.contains("grant the verbs list and watch")))
        .await;
    let waiting = status.waiting_for().unwrap();
    assert!(waiting.starts_with("list endpointslices: endpointslices fails (403)"), "{waiting}");
    assert!(!status.report().live);
    server.fail("endpointslices", 200);
    let reader = reader.await.unwrap();
    assert_eq!(reader.set.endpoint_slices.len(), 1);
    let report = reader.status.report();
    assert!(report.kinds.iter().all(|kind| kind.last_error.is_none()), "{report:?}");
}

#[tokio::test]
async fn the_state_on_disk_serves_until_every_kind_is_listed() {
    let server = filled().await;
    let directory = TempDir::new().unwrap();
    let state = directory.path().join("state");
    let first = opening(&server).state(&state).open().await;
    first.ending.end().await;
    assert!(state.join("objects").is_file());

    server.remove("namespaces", None, "shop", true);
    server.put("namespaces", namespace("newer", "one"));
    server.fail("pods", 500);
    let mut reader = opening(&server).state(&state).open().await;
    assert_eq!(reader.set, first.set, "all of it is in force at once");
    assert_eq!(reader.problems.len(), 1, "{:?}", reader.problems);
    assert!(reader.problems[0].starts_with("kubernetes API: has not been listed yet"), "{:?}", reader.problems);
    assert!(reader.status.report().state_age_seconds.is_some());
    eventually("all other kinds are listed", || {
        reader.status.report().kinds.iter().all(|kind| kind.synced || kind.kind == "Pod")
    })
    .await;
    assert_eq!(reader.stream.take().objects, [], "and nothing changes before all are");
    server.fail("pods", 200);
    reader.until("live", |reader| reader.problems.is_empty()).await;
    assert_eq!(reader.namespaces(), ["newer=one"]);
    let report = reader.status.report();
    assert_eq!((report.live, report.state_age_seconds), (true, None));
}

#[tokio::test]
async fn a_state_that_was_never_live_is_not_written_over_the_old_one() {
    let server = filled().await;
    let directory = TempDir::new().unwrap();
    opening(&server).state(directory.path()).open().await.ending.end().await;
    let before = fs::read(directory.path().join("objects")).unwrap();
    server.fail_all(500);
    let reader = opening(&server).state(directory.path()).open().await;
    assert_eq!(reader.set.objects().count(), 7);
    sleep(Duration::from_millis(1_100)).await;
    reader.ending.end().await;
    assert_eq!(fs::read(directory.path().join("objects")).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_state_is_reported_and_replaced() {
    let server = filled().await;
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("objects"), "heddle-state 2 5 x\n{}").unwrap();
    let mut reader = opening(&server).state(directory.path()).open().await;
    assert_eq!(reader.set.objects().count(), 7, "everything comes from the API server");
    assert!(
        reader.problems[0].contains("it is cut short or was added to; going on without it"),
        "{:?}",
        reader.problems
    );
    reader.until("replaced", |reader| reader.problems.is_empty()).await;
    let kept = StateDirectory::new(directory.path().into()).read().unwrap().unwrap();
    assert_eq!(kept.objects, reader.set);
}

#[tokio::test]
async fn changes_reach_the_state_on_disk() {
    let server = filled().await;
    let directory = TempDir::new().unwrap();
    let reader = opening(&server).state(directory.path()).open().await;
    server.put("namespaces", namespace("late", "one"));
    let kept = || StateDirectory::new(directory.path().into()).read().unwrap();
    eventually("written", || kept().is_some_and(|kept| kept.objects.namespaces.contains_key("late"))).await;
    reader.ending.end().await;
}

#[tokio::test]
async fn a_state_that_could_not_be_written_is_written_once_it_can_be_though_nothing_changes() {
    let server = filled().await;
    let directory = TempDir::new().unwrap();
    let place = directory.path().join("state");
    fs::write(&place, "in the way").unwrap();
    let reader = opening(&server).state(&place).open().await;
    sleep(Duration::from_millis(500)).await;
    fs::remove_file(&place).unwrap();
    let kept = || StateDirectory::new(place.clone()).read().ok().flatten();
    eventually("written", || kept().is_some_and(|kept| !kept.objects.namespaces.is_empty())).await;
    reader.ending.end().await;
}

#[tokio::test]
async fn documents_come_from_the_directory_and_objects_do_not() {
    let server = filled().await;
    let directory = TempDir::new().unwrap();
    let document = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n";
    fs::write(directory.path().join("route.yaml"), document).unwrap();
    let pod = directory.path().join("pod.yaml");
    fs::write(&pod, "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n").unwrap();
    let opening = Opening { documents: Some(directory.path().into()), ..opening(&server) };
    let mut reader = opening.open().await;
    let files = |reader: &Reader| reader.set.config_maps.values().filter(|map| map.is_file()).count();
    assert_eq!((files(&reader), reader.set.pods.len(), reader.set.config_maps.len()), (1, 1, 2));
    assert_eq!(reader.problems.len(), 1);
    assert!(reader.problems[0].contains("Pod default/p: comes from the API server"), "{:?}", reader.problems);
    fs::remove_file(&pod).unwrap();
    reader.until("taken out", |reader| reader.problems.is_empty()).await;
    assert!(reader.set.contains(&ObjectKey { kind: Kind::Pod, name: ObjectName::new("shop", "web") }));
    fs::remove_file(directory.path().join("route.yaml")).unwrap();
    reader.until("document removed", |reader| files(reader) == 0).await;
}

#[tokio::test]
async fn a_bookmark_is_a_word_of_the_server() {
    let server = filled().await;
    let reader = opening(&server).open().await;
    let of_pods = || reader.status.report().kinds.into_iter().find(|kind| kind.kind == "Pod").unwrap();
    eventually("watching", || of_pods().connected).await;
    sleep(Duration::from_millis(300)).await;
    assert!(of_pods().last_word_seconds.unwrap() >= 0.3);
    let bookmark = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "99"}});
    server.line("pods", &json!({"type": "BOOKMARK", "object": bookmark}));
    eventually("heard", || of_pods().last_word_seconds.unwrap() < 0.3).await;
    // And the watch goes on from there.
    server.cut("pods");
    eventually("resumed", || {
        server.requests("/pods?&watch").iter().any(|request| request.contains("resourceVersion=99"))
    })
    .await;
}

#[tokio::test]
async fn a_server_that_ends_every_watch_is_not_asked_all_the_time() {
    let server = filled().await;
    server.end_watches_at_once();
    let reader = opening(&server).open().await;
    sleep(Duration::from_millis(2_500)).await;
    let asked = server.requests("/pods?&watch").len();
    assert!((2..=4).contains(&asked), "{asked} times in 2.5 seconds");
    let ended =
        reader.status.report().restarts.into_iter().find(|(reason, _)| *reason == RestartReason::Ended).unwrap();
    assert!(ended.1 >= 7, "{ended:?}");
}

#[tokio::test]
async fn a_kubeconfig_is_read_with_its_context() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("kubeconfig");
    let cluster = |name: &str| json!({"name": name, "cluster": {"server": format!("http://{name}.example:80")}});
    let context = |name: &str| json!({"name": name, "context": {"cluster": name, "user": "u"}});
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "one",
        "clusters": [cluster("one"), cluster("two")], "contexts": [context("one"), context("two")],
        "users": [{"name": "u", "user": {"token": "t"}}]});
    fs::write(&path, kubeconfig.to_string()).unwrap();
    let settings = |context: Option<&str>, path: &Path| KubernetesSource {
        kubeconfig: Some(path.to_owned()),
        context: context.map(str::to_owned),
        documents: None,
    };
    let status = SourceStatus::default();
    for context in [None, Some("one"), Some("two")] {
        assert!(client::connect(&settings(context, &path), &status).await.is_ok(), "{context:?}");
    }
    let message = |result: Result<Client, SourceError>| result.err().unwrap().to_string();
    let unknown = message(client::connect(&settings(Some("three"), &path), &status).await);
    assert!(unknown.starts_with(&format!("cannot use the kubeconfig {}: ", path.display())), "{unknown}");
    assert!(unknown.contains("three") && unknown.ends_with("correct it or source.kubernetes"), "{unknown}");
    let missing = message(client::connect(&settings(None, Path::new("/nonexistent/kubeconfig")), &status).await);
    assert!(missing.contains("/nonexistent/kubeconfig"), "{missing}");
}

/// A kubeconfig for a server, as the file that it is.
fn kubeconfig(directory: &Path, server: &Server, authority: &str) -> KubernetesSource {
    let (ca, token, path) = (directory.join("ca.crt"), directory.join("token"), directory.join("kubeconfig"));
    fs::write(&ca, authority).unwrap();
    fs::write(&token, "secret-token").unwrap();
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://{}", server.address), "certificate-authority": ca}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"tokenFile": token}}]});
    fs::write(&path, kubeconfig.to_string()).unwrap();
    KubernetesSource { kubeconfig: Some(path), ..KubernetesSource::default() }
}

#[tokio::test]
async fn the_authority_and_the_token_of_a_kubeconfig_are_used() {
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = Server::start_tls(&certificate).await;
    one_of_each().into_iter().for_each(|(plural, object)| server.put(plural, object));
    let directory = TempDir::new().unwrap();
    let settings = kubeconfig(directory.path(), &server, &certificate.cert.pem());
    let opening = open(&settings, None, SourceStatus::default());
    let mut running = timeout(PATIENCE, opening).await.unwrap().unwrap();
    assert_eq!(running.objects.take().objects.len(), 7);
    let authorizations = server.authorizations();
    assert!(authorizations.len() >= 7 && authorizations.iter().all(|value| value == "Bearer secret-token"));
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_believed() {
    let certificate = || rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = Server::start_tls(&certificate()).await;
    let directory = TempDir::new().unwrap();
    let settings = kubeconfig(directory.path(), &server, &certificate().cert.pem());
    let status = SourceStatus::default();
    let shared = status.clone();
    let reading = tokio::spawn(async move { open(&settings, None, shared).await });
    let said = || status.waiting_for().is_some_and(|text| text.contains("invalid peer certificate"));
    eventually("told", said).await;
    assert_eq!((server.authorizations().len(), reading.is_finished()), (0, false), "it never learned the token");
    reading.abort();
}
