//! Tests of deciding again: who is affected by a change, and that every open connection is found.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{convert::Infallible, future::pending, thread, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    authorize::tests::access,
    config::MtlsMode,
    mesh::{self, Compiler, Names, testing},
    objects::{Change, Changes, ObjectFeed, ObjectKey, read_text, stream},
};

const LONG: Duration = Duration::from_secs(10);

fn pod(name: &str, address: u8, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{namespace: shop, name: {name}, annotations: {{heddle.io/netns: /n/{name}}}, \
         labels: {{heddle.io/mesh: enabled, {rest}}}}}, spec: {{nodeName: node-a}}, \
         status: {{phase: Running, podIPs: [{{ip: 10.0.0.{address}}}]}}}}\n---\n"
    )
}

fn authentication(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{namespace: shop, name: {name}}}, \
         spec: {spec}}}\n---\n"
    )
}

/// The objects of a text, put; its documents replace those of the text before.
fn changes(text: &str) -> Vec<Change> {
    let (objects, problems) = read_text("mesh.yaml", text);
    assert_eq!(problems, []);
    objects.objects().map(Change::Put).collect()
}

fn plaintext(to: &str) -> Facts<'static> {
    Facts { peer: None, client: [192, 0, 2, 1].into(), to: to.parse().unwrap() }
}

/// Whether a connection is told that it may not go on.
async fn is_withdrawn(admission: &mut Admission) -> bool {
    // Nothing else can end it: `timeout` makes it a question.
    let forever = pending::<Result<Infallible, Withdrawn>>();
    timeout(Duration::from_millis(1), admission.unless_withdrawn(forever)).await.is_ok()
}

#[tokio::test]
async fn only_connections_that_are_no_longer_permitted_are_ended() {
    let pods = pod("web", 1, "app: web") + &pod("db", 2, "app: db");
    let snapshot = testing::snapshot(
        &(pods
            + &authentication(
                "web",
                "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {81: {mode: PERMISSIVE}}}",
            )),
    );
    let handle = SnapshotHandle::default();
    let admissions = Arc::new(Admissions::default());
    let [web, db] = ["10.0.0.1", "10.0.0.2"].map(|ip| Arc::clone(snapshot.workload(ip.parse().unwrap()).unwrap()));
    let mut strict = admissions.enter(&web, plaintext("10.0.0.1:80"));
    let mut exception = admissions.enter(&web, plaintext("10.0.0.1:81"));
    let mut other = admissions.enter(&db, plaintext("10.0.0.2:80"));
    handle.publish(snapshot);

    let of_db = Affected::Pods([db.uid.clone()].into());
    assert_eq!(admissions.decide_again(&handle, &access(MtlsMode::Permissive), &of_db).await, 0, "not asked about");
    assert_eq!(admissions.decide_again(&handle, &access(MtlsMode::Permissive), &Affected::Everyone).await, 1);
    assert_eq!(admissions.count(), 2);
    assert!(is_withdrawn(&mut strict).await);
    assert!(!is_withdrawn(&mut exception).await && !is_withdrawn(&mut other).await);
    assert_eq!(
        admissions.decide_again(&handle, &access(MtlsMode::Strict), &Affected::Everyone).await,
        1,
        "db has no document"
    );
    assert!(is_withdrawn(&mut other).await);
}

#[tokio::test]
async fn an_admission_leaves_with_its_connection() {
    let admissions = Arc::new(Admissions::default());
    let workload = Arc::new(testing::pod("shop", &[]));
    let many: Vec<_> = (0..1000).map(|_| admissions.enter(&workload, plaintext("10.0.0.1:80"))).collect();
    assert_eq!(admissions.count(), 1000);
    let handle = SnapshotHandle::default();
    assert_eq!(admissions.decide_again(&handle, &access(MtlsMode::Strict), &Affected::Everyone).await, 1000);
    assert_eq!(admissions.count(), 0, "who was told is forgotten");
    let one = admissions.enter(&workload, plaintext("10.0.0.1:80"));
    drop(many);
    assert_eq!(admissions.count(), 1, "nobody else's place is given up");
    drop(one);
    assert_eq!(admissions.count(), 0);
    assert_eq!(admissions.decide_again(&handle, &access(MtlsMode::Strict), &Affected::Everyone).await, 0);
}

#[tokio::test]
async fn a_step_goes_on_until_the_connection_is_withdrawn_and_no_further_even_if_it_could() {
    let admissions = Arc::new(Admissions::default());
    let mut admission = admissions.enter(&Arc::new(testing::pod("shop", &[])), plaintext("10.0.0.1:80"));
    let done = admission.unless_withdrawn(async { Ok::<_, Withdrawn>(7) }).await;
    assert_eq!(done, Ok(7));
    admissions.decide_again(&SnapshotHandle::default(), &access(MtlsMode::Strict), &Affected::Everyone).await;
    let next = admission.unless_withdrawn(async { Ok::<_, Withdrawn>(8) }).await.unwrap_err();
    assert_eq!(
        next.to_string(),
        "it was open and is no longer permitted: plaintext, and mtls.mode of agent.yaml is STRICT: enrol the client's pod, \
         or say PERMISSIVE there"
    );
}

