//! From stories to what a collector gets, and what becomes of spans when it does not take them.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    collections::{BTreeMap, VecDeque},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use parking_lot::Mutex;
use prost::Message;
use tokio::{task::JoinHandle, time::sleep};

use super::{
    batch::Place,
    export::Deliver,
    otlp::ExportError,
    protocol::{ExportTraceServiceRequest, KeyValue, ResourceSpans, Span, SpanKind, StatusCode as SpanCode, Value},
    *,
};
use crate::{
    mesh::ServiceName,
    observe::{
        ConnectionStart, Failure, Reporter, RequestIds, RequestProtocol, RequestStart, ResponseFlag, RootName,
        Transport,
        access_log::{LineEvent, RequestStory},
        metrics,
        outcome::Moved,
        request::tests::start,
        tests::{party, workload},
        trace_context::{SpanId, TraceId},
    },
};

fn ids(parent: Option<&str>) -> Box<SpanIds> {
    Box::new(SpanIds {
        trace_id: TraceId::parse("0af7651916cd43dd8448eb211c80319c").unwrap(),
        span_id: SpanId::parse("b7ad6b7169203331").unwrap(),
        parent: parent.map(|parent| SpanId::parse(parent).unwrap()),
        state: Some("a=b".into()),
    })
}

/// A request of pod client-1 to pod web-1, as one of their agents tells it.
fn story(reporter: Reporter, protocol: RequestProtocol, end: (Option<u16>, Option<u32>)) -> Story {
    let start = RequestStart {
        reporter,
        method: Method::POST,
        version: if protocol == RequestProtocol::Http1 { Version::HTTP_11 } else { Version::HTTP_2 },
        path: "/shop.Cart/Add",
        host: "web.shop:8080",
        ids: RequestIds { trace_id: None, request_id: "7f-1".into(), span: None },
        ..start(protocol)
    };
    let mut words = RequestStory::new(&start);
    words.set_user_agent("curl/8");
    words.set_route(&"HTTPRoute shop/web rules[1]");
    let status = end.0.map(|status| StatusCode::from_u16(status).unwrap());
    Story {
        event: LineEvent::End,
        sockets: [None; 2],
        started: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        duration: Duration::from_millis(250),
        start: ConnectionStart { reporter, client: start.client, original_dst: start.original_dst, generation: 1 },
        service: Some(ServiceName { namespace: "shop".into(), name: "web".into() }),
        server: Some(party("10.2.0.2:8080", Some(workload("web", "v2")))),
        transport: Transport::Hbone { tls_version: "TLSv1_3", group: "X25519MLKEM768", root: RootName::of(b"a root") },
        tries: 3,
        remarks: Vec::new(),
        sent: 10,
        received: 20,
        untold: Moved::default(),
        failure: None,
        request: Some(Box::new(words.ended(status, end.1))),
    }
}

fn place() -> Place {
    Place { node: "node-a".into(), cluster: "east".into() }
}

