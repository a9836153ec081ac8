//! Records told from accept to end, and what the metrics and the access log say of them.

#![expect(clippy::unwrap_used, reason = "a failed test is the message")]

use std::{
    io::{self, Write},
    sync::mpsc,
    thread,
    time::SystemTime,
};

use super::*;
use crate::mesh::{LocalPod, Membership, Netns, ServiceName, SpiffeId, Workload, WorkloadUid};

/// A pod, told apart by its name.
pub(super) fn workload(name: &str, version: &str) -> Arc<Workload> {
    let identity: SpiffeId = format!("spiffe://cluster.local/ns/default/sa/{name}").parse().unwrap();
    Arc::new(Workload {
        uid: WorkloadUid(format!("default/{name}-1").into()),
        name: format!("{name}-1").into(),
        namespace: "default".into(),
        service_account: name.into(),
        node: "node-a".into(),
        identity,
        addresses: ["10.0.0.1".parse().unwrap()].into(),
        membership: Membership::Enrolled,
        owner: name.into(),
        app: name.into(),
        version: version.into(),
        canonical_service: name.into(),
        canonical_revision: if version.is_empty() { "latest".into() } else { version.into() },
        labels: Arc::default(),
        opaque_ports: Arc::default(),
        local: Some(Box::new(LocalPod {
            netns: Netns::Path("/run/netns/x".into()),
            rules: Default::default(),
            share: Default::default(),
        })),
    })
}

pub(super) fn party(address: &str, workload: Option<Arc<Workload>>) -> Party {
    let identity = workload.as_ref().map(|workload| workload.identity.clone());
    Party { address: address.parse().unwrap(), workload, identity }
}

pub(super) fn start() -> ConnectionStart {
    ConnectionStart {
        reporter: Reporter::Source,
        client: party("10.1.0.1:40000", Some(workload("client", ""))),
        original_dst: "10.96.0.10:80".parse().unwrap(),
        generation: 1,
    }
}

fn server_of(record: &mut ConnectionRecord) {
    record.set_service(ServiceName { namespace: "shop".into(), name: "web".into() });
    record.set_server(party("10.2.0.2:8080", Some(workload("web", "v2"))));
    record.set_transport(Transport::Hbone {
        tls_version: "TLSv1_3",
        group: "X25519MLKEM768",
        root: RootName::of(b"a root"),
    });
    record.set_tries(2);
}

pub(super) fn failure(flag: ResponseFlag, error: &str) -> Result<(), Failure> {
    Err(Failure { flag, error: error.to_owned(), denied_by: None })
}

pub(super) fn silent() -> Observer {
    Observer::new("prod".into(), None).unwrap()
}