#[test]
fn only_access_and_labels_affect_open_connections() {
    let mut compiler = Compiler::new(testing::settings());
    let mut before = compiler.apply([]).snapshot.unwrap_or_default();
    let mut step = |what: &str, changes: Vec<Change>, expected: Option<Affected>| {
        let now = compiler.apply(changes).snapshot.unwrap_or_else(|| panic!("{what} changes nothing"));
        assert_eq!(Affected::between(&before, &now), expected, "{what}");
        before = now;
    };
    let web = |labels: &str| changes(&pod("web", 1, labels));
    let gone = |kind: crate::objects::Kind, name: &str| {
        vec![Change::Remove(ObjectKey { kind, name: crate::objects::ObjectName::new("shop", name) })]
    };
    let uid = || WorkloadUid("shop/web".into());
    step("a new pod", web("app: web"), None);
    step("its labels", web("app: shop"), Some(Affected::Pods([uid()].into())));
    step("the same pod elsewhere", changes(&pod("web", 3, "app: shop")), None);
    step("another pod", changes(&pod("db", 2, "app: db")), None);
    let far = pod("far", 4, "app: web").replace("node-a", "node-b");
    step("a pod elsewhere", changes(&far), None);
    step("its labels", changes(&far.replace("app: web", "app: far")), None);
    let service = "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web}, spec: {clusterIP: 10.1.0.1, \
                   ports: [{port: 80}]}}";
    step("a service", changes(service), None);
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: web-1, labels: \
                 {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 80}], endpoints: [{addresses: [10.0.0.1]}]}";
    step("an endpoint", changes(slice), None);
    let entry = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: shop, name: e}, spec: {hosts: \
                 [a.example.com], addresses: [240.0.0.1], ports: [{number: 1, name: a, protocol: TCP}], resolution: NONE}}\n---\n";
    step("a document about something else", changes(entry), None);
    let strict = authentication("a", "{mtls: {mode: STRICT}}");
    step("a mode", changes(&(entry.to_owned() + &strict)), Some(Affected::Everyone));
    step("a document about something else", changes(&strict), None);
    let strict_too = authentication("a", "{mtls: {mode: PERMISSIVE}}");
    step("another mode", changes(&strict_too), Some(Affected::Everyone));
    step("no mode", gone_file(), Some(Affected::Everyone));
    step("a pod that goes", gone(crate::objects::Kind::Pod, "web"), None);
}

/// The file of documents is there no more.
fn gone_file() -> Vec<Change> {
    let name = crate::objects::ObjectName::new("", "mesh.yaml");
    vec![Change::Remove(ObjectKey { kind: crate::objects::Kind::ConfigMap, name })]
}

/// A mesh that is followed, with one pod.
struct Followed {
    admissions: Arc<Admissions>,
    handle: SnapshotHandle,
    feed: ObjectFeed,
    web: Arc<Workload>,
}

fn followed() -> Followed {
    let objects = changes(&pod("web", 1, "app: web"));
    let (feed, stream) = stream(Changes { objects, problems: None });
    let (handle, admissions) = (SnapshotHandle::default(), Arc::new(Admissions::default()));
    let mesh = mesh::run(stream, watch::channel(Names::new()).1, testing::settings(), handle.clone());
    tokio::spawn(follow(Arc::clone(&admissions), handle.clone(), access(MtlsMode::Permissive), mesh));
    let web = Arc::clone(&handle.load().local_pods()[0]);
    Followed { admissions, handle, feed, web }
}

#[tokio::test]
async fn a_change_of_labels_brings_a_document_to_bear_on_open_connections() {
    let mesh = followed();
    let mut open = mesh.admissions.enter(&mesh.web, plaintext("10.0.0.1:80"));
    let of_secret = authentication("a", "{selector: {matchLabels: {app: secret}}, mtls: {mode: STRICT}}");
    for labels in ["app: web", "app: secret"] {
        mesh.feed.send(Changes { objects: changes(&(pod("web", 1, labels) + &of_secret)), problems: None });
    }
    let end = timeout(LONG, open.unless_withdrawn(pending::<Result<(), Withdrawn>>())).await.unwrap().unwrap_err();
    assert_eq!(end.0.decided_by(), "PeerAuthentication shop/a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_slips_in_beside_the_change() {
    let mesh = followed();
    let enter_many = || {
        let (admissions, handle, web) = (Arc::clone(&mesh.admissions), mesh.handle.clone(), Arc::clone(&mesh.web));
        thread::spawn(move || {
            let mut open = Vec::new();
            // Until this thread sees the change, and a while longer.
            for _ in 0..1_000_000 {
                let facts = plaintext("10.0.0.1:80");
                let admission = admissions.enter(&web, facts);
                match inbound(&handle.load(), &access(MtlsMode::Permissive), &web, facts).leave {
                    Ok(_) => open.push(admission),
                    Err(_) => break,
                }
                thread::sleep(Duration::from_micros(20));
            }
            open
        })
    };
    let entering: Vec<_> = (0..3).map(|_| enter_many()).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let strict = authentication("a", "{mtls: {mode: STRICT}}");
    mesh.feed.send(Changes { objects: changes(&strict), problems: None });
    let mut open = Vec::new();
    for entered in entering {
        open.extend(tokio::task::spawn_blocking(move || entered.join().unwrap()).await.unwrap());
    }
    assert!(open.len() > 10, "there was a load");
    for mut admission in open {
        let end = timeout(LONG, admission.unless_withdrawn(pending::<Result<(), Withdrawn>>())).await.unwrap();
        assert!(end.is_err());
    }
    assert_eq!(mesh.admissions.count(), 0);
}