/// The one span of a story, and its resource.
fn told(story: Story, parent: Option<&str>) -> (Span, BTreeMap<String, String>) {
    let finished = [Finished { ids: ids(parent), story: Arc::new(story) }];
    let mut request = batch::request(&finished, &place());
    assert_eq!(request.resource_spans.len(), 1);
    let ResourceSpans { resource, mut scope_spans } = request.resource_spans.remove(0);
    assert_eq!((scope_spans.len(), scope_spans[0].spans.len()), (1, 1));
    (scope_spans.remove(0).spans.remove(0), texts(&resource.unwrap().attributes))
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.clone().unwrap().value.unwrap() {
        Value::Text(text) => text,
        Value::Number(number) => format!("{number} "),
    };
    let all: BTreeMap<_, _> = attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect();
    assert_eq!(all.len(), attributes.len(), "a key is there once: {attributes:?}");
    all
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_clients_span_has_every_attribute() {
    let (span, resource) =
        told(story(Reporter::Source, RequestProtocol::Http1, (Some(200), None)), Some("00f067aa0ba902b7"));
    assert_eq!(
        texts(&span.attributes),
        map(&[
            ("http.request.method", "POST"),
            ("url.scheme", "http"),
            ("url.path", "/shop.Cart/Add"),
            ("network.protocol.name", "http"),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", "curl/8"),
            ("http.response.status_code", "200 "),
            ("server.address", "web.shop"),
            ("server.port", "8080 "),
            ("network.peer.address", "10.2.0.2"),
            ("network.peer.port", "8080 "),
            ("http.request.resend_count", "2 "),
            ("tls.protocol.name", "tls"),
            ("tls.protocol.version", "1.3"),
            ("tls.curve", "X25519MLKEM768"),
            ("heddle.tls.root", "50b312f5cbc71675"),
            ("heddle.connection_security_policy", "mutual_tls"),
            ("heddle.direction", "outbound"),
            ("heddle.service", "web.shop.svc.cluster.local"),
            ("heddle.source.workload", "client"),
            ("heddle.source.namespace", "default"),
            ("heddle.source.canonical_service", "client"),
            ("heddle.source.principal", "spiffe://cluster.local/ns/default/sa/client"),
            ("heddle.destination.workload", "web"),
            ("heddle.destination.namespace", "default"),
            ("heddle.destination.canonical_service", "web"),
            ("heddle.destination.principal", "spiffe://cluster.local/ns/default/sa/web"),
            ("heddle.endpoint", "10.2.0.2:8080"),
            ("heddle.tries", "3 "),
            ("heddle.route", "HTTPRoute shop/web rules[1]"),
            ("heddle.request_id", "7f-1"),
            ("heddle.request.body.bytes", "10 "),
            ("heddle.response.body.bytes", "20 "),
        ])
    );
    assert_eq!(
        resource,
        map(&[
            ("service.name", "client"),
            ("service.namespace", "default"),
            ("service.version", "latest"),
            ("service.instance.id", "default/client-1"),
            ("k8s.namespace.name", "default"),
            ("k8s.pod.name", "client-1"),
            ("k8s.node.name", "node-a"),
            ("k8s.cluster.name", "east"),
            ("telemetry.sdk.name", "heddle"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ])
    );
    assert_eq!((span.name.as_str(), span.kind, span.status), ("POST", SpanKind::Client as i32, None));
    assert_eq!((span.trace_id.len(), span.span_id.len(), span.parent_span_id.len()), (16, 8, 8));
    assert_eq!((span.trace_state.as_str(), span.flags), ("a=b", 0x301));
    assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 250_000_000);
}

#[test]
fn a_servers_span_is_of_the_servers_pod_and_knows_its_client() {
    let (span, resource) = told(story(Reporter::Destination, RequestProtocol::Http2, (Some(200), None)), None);
    let attributes = texts(&span.attributes);
    assert_eq!(attributes["client.address"], "10.1.0.1");
    assert_eq!((&*attributes["network.peer.address"], &*attributes["network.peer.port"]), ("10.1.0.1", "40000 "));
    assert_eq!(attributes["network.protocol.version"], "2");
    assert_eq!((&*resource["service.name"], &*resource["service.version"]), ("web", "v2"));
    assert_eq!(
        (span.kind, span.parent_span_id, span.flags),
        (SpanKind::Server as i32, vec![], 0x101),
        "it begins the trace"
    );
}

#[test]
fn a_call_of_grpc_is_named_by_its_method() {
    let (span, _) = told(story(Reporter::Source, RequestProtocol::Grpc, (Some(200), Some(5))), None);
    let attributes = texts(&span.attributes);
    assert_eq!(span.name, "shop.Cart/Add");
    let of_call =
        ["rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type"].map(|key| &*attributes[key]);
    assert_eq!(of_call, ["grpc", "shop.Cart/Add", "NOT_FOUND", "NOT_FOUND"]);
}

#[test]
fn methods_that_nobody_knows_are_one_name() {
    let mut story = story(Reporter::Source, RequestProtocol::Http1, (Some(200), None));
    let method = Method::from_bytes(b"BREW").unwrap();
    let words = RequestStory::new(&RequestStart { method, ..start(RequestProtocol::Http1) });
    story.request = Some(Box::new(words.ended(Some(StatusCode::OK), None)));
    let (span, _) = told(story, None);
    let attributes = texts(&span.attributes);
    assert_eq!((span.name.as_str(), &*attributes["http.request.method"]), ("HTTP", "_OTHER"));
    assert_eq!(attributes["http.request.method_original"], "BREW");
}

#[test]
fn what_is_an_error_depends_on_the_side() {
    use Reporter::{Destination, Source};
    for (reporter, status, grpc, flag, expected) in [
        (Source, Some(200), None, None, None),
        (Source, Some(302), None, None, None),
        (Source, Some(404), None, None, Some("404")),
        (Source, Some(503), None, None, Some("503")),
        (Destination, Some(404), None, None, None),
        (Destination, Some(500), None, None, Some("500")),
        (Destination, None, None, Some(ResponseFlag::DownstreamClosed), Some("DC")),
        (Source, Some(503), None, Some(ResponseFlag::NoHealthyUpstream), Some("UH")),
        (Destination, Some(403), None, Some(ResponseFlag::RequestDenied), Some("UAEX")),
        (Source, Some(200), Some(0), None, None),
        (Source, Some(200), Some(5), None, Some("NOT_FOUND")),
        (Destination, Some(200), Some(5), None, None),
        (Destination, Some(200), Some(13), None, Some("INTERNAL")),
        (Source, Some(200), Some(99), None, Some("99")),
    ] {
        let protocol = if grpc.is_some() { RequestProtocol::Grpc } else { RequestProtocol::Http1 };
        let failure =
            flag.map(|flag| Failure { flag, error: "in words".to_owned(), denied_by: Some("a policy".to_owned()) });
        let (span, _) = told(Story { failure, ..story(reporter, protocol, (status, grpc)) }, None);
        let attributes = texts(&span.attributes);
        let name = format!("{reporter:?} {status:?} {grpc:?} {flag:?}");
        assert_eq!(attributes.get("error.type").map(String::as_str), expected, "{name}");
        let code = span.status.as_ref().map(|status| status.code);
        assert_eq!(code, expected.map(|_| SpanCode::Error as i32), "{name}");
        if flag.is_some() {
            assert_eq!(attributes["heddle.response_flag"], expected.unwrap(), "{name}");
            assert_eq!(
                (&*span.status.unwrap().message, &*attributes["heddle.policy"]),
                ("in words", "a policy"),
                "{name}"
            );
        }
    }
}

#[test]
fn spans_are_grouped_by_the_pods_that_they_are_of() {
    let finished = |reporter, name| {
        let mut story = story(reporter, RequestProtocol::Http1, (Some(200), None));
        story.start.client = party("10.1.0.1:40000", Some(workload(name, "")));
        Finished { ids: ids(None), story: Arc::new(story) }
    };
    let all = [
        finished(Reporter::Source, "a"),
        finished(Reporter::Source, "b"),
        finished(Reporter::Destination, "b"),
        finished(Reporter::Source, "a"),
    ];
    let request = batch::request(&all, &place());
    let count = |spans: &ResourceSpans| {
        let resource = texts(&spans.resource.as_ref().unwrap().attributes);
        (resource["service.name"].clone(), spans.scope_spans[0].spans.len())
    };
    let counts: BTreeMap<String, usize> = request.resource_spans.iter().map(count).collect();
    assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1), ("web".to_owned(), 1)].into());
}

