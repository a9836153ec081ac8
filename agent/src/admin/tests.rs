//! The endpoints over real sockets, with port 0 and sockets in a temporary directory.

#![expect(clippy::unwrap_used, reason = "a failed test is the message")]

use std::{
    fs,
    net::{Ipv4Addr, TcpListener as StdListener},
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::observe::{EventFeed, LogControl, Observer};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn status_of_nothing() -> status::Status {
    status::Status { node: "node-a".into(), generation: 7, ..Default::default() }
}

/// An agent that knows nothing yet.
struct NoQuestions;

impl Questions for NoQuestions {
    fn explain(&self, query: &str) -> Result<crate::explain::Report, ExplainError> {
        crate::explain::Written::from_query(query)?.0.understood()?;
        Err(ExplainError::NotYet)
    }

    fn connections(&self, most: usize) -> crate::observe::OpenView {
        crate::observe::OpenView { open: most, connections: Vec::new() }
    }

    fn simulate(&self, _: &crate::simulate::Proposal) -> Result<crate::simulate::Forecast, SimulateError> {
        Err(SimulateError::NotYet)
    }
}

struct Bed {
    endpoints: Endpoints,
    readiness: Readiness,
    observer: Observer,
    log: LogControl,
    events: EventFeed,
    stop: watch::Sender<bool>,
    directory: tempfile::TempDir,
}

impl Bed {
    async fn start(bounds: Bounds) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let observer = Observer::new("prod".into(), None).unwrap();
        let readiness = Readiness::new(["programs attached"]);
        let (stop, stopped) = watch::channel(false);
        let config: ConfigView = Arc::new(|| serde_json::json!({"agent": {"node": "node-a"}}));
        let status = Arc::new(status_of_nothing);
        let (log, events) = (LogControl::new("info"), EventFeed::default());
        let sources = Sources {
            observer: observer.clone(),
            readiness: readiness.clone(),
            config,
            status,
            log: log.clone(),
            events: events.clone(),
            questions: Arc::new(NoQuestions),
        };
        let socket = Some(directory.path().join("run/admin.sock"));
        let addresses = Addresses { metrics: ANY, health: ANY, admin: Some(ANY), socket };
        let endpoints = serve_within(bounds, addresses, EndpointSockets::new(), &sources, &stopped).await.unwrap();
        Self { endpoints, readiness, observer, log, events, stop, directory }
    }

    fn metrics(&self) -> SocketAddr {
        self.endpoints.addresses().metrics
    }

    fn health(&self) -> SocketAddr {
        self.endpoints.addresses().health
    }

    fn admin(&self) -> SocketAddr {
        self.endpoints.addresses().admin.unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/admin.sock")
    }
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

async fn get(address: SocketAddr, path: &str) -> String {
    get_with(address, path, "Host: localhost\r\n").await
}

async fn get_with(address: SocketAddr, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    talk(TcpStream::connect(address).await.unwrap(), &request).await
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn metrics_are_served_in_the_text_format_from_both_places() {
    let bed = Bed::start(BOUNDS).await;
    bed.observer.metrics().enrolled_pods.set(4);
    for address in [bed.metrics(), bed.admin()] {
        let answer = get(address, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
        assert!(body(&answer).contains("\nheddle_enrolled_pods 4\n"), "{answer}");
    }
}

#[tokio::test]
async fn readiness_lists_what_is_missing_in_text_and_json() {
    let bed = Bed::start(BOUNDS).await;
    let answer = get(bed.health(), "/healthz/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(body(&answer), "programs attached: not yet\n");

    let json = get_with(bed.health(), "/healthz/ready", "Host: x\r\nAccept: application/json\r\n").await;
    assert_eq!(body(&json), r#"{"ready":false,"missing":[{"condition":"programs attached","reason":"not yet"}]}"#);

    bed.readiness.met("programs attached");
    let answer = get(bed.health(), "/healthz/ready").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && body(&answer) == "ok\n", "{answer}");
    bed.readiness.drain("stopping");
    assert!(get(bed.health(), "/healthz/ready").await.starts_with("HTTP/1.1 503 "));
    assert!(get(bed.health(), "/healthz/live").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn each_listener_serves_its_own_pages_and_lists_them_otherwise() {
    let bed = Bed::start(BOUNDS).await;
    let config = get(bed.admin(), "/config").await;
    assert_eq!(body(&config), r#"{"agent":{"node":"node-a"}}"#);
    for (address, path) in [(bed.metrics(), "/config"), (bed.health(), "/metrics"), (bed.admin(), "/nothing")] {
        let answer = get(address, path).await;
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && body(&answer).starts_with("no such endpoint; there are\n/"),
            "{answer}"
        );
    }
    assert!(body(&get(bed.admin(), "/").await).contains("/healthz/ready  "));
}

#[tokio::test]
async fn the_admin_address_answers_only_to_the_machines_own_names() {
    let bed = Bed::start(BOUNDS).await;
    for host in [
        "Host: evil.example\r\n",
        "Host: 127.0.0.1.evil.example:15000\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
    ] {
        let answer = get_with(bed.admin(), "/config", host).await;
        assert!(!answer.contains("node-a") && answer.starts_with("HTTP/1.1 4"), "{host}: {answer}");
    }
    for host in ["localhost:15000", "127.0.0.1", "[::1]:15000"] {
        let answer = get_with(bed.admin(), "/config", &format!("Host: {host}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_removed_at_the_end() {
    let bed = Bed::start(BOUNDS).await;
    let path = bed.socket();
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let request = "GET /config HTTP/1.1\r\nHost: heddle\r\nConnection: close\r\n\r\n";
    assert!(talk(UnixStream::connect(&path).await.unwrap(), request).await.contains("node-a"));
    bed.stop.send(true).unwrap();
    timeout(Duration::from_secs(10), bed.endpoints.stopped()).await.unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (_listener, file) = listener::unix(None, &path).unwrap();

    let error = listener::unix(None, &path).unwrap_err();
    assert!(matches!(error, AdminError::SocketInUse { .. }), "{error}");

    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(listener::unix(None, &path).unwrap_err(), AdminError::NotASocket { .. }));
    drop(file);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious", "somebody else's file stays");
}

#[tokio::test]
async fn an_address_in_use_or_open_to_others_is_refused_with_a_remedy() {
    let taken = StdListener::bind(ANY).unwrap();
    let error =
        listener::tcp(None, taken.local_addr().unwrap(), "the admin address", "admin.address").await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("binding the admin address to {} failed: ", taken.local_addr().unwrap())),
        "{text}"
    );
    assert!(text.ends_with("does another agent run here? else choose another admin.address"), "{text}");
    assert!(matches!(bind_admin(None, "0.0.0.0:0".parse().unwrap()).await, Err(AdminError::NotLoopback(_))));
}

#[tokio::test]
async fn silent_clients_give_their_places_back() {
    let bounds = Bounds { connections: 2, head: Duration::from_millis(300), lifetime: Duration::from_secs(60) };
    let bed = Bed::start(bounds).await;
    let mut silent = Vec::new();
    for _ in 0..6 {
        let mut stream = TcpStream::connect(bed.health()).await.unwrap();
        stream.write_all(b"GET /healthz/live HT").await.unwrap();
        silent.push(stream);
    }
    // Three rounds of two, 300 ms each.
    let begin = Instant::now();
    let answer = get(bed.health(), "/healthz/live").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begin.elapsed() >= Duration::from_millis(500), "more than two connections were served at once");
    assert!(get(bed.metrics(), "/metrics").await.starts_with("HTTP/1.1 200 "), "other listeners have their own places");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_after_its_lifetime() {
    let bounds = Bounds { connections: 1, head: Duration::from_secs(5), lifetime: Duration::from_millis(200) };
    let bed = Bed::start(bounds).await;
    let mut deaf = TcpStream::connect(bed.metrics()).await.unwrap();
    let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2000);
    // Blocks once the agent stops reading; the socket must stay open meanwhile.
    let deaf = tokio::spawn(async move {
        let _ = deaf.write_all(requests.as_bytes()).await;
        sleep(Duration::from_secs(30)).await;
    });
    sleep(Duration::from_millis(100)).await;
    assert!(get(bed.metrics(), "/metrics").await.starts_with("HTTP/1.1 200 "));
    deaf.abort();
}

#[tokio::test]
async fn heads_that_never_end_are_refused() {
    let bed = Bed::start(BOUNDS).await;
    let mut stream = TcpStream::connect(bed.metrics()).await.unwrap();
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nx: {}\r\n", "y".repeat(64 * 1024));
    // The agent may reset while we still write.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(3), stream.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200 "));
}

async fn put(bed: &Bed, headers: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "PUT /logging HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    talk(UnixStream::connect(bed.socket()).await.unwrap(), &request).await
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn the_log_level_is_shown_and_changed() {
    let bed = Bed::start(BOUNDS).await;
    let shown = get(bed.admin(), "/logging").await;
    assert_eq!(body(&shown), r#"{"level":"info","configured":"info","access":false}"#);
    let changed = put(&bed, JSON, r#"{"level": "info,heddle::capture=debug"}"#).await;
    assert!(changed.starts_with("HTTP/1.1 200 "), "{changed}");
    assert_eq!(body(&changed), r#"{"level":"info,heddle::capture=debug","configured":"info","access":false}"#);
    assert_eq!(bed.log.level(), "info,heddle::capture=debug");
}

#[tokio::test]
async fn what_is_no_proper_change_of_the_logs_changes_nothing_and_says_what_is_wrong() {
    let bed = Bed::start(BOUNDS).await;
    let debug = r#"{"level": "debug"}"#;
    let long = format!(r#"{{"level": "{}"}}"#, "x".repeat(5000));
    for (headers, body, status, why) in [
        (JSON, r#"{"level": "info,h2=loud"}"#, 400, r#"level: log directive 2, "h2=loud", is not understood"#),
        (JSON, r#"{"level": "inof"}"#, 400, r#"level: log level "inof" is unknown"#),
        (JSON, r#"{"levle": "debug"}"#, 400, "unknown field `levle`"),
        (JSON, r#"{"level": 7}"#, 400, "at line 1 column 11"),
        (JSON, r#"{"access": true}"#, 409, "this agent has no access log"),
        (JSON, r#"{"level": "debug", "access": true}"#, 409, "this agent has no access log"),
        (JSON, long.as_str(), 413, "4096 bytes at most"),
        ("Content-Type: text/plain\r\n", debug, 415, "application/json"),
        ("Content-Type: application/json\r\nOrigin: https://evil.example\r\n", debug, 403, "may not change"),
    ] {
        let answer = put(&bed, headers, body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(why), "{body}: {answer}");
    }
    // What anything in the node's network namespace can reach is for reading.
    for method in ["POST", "PUT"] {
        let asked = format!(
            "{method} /logging HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 18\r\nConnection: close\r\n\r\n{debug}"
        );
        let answer = talk(TcpStream::connect(bed.admin()).await.unwrap(), &asked).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }
    assert_eq!(bed.log.level(), "info");
}

/// Reads until the text is there.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        loop {
            let mut more = [0; 4096];
            let length = stream.read(&mut more).await.unwrap();
            seen.extend_from_slice(&more[..length]);
            let text = String::from_utf8_lossy(&seen).into_owned();
            if text.contains(wanted) || length == 0 {
                return text;
            }
        }
    };
    timeout(Duration::from_secs(10), reading).await.unwrap()
}

async fn listen(address: SocketAddr, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn events_reach_who_listens_beyond_the_lifetime_of_other_connections_and_end_with_the_agent() {
    let bounds = Bounds { connections: 4, head: Duration::from_secs(5), lifetime: Duration::from_millis(300) };
    let bed = Bed::start(bounds).await;
    let (mut lines, mut sent) =
        (listen(bed.admin(), "").await, listen(bed.admin(), "Accept: text/event-stream\r\n").await);
    bed.events.listeners().wait_for(|count| *count == 2).await.unwrap();
    // Each line is read within the lifetime, so both live on.
    for number in 0..10 {
        sleep(Duration::from_millis(100)).await;
        bed.events.tell(&format!(r#"{{"event":"{number}"}}"#).into());
        assert!(read_until(&mut lines, &format!("{{\"event\":\"{number}\"}}\n")).await.contains("event"));
        assert!(read_until(&mut sent, &format!("data: {{\"event\":\"{number}\"}}\n\n")).await.contains("data"));
    }
    bed.events.close();
    assert!(!read_until(&mut lines, "never").await.contains("event"), "it ends");
    assert_eq!(*bed.events.listeners().borrow(), 0);
}

#[tokio::test]
async fn who_listens_and_never_reads_is_cut_and_more_than_the_most_are_refused() {
    let bounds = Bounds { connections: 16, head: Duration::from_secs(5), lifetime: Duration::from_millis(300) };
    let bed = Bed::start(bounds).await;
    let mut deaf = Vec::new();
    for _ in 0..crate::observe::MOST_LISTENERS {
        deaf.push(listen(bed.admin(), "").await);
    }
    let mut count = bed.events.listeners();
    count.wait_for(|count| *count == crate::observe::MOST_LISTENERS).await.unwrap();
    let refused = get(bed.admin(), "/events").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("8 listen to events already"), "{refused}");
    let long: Arc<str> = "x".repeat(64 * 1024).into();
    for _ in 0..1000 {
        bed.events.tell(&long);
        tokio::task::yield_now().await;
    }
    timeout(Duration::from_secs(10), count.wait_for(|count| *count == 0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn questions_are_answered_or_refused_with_a_status_that_tells_why() {
    let bed = Bed::start(BOUNDS).await;
    for (path, status, says) in [
        ("/explain", 400, "is neither NAMESPACE/POD nor an address"),
        ("/explain?from=%ff", 400, "percent-encoded"),
        ("/explain?from=shop/web&to=a", 400, "is not HOST:PORT"),
        ("/explain?from=shop/web&to=a:80", 503, "no snapshot of the mesh yet"),
        ("/connections", 200, "\"open\":1000"),
        ("/connections?most=7", 200, "\"open\":7"),
        ("/connections?most=x", 400, "the only parameter is most"),
        ("/connections?%6dost=7", 200, "\"open\":7"),
        ("/connections?most=7&more=1", 400, "the only parameter is most"),
        ("/flows", 400, "/flows?recording=NUMBER"),
        ("/flows?recording=1&wait=1", 400, "/flows?recording=NUMBER"),
        ("/flows?end=true", 400, "/flows?recording=NUMBER"),
        ("/flows?recording=1", 200, "\"overflow\":0"),
        ("/flows?end=true&recording=1", 200, "\"overflow\":0"),
    ] {
        let answer = get(bed.admin(), path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(says), "{path}: {answer}");
    }
}

#[tokio::test]
async fn what_is_proposed_is_judged_for_the_sockets_owner_only_and_within_bounds() {
    let bed = Bed::start(BOUNDS).await;
    let post = |body: &str| {
        let length = body.len();
        format!(
            "POST /simulate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    };
    let nothing = r#"{"documents": [], "flows": []}"#;
    for (body, status, says) in [
        (nothing, 503, "no snapshot of the mesh yet"),
        (r#"{"documents": []}"#, 400, "the proposal is not understood: missing field `flows`"),
        (r#"{"documents": [], "flows": [], "mesh": 1}"#, 400, "unknown field `mesh`"),
        (&" ".repeat((4 << 20) + 1), 413, "4194304 bytes at most"),
    ] {
        let answer = talk(UnixStream::connect(bed.socket()).await.unwrap(), &post(body)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(says), "{answer}");
    }
    let turn = simulate::ONE_AT_A_TIME.lock().await;
    let answer = talk(UnixStream::connect(bed.socket()).await.unwrap(), &post(nothing)).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("another simulation is under way"), "{answer}");
    drop(turn);
    let answer = talk(UnixStream::connect(bed.socket()).await.unwrap(), &post(nothing)).await;
    assert!(answer.contains("no snapshot of the mesh yet"), "{answer}");
    let answer = talk(TcpStream::connect(bed.admin()).await.unwrap(), &post(nothing)).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn clients_of_each_listener_are_counted_while_they_are_connected() {
    let bed = Bed::start(BOUNDS).await;
    let counted = async |listener: &str, count: u32| {
        let line = format!("heddle_admin_connections{{listener=\"{listener}\"}} {count}");
        let is_there = || bed.observer.scrape().unwrap().any(|piece| piece.lines().any(|found| found == line));
        let until = Instant::now() + Duration::from_secs(10);
        while !is_there() {
            assert!(Instant::now() < until, "{line}");
            sleep(Duration::from_millis(5)).await;
        }
    };
    let open = (TcpStream::connect(bed.health()).await.unwrap(), TcpStream::connect(bed.health()).await.unwrap());
    let socket = UnixStream::connect(bed.socket()).await.unwrap();
    counted("health", 2).await;
    counted("socket", 1).await;
    counted("metrics", 0).await;
    drop(open.0);
    counted("health", 1).await;
    drop((open.1, socket));
    counted("health", 0).await;
    counted("socket", 0).await;
}