/// The scraped value of the one series that has this beginning and all these labels.
pub(super) fn value(observer: &Observer, metric: &str, labels: &[&str]) -> Option<f64> {
    let text = observer.scrape().unwrap().collect::<String>();
    let mut found = text.lines().filter(|line| {
        line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{']))
            && labels.iter().all(|l| line.contains(l))
    });
    let line = found.next()?;
    assert_eq!(found.next(), None, "{metric} {labels:?} is not one series:\n{text}");
    Some(line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[derive(Clone, Default)]
pub(super) struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn logging(format: LogFormat) -> (Observer, Output) {
    let output = Output::default();
    let log = AccessLogOutput { format, output: Box::new(output.clone()), settings: AccessLogSettings::default() };
    (Observer::new("prod".into(), Some(log)).unwrap(), output)
}

pub(super) fn logged(observer: &Observer, output: &Output) -> String {
    assert!(observer.flush_access_log(Duration::from_secs(10)), "the writer did not flush");
    String::from_utf8(output.0.lock().clone()).unwrap()
}

/// What every metric says of the two parties in these tests.
pub(super) const OF_THE_PARTIES: [&str; 20] = [
    r#"reporter="source""#,
    r#"source_workload="client""#,
    r#"source_workload_namespace="default""#,
    r#"source_principal="spiffe://cluster.local/ns/default/sa/client""#,
    r#"source_app="client""#,
    r#"source_version="unknown""#,
    r#"source_cluster="prod""#,
    r#"source_canonical_service="client""#,
    r#"source_canonical_revision="latest""#,
    r#"destination_workload="web""#,
    r#"destination_workload_namespace="default""#,
    r#"destination_principal="spiffe://cluster.local/ns/default/sa/web""#,
    r#"destination_app="web""#,
    r#"destination_version="v2""#,
    r#"destination_cluster="prod""#,
    r#"destination_canonical_service="web""#,
    r#"destination_canonical_revision="v2""#,
    r#"destination_service="web.shop.svc.cluster.local""#,
    r#"destination_service_name="web""#,
    r#"destination_service_namespace="shop""#,
];

#[test]
fn a_finished_connection_has_all_of_istios_labels() {
    let observer = silent();
    let mut record = observer.connection(start());
    server_of(&mut record);
    let bytes = record.opened();
    bytes.add_sent(100);
    bytes.add_received(2000);
    record.finish(Ok(()));

    let of_the_connection =
        [r#"request_protocol="tcp""#, r#"connection_security_policy="mutual_tls""#, r#"response_flags="-""#];
    let labels = [&OF_THE_PARTIES[..], &of_the_connection].concat();
    assert_eq!(value(&observer, "istio_tcp_connections_opened_total", &labels), Some(1.0));
    assert_eq!(value(&observer, "istio_tcp_connections_closed_total", &labels), Some(1.0));
    assert_eq!(value(&observer, "istio_tcp_sent_bytes_total", &labels), Some(100.0));
    assert_eq!(value(&observer, "istio_tcp_received_bytes_total", &labels), Some(2000.0));
    assert_eq!(value(&observer, "istio_tcp_connections_failed_total", &[]), None);
    assert_eq!(value(&observer, "heddle_open_connections", &[]), Some(0.0));
}

#[test]
fn a_connection_that_was_never_joined_fails_with_its_flag_and_unknown_parties() {
    let observer = silent();
    let mut from_outside = start();
    from_outside.client = party("192.0.2.1:1", None);
    observer.connection(from_outside).finish(failure(ResponseFlag::NoHealthyUpstream, "no ready endpoint"));
    let labels = [
        r#"response_flags="UH""#,
        r#"source_workload="unknown""#,
        r#"source_principal="unknown""#,
        r#"source_cluster="unknown""#,
        r#"destination_service="unknown""#,
        r#"connection_security_policy="none""#,
    ];
    assert_eq!(value(&observer, "istio_tcp_connections_failed_total", &labels), Some(1.0));
    assert_eq!(value(&observer, "istio_tcp_connections_closed_total", &[]), None);
    assert_eq!(value(&observer, "istio_tcp_connections_opened_total", &[]), Some(0.0));
}

#[test]
fn a_joined_connection_that_breaks_is_closed_with_its_flag() {
    let observer = silent();
    let mut record = observer.connection(start());
    drop(record.opened());
    record.finish(failure(ResponseFlag::UpstreamReset, "connection reset"));
    assert_eq!(value(&observer, "istio_tcp_connections_closed_total", &[r#"response_flags="UC""#]), Some(1.0));
    assert_eq!(value(&observer, "istio_tcp_connections_failed_total", &[]), None);
}

#[test]
fn a_record_that_is_dropped_is_counted_and_logged_as_aborted() {
    let (observer, output) = logging(LogFormat::Text);
    let record = observer.connection(start());
    assert_eq!(value(&observer, "heddle_open_connections", &[]), Some(1.0));
    drop(record);
    assert_eq!(value(&observer, "istio_tcp_connections_failed_total", &[r#"response_flags="ABORTED""#]), Some(1.0));
    assert_eq!(value(&observer, "heddle_open_connections", &[]), Some(0.0));
    assert!(logged(&observer, &output).contains(" flag=ABORTED "));
}

#[test]
fn bytes_of_an_open_connection_are_counted_while_it_runs_and_once() {
    let observer = silent();
    let mut record = observer.connection(start());
    let bytes = record.opened();
    bytes.add_sent(10);
    observer.tick(Instant::now());
    assert_eq!(value(&observer, "istio_tcp_sent_bytes_total", &[]), Some(10.0));
    bytes.add_sent(5);
    assert!(Arc::ptr_eq(&bytes, &record.opened()), "opened twice gives the same counts");
    assert_eq!(value(&observer, "istio_tcp_sent_bytes_total", &[]), Some(15.0));
    bytes.add_sent(1);
    record.finish(Ok(()));
    observer.tick(Instant::now());
    assert_eq!(value(&observer, "istio_tcp_sent_bytes_total", &[]), Some(16.0));
    assert_eq!(value(&observer, "istio_tcp_connections_opened_total", &[]), Some(1.0));
}

#[test]
fn bytes_add_up_when_several_threads_count_at_once() {
    let observer = silent();
    let mut record = observer.connection(start());
    let bytes = record.opened();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..2000).for_each(|_| observer.inner.open.count_bytes()));
        }
        scope.spawn(|| (0..20_000).for_each(|_| bytes.add_sent(3)));
    });
    record.finish(Ok(()));
    assert_eq!(value(&observer, "istio_tcp_sent_bytes_total", &[]), Some(60_000.0));
}

#[test]
fn hooks_run_before_each_scrape() {
    let observer = silent();
    observer.before_scrape(|metrics| metrics.set_kernel_events("captured", 7));
    assert_eq!(value(&observer, "heddle_kernel_events_total", &[r#"event="captured""#]), Some(7.0));
    assert_eq!(value(&observer, "heddle_kernel_events_total", &[r#"event="captured""#]), Some(7.0));
}

/// A story whose times are known.
fn story() -> access_log::Story {
    let mut client = start();
    client.client.address = "[2001:db8::1]:40000".parse().unwrap();
    access_log::Story {
        event: access_log::LineEvent::End,
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_709_210_096_007),
        duration: Duration::from_micros(1_234_999),
        start: client,
        service: Some(ServiceName { namespace: "shop".into(), name: "web".into() }),
        server: Some(party("10.2.0.2:8080", None)),
        transport: Transport::Hbone { tls_version: "TLSv1_3", group: "X25519", root: RootName::of(b"a root") },
        tries: 1,
        remarks: Vec::new(),
        sent: 5,
        received: 6,
        untold: outcome::Moved::default(),
        sockets: [None, Some(SocketFacts { rtt_us: 41, retransmits: 2 })],
        failure: Some(Failure {
            flag: ResponseFlag::UpstreamReset,
            error: "reset\nby \"peer\"".to_owned(),
            denied_by: None,
        }),
        request: None,
    }
}

#[test]
fn the_text_line_is_as_documented() {
    let (observer, output) = logging(LogFormat::Text);
    observer.inner.access_log.as_ref().unwrap().push(story());
    let expected = "time=2024-02-29T12:34:57.241Z event=end start=2024-02-29T12:34:56.007Z direction=outbound \
        source_address=[2001:db8::1]:40000 source_workload=client-1 source_namespace=default \
        source_identity=spiffe://cluster.local/ns/default/sa/client destination_address=10.96.0.10:80 \
        destination_workload=- destination_namespace=- destination_identity=- service=web.shop.svc.cluster.local \
        endpoint=10.2.0.2:8080 protocol=tcp method=- host=- path=- status=- grpc_status=- route=- user_agent=- flag=UC sent_bytes=5 received_bytes=6 duration_ms=1234 \
        client_rtt_us=- client_retransmits=- server_rtt_us=41 server_retransmits=2 tries=1 \
        tls_version=TLSv1_3 tls_group=X25519 tls_root=50b312f5cbc71675 request_id=- trace_id=- policy=- remarks=- error=\"reset\\nby \\\"peer\\\"\"\n";
    assert_eq!(logged(&observer, &output), expected);
    observer.inner.access_log.as_ref().unwrap().push(access_log::Story { failure: None, ..story() });
    assert!(logged(&observer, &output).contains(" flag=- sent_bytes=5 "), "the agent's own words have no quotes");
}

#[test]
fn the_json_line_has_the_same_fields() {
    let (observer, output) = logging(LogFormat::Json);
    observer.inner.access_log.as_ref().unwrap().push(story());
    let expected = "{\"time\":\"2024-02-29T12:34:57.241Z\",\"event\":\"end\",\"start\":\"2024-02-29T12:34:56.007Z\",\
        \"direction\":\"outbound\",\"source_address\":\"[2001:db8::1]:40000\",\"source_workload\":\"client-1\",\
        \"source_namespace\":\"default\",\"source_identity\":\"spiffe://cluster.local/ns/default/sa/client\",\
        \"destination_address\":\"10.96.0.10:80\",\"destination_workload\":null,\"destination_namespace\":null,\
        \"destination_identity\":null,\"service\":\"web.shop.svc.cluster.local\",\"endpoint\":\"10.2.0.2:8080\",\
        \"protocol\":\"tcp\",\"method\":null,\"host\":null,\"path\":null,\"status\":null,\"grpc_status\":null,\
        \"route\":null,\"user_agent\":null,\"flag\":\"UC\",\"sent_bytes\":5,\"received_bytes\":6,\"duration_ms\":1234,\
        \"client_rtt_us\":null,\"client_retransmits\":null,\"server_rtt_us\":41,\"server_retransmits\":2,\"tries\":1,\
        \"tls_version\":\"TLSv1_3\",\"tls_group\":\"X25519\",\"tls_root\":\"50b312f5cbc71675\",\"request_id\":null,\"trace_id\":null,\"policy\":null,\"remarks\":null,\"error\":\"reset\\nby \\\"peer\\\"\"}\n";
    let line = logged(&observer, &output);
    assert_eq!(line, expected);
    let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(parsed.as_object().unwrap().len(), FIELDS.len());
}

/// An output that lets nothing pass until it is told to.
struct Stuck {
    entered: mpsc::Sender<()>,
    gate: mpsc::Receiver<()>,
    then: Output,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.entered.send(()).unwrap();
        // Closed once the test lets go.
        let _ = self.gate.recv();
        self.then.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_output_costs_lines_that_are_counted_and_never_blocks() {
    let (entered, has_entered) = mpsc::channel();
    let (gate_opener, gate) = mpsc::channel();
    let output = Output::default();
    let stuck = Stuck { entered, gate, then: output.clone() };
    let dropped = prometheus::IntCounter::new("dropped", "lines").unwrap();
    let settings = AccessLogSettings::default();
    let to = AccessLogOutput { format: LogFormat::Text, output: Box::new(stuck), settings };
    let over_rate = prometheus::IntCounter::new("over_rate", "lines").unwrap();
    let unwritten = access_log::Unwritten { dropped: dropped.clone(), over_rate };
    let log = access_log::AccessLog::with_queue(to, unwritten, 4).unwrap();

    log.push(story());
    has_entered.recv_timeout(Duration::from_secs(10)).unwrap();
    (0..10).for_each(|_| log.push(story()));
    assert_eq!(dropped.get(), 6, "the queue holds 4 of 10");
    assert!(!log.flush(Duration::from_millis(20)), "a flush of a stuck output gives up");
    drop(gate_opener);
    assert!(log.flush(Duration::from_secs(10)));
    assert_eq!(output.0.lock().iter().filter(|byte| **byte == b'\n').count(), 5);
}

/// An output whose reader is gone at first.
struct BrokenAtFirst {
    failures: u32,
    then: Output,
}

impl Write for BrokenAtFirst {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.then.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_broken_pipe_costs_lines_and_not_the_writer() {
    let output = Output::default();
    let broken = BrokenAtFirst { failures: 1, then: output.clone() };
    let to =
        AccessLogOutput { format: LogFormat::Text, output: Box::new(broken), settings: AccessLogSettings::default() };
    let observer = Observer::new("prod".into(), Some(to)).unwrap();
    observer.connection(start()).finish(Ok(()));
    assert_eq!(logged(&observer, &output), "");
    assert_eq!(value(&observer, "heddle_access_log_dropped_total", &[]), Some(1.0));
    observer.connection(start()).finish(Ok(()));
    assert_eq!(logged(&observer, &output).lines().count(), 1);
    assert_eq!(value(&observer, "heddle_access_log_dropped_total", &[]), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn the_control_task_counts_bytes_by_itself_and_ends_with_the_signal() {
    let observer = silent();
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(observer.clone().run(stopped));
    let mut record = observer.connection(start());
    record.opened().add_sent(10);
    let series = observer.inner.traffic.resolve(
        &observer.inner.metrics,
        metrics::LabelSet::new(Reporter::Source, Transport::Plain, &start().client, None, None),
    );
    assert_eq!(series.sent.get(), 0);
    tokio::time::sleep(TICK + Duration::from_millis(1)).await;
    assert_eq!(series.sent.get(), 10);
    stop.send(true).unwrap();
    task.await.unwrap();
    record.finish(Ok(()));
}

pub(super) fn logging_with(settings: AccessLogSettings) -> (Observer, Output) {
    let output = Output::default();
    let to = AccessLogOutput { format: LogFormat::Json, output: Box::new(output.clone()), settings };
    (Observer::new("prod".into(), Some(to)).unwrap(), output)
}

pub(super) fn lines(observer: &Observer, output: &Output) -> Vec<serde_json::Value> {
    logged(observer, output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A kernel in which a socket's number is its round trip time.
fn read_facts(socket: std::os::fd::RawFd) -> Option<SocketFacts> {
    u32::try_from(socket).ok().map(|rtt_us| SocketFacts { rtt_us, retransmits: 1 })
}

#[test]
fn long_connections_are_told_once_in_their_time_and_at_their_end() {
    let every = Duration::from_secs(60);
    let (observer, output) =
        logging_with(AccessLogSettings { long_connections: Some(every), ..AccessLogSettings::default() });
    let accepted = Instant::now();
    let mut record = observer.connection(start());
    server_of(&mut record);
    let bytes = record.opened();
    let shown = bytes.show(SocketEnd::Own(10, read_facts), SocketEnd::Own(20, read_facts));
    bytes.add_sent(3);
    for seconds in [59, 61, 90, 119, 122, 181] {
        observer.tell_what_is_open(accepted + Duration::from_secs(seconds));
    }
    bytes.add_sent(4);
    drop(shown);
    record.finish(Ok(()));

    let lines = lines(&observer, &output);
    let events: Vec<_> =
        lines.iter().map(|line| (line["event"].as_str().unwrap(), line["sent_bytes"].clone())).collect();
    assert_eq!(
        events,
        [("open", 3.into()), ("open", 3.into()), ("end", 7.into())],
        "at 61 s, at 122 s, and at the end"
    );
    for line in &lines {
        assert_eq!((&line["client_rtt_us"], &line["server_rtt_us"]), (&10.into(), &20.into()), "{line}");
        assert_eq!(line["destination_workload"], "web-1", "{line}");
    }
    observer.tell_what_is_open(accepted + Duration::from_secs(999));
    assert_eq!(logged(&observer, &output).lines().count(), 3, "it has ended");
}

#[test]
fn lines_beyond_the_rate_are_counted_and_failures_still_written() {
    let rate = std::num::NonZeroU32::new(8);
    let (observer, output) = logging_with(AccessLogSettings { rate, ..AccessLogSettings::default() });
    for _ in 0..20 {
        observer.connection(start()).finish(Ok(()));
    }
    observer.connection(start()).finish(failure(ResponseFlag::UpstreamReset, "reset"));
    let lines = lines(&observer, &output);
    assert!(lines.len() < 15, "{} lines of 21", lines.len());
    assert_eq!(lines.iter().filter(|line| line["flag"] == "UC").count(), 1);
    let left_out = value(&observer, "heddle_access_log_left_out_total", &[r#"reason="rate""#]);
    assert_eq!(left_out, Some(21.0 - lines.len() as f64));
}

#[test]
fn the_access_log_is_turned_off_and_on_again() {
    let (observer, output) = logging_with(AccessLogSettings { on: false, ..AccessLogSettings::default() });
    observer.connection(start()).finish(Ok(()));
    observer.turn_access_log(true);
    observer.connection(start()).finish(Ok(()));
    observer.turn_access_log(false);
    observer.connection(start()).finish(Ok(()));
    assert_eq!(logged(&observer, &output).lines().count(), 1);
    assert!(observer.has_access_log() && !silent().has_access_log());
}