/// What a collector of these tests does with the next request; when nothing is left, it takes everything.
enum Does {
    Take,
    Reject(u64),
    Fail(fn() -> ExportError),
    Hang,
}

#[derive(Clone, Default)]
struct Fake {
    does: Arc<Mutex<VecDeque<Does>>>,
    got: Arc<Mutex<Vec<(Instant, usize)>>>,
}

impl Fake {
    fn doing(does: impl IntoIterator<Item = Does>) -> Self {
        Self { does: Arc::new(Mutex::new(does.into_iter().collect())), got: Arc::default() }
    }

    fn always(does: fn() -> Does) -> Self {
        Self::doing((0..1000).map(|_| does()))
    }

    fn spans(&self) -> Vec<usize> {
        self.got.lock().iter().map(|(_, spans)| *spans).collect()
    }
}

impl Deliver for Fake {
    async fn deliver(&mut self, request: Bytes) -> Result<u64, ExportError> {
        let request = ExportTraceServiceRequest::decode(request).unwrap();
        let spans = request.resource_spans.iter().flat_map(|pod| &pod.scope_spans).map(|scope| scope.spans.len()).sum();
        self.got.lock().push((Instant::now(), spans));
        let does = self.does.lock().pop_front();
        match does {
            None | Some(Does::Take) => Ok(0),
            Some(Does::Reject(spans)) => Ok(spans),
            Some(Does::Fail(error)) => Err(error()),
            Some(Does::Hang) => {
                let after = Duration::from_secs(10);
                sleep(after).await;
                Err(ExportError::TimedOut(after))
            }
        }
    }
}

struct World {
    spans: Spans,
    metrics: Metrics,
    exporter: JoinHandle<()>,
}

impl World {
    fn new(collector: Fake, queue: usize) -> Self {
        let (_, metrics) = metrics::new().unwrap();
        let otlp = OtlpConfig::for_tests("http://127.0.0.1:1");
        let output = SpanOutput { otlp, share: Percentage::ALL, node: "node-a".into() };
        let (spans, exporter) = Spans::with_queue(&output, "east".into(), collector, &metrics, queue);
        Self { spans, metrics, exporter: tokio::spawn(exporter.run()) }
    }

    fn push(&self, count: usize) {
        for _ in 0..count {
            let story = story(Reporter::Source, RequestProtocol::Http1, (Some(200), None));
            self.spans.push(ids(None), Arc::new(story));
        }
    }

    /// What was exported, and what was lost by reason.
    fn counts(&self) -> (u64, BTreeMap<&'static str, u64>) {
        let lost = |reason: &SpanDropReason| (reason.as_str(), self.metrics.spans_dropped.of(*reason).get());
        let lost = SpanDropReason::ALL.iter().map(lost).filter(|(_, count)| *count > 0).collect();
        (self.metrics.spans_exported.get(), lost)
    }

    async fn end(&mut self, patience: Duration) {
        self.spans.end.send_replace(Some(Instant::now() + patience));
        (&mut self.exporter).await.unwrap();
    }
}

fn busy() -> ExportError {
    ExportError::Status { status: StatusCode::SERVICE_UNAVAILABLE, after: None }
}

fn bad() -> ExportError {
    ExportError::Status { status: StatusCode::BAD_REQUEST, after: None }
}

#[tokio::test(start_paused = true)]
async fn spans_are_gathered_and_sent_in_batches() {
    let collector = Fake::default();
    let world = World::new(collector.clone(), 2000);
    world.push(1);
    sleep(Duration::from_millis(100)).await;
    world.push(1199);
    assert_eq!(world.spans.queued(), 1199, "the first is in the exporter's hands");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(collector.spans(), [512, 512, 176]);
    assert_eq!((world.counts(), world.spans.queued()), ((1200, map_of(&[])), 0));
}

fn map_of(entries: &[(&'static str, u64)]) -> BTreeMap<&'static str, u64> {
    entries.iter().copied().collect()
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_never_answers_costs_spans_and_no_memory() {
    let collector = Fake::always(|| Does::Hang);
    let mut world = World::new(collector.clone(), 100);
    world.push(1);
    sleep(Duration::from_secs(1)).await;
    world.push(150);
    assert_eq!((world.spans.queued(), world.counts()), (100, (0, map_of(&[("queue_full", 50)]))));
    // It is given up after half a minute, and the next batch is tried.
    sleep(Duration::from_secs(45)).await;
    assert_eq!(world.counts(), (0, map_of(&[("queue_full", 50), ("unreachable", 1)])));
    assert_eq!(world.spans.queued(), 0, "the next batch has them");
    world.end(Duration::from_secs(2)).await;
    assert_eq!(world.counts(), (0, map_of(&[("queue_full", 50), ("unreachable", 1), ("shutdown", 100)])));
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_with_growing_pauses_until_it_is_taken() {
    let collector = Fake::doing((0..4).map(|_| Does::Fail(busy)));
    let world = World::new(collector.clone(), 100);
    world.push(3);
    sleep(Duration::from_secs(20)).await;
    assert_eq!((collector.spans(), world.counts()), (vec![3; 5], (3, map_of(&[]))));
    let at: Vec<Instant> = collector.got.lock().iter().map(|(at, _)| *at).collect();
    for (index, least) in [250, 500, 1000, 2000].into_iter().enumerate() {
        let pause = at[index + 1] - at[index];
        let (least, most) = (Duration::from_millis(least), Duration::from_millis(2 * least + 1));
        assert!(pause >= least && pause <= most, "{index}: {pause:?}");
    }
    let tries = |result: SpanExportResult| world.metrics.span_exports.of(result).get();
    assert_eq!((tries(SpanExportResult::Busy), tries(SpanExportResult::Ok)), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn what_would_fail_again_is_not_tried_again() {
    let world = World::new(Fake::doing([Does::Fail(bad), Does::Reject(2), Does::Reject(99)]), 100);
    for _ in 0..3 {
        world.push(5);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(world.counts(), (3, map_of(&[("refused", 5 + 2 + 5)])), "a collector cannot refuse more than there are");
}

#[tokio::test(start_paused = true)]
async fn a_collector_says_how_long_it_wants_to_be_left_alone() {
    let later = || ExportError::Status { status: StatusCode::TOO_MANY_REQUESTS, after: Some(Duration::from_secs(9)) };
    let never =
        || ExportError::Status { status: StatusCode::TOO_MANY_REQUESTS, after: Some(Duration::from_secs(1 << 40)) };
    let collector = Fake::doing([Does::Fail(later), Does::Take, Does::Fail(never)]);
    let world = World::new(collector.clone(), 100);
    world.push(1);
    sleep(Duration::from_secs(8)).await;
    assert_eq!(collector.spans().len(), 1);
    sleep(Duration::from_secs(3)).await;
    assert_eq!((collector.spans().len(), world.counts().0), (2, 1));
    world.push(1);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.counts(), (1, map_of(&[("unreachable", 1)])), "longer than anything is tried for");
}

#[tokio::test(start_paused = true)]
async fn the_end_sends_what_is_there_and_waits_no_longer_than_it_may() {
    let collector = Fake::doing([Does::Fail(busy)]);
    let mut world = World::new(collector.clone(), 1000);
    world.push(700);
    let began = Instant::now();
    world.end(Duration::from_secs(5)).await;
    assert_eq!(world.counts(), (700, map_of(&[])), "tried again while there is time");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    let mut world = World::new(Fake::always(|| Does::Hang), 1000);
    world.push(700);
    let began = Instant::now();
    world.end(Duration::from_secs(3)).await;
    assert_eq!(world.counts(), (0, map_of(&[("shutdown", 700)])));
    assert_eq!(began.elapsed().as_secs(), 3);
    world.push(1);
    assert_eq!(world.counts().1["queue_full"], 1, "nobody takes what comes later");
}

#[test]
fn only_what_may_succeed_later_is_tried_again() {
    use super::otlp::Again;
    let status = |status| ExportError::Status { status: StatusCode::from_u16(status).unwrap(), after: None }.again();
    for code in [429, 502, 503, 504] {
        assert_eq!(status(code), Again::Later, "{code}");
    }
    for code in [301, 400, 401, 403, 404, 413, 500, 501] {
        assert_eq!(status(code), Again::Never, "{code}");
    }
    let grpc = |code, after| ExportError::Grpc { code, message: String::new(), after }.again();
    use tonic::Code;
    let second = Some(Duration::from_secs(1));
    for code in
        [Code::Cancelled, Code::DeadlineExceeded, Code::Aborted, Code::OutOfRange, Code::Unavailable, Code::DataLoss]
    {
        assert_eq!(
            (grpc(code, None), grpc(code, second)),
            (Again::Later, Again::After(Duration::from_secs(1))),
            "{code:?}"
        );
    }
    for code in [
        Code::Unknown,
        Code::InvalidArgument,
        Code::NotFound,
        Code::PermissionDenied,
        Code::Unimplemented,
        Code::Internal,
    ] {
        assert_eq!(grpc(code, second), Again::Never, "{code:?}");
    }
    assert_eq!(
        (grpc(Code::ResourceExhausted, None), grpc(Code::ResourceExhausted, second)),
        (Again::Never, Again::After(Duration::from_secs(1)))
    );
    let broken = |was_kept| ExportError::Broken { problem: String::new(), was_kept }.again();
    assert_eq!((broken(true), broken(false)), (Again::Now, Again::Later));
}

#[test]
fn a_moment_before_1970_is_no_panic() {
    let story = Story {
        started: UNIX_EPOCH - Duration::from_secs(9),
        ..story(Reporter::Source, RequestProtocol::Http1, (None, None))
    };
    assert!(story.started < SystemTime::now());
    assert_eq!(told(story, None).0.start_time_unix_nano, 0);
}
