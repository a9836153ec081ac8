//! Requests told from head to end, and what the metrics and the access log say of them.

#![expect(clippy::unwrap_used, reason = "a failed test is the message")]

use std::{panic, time::Duration};

use http::{Method, Version};

use super::*;
use crate::observe::{
    AccessLogOutput, AccessLogSettings, LogFormat, Reporter, RootName, SocketFacts, TraceId,
    tests::{OF_THE_PARTIES, failure, lines, logged, logging, logging_with, party, silent, value, workload},
};
use crate::{
    mesh::WorkloadTelemetry,
    rules::{
        telemetry::{AccessLogging, Tracing},
        value::Percentage,
    },
};

const METRICS: [&str; 4] = [
    "istio_requests_total",
    "istio_request_duration_milliseconds_count",
    "istio_request_bytes_count",
    "istio_response_bytes_count",
];

pub(in crate::observe) fn start(protocol: RequestProtocol) -> RequestStart<'static> {
    RequestStart {
        reporter: Reporter::Source,
        client: party("10.1.0.1:40000", Some(workload("client", ""))),
        original_dst: "10.96.0.10:80".parse().unwrap(),
        protocol,
        method: Method::GET,
        version: Version::HTTP_11,
        path: "/cart",
        host: "web.shop",
        ids: RequestIds { trace_id: None, request_id: "7".into(), span: None },
        telemetry: WorkloadTelemetry::default(),
        generation: 1,
    }
}

fn served(record: &mut RequestRecord) {
    record.set_service(ServiceName { namespace: "shop".into(), name: "web".into() });
    record.set_server(party("10.2.0.2:8080", Some(workload("web", "v2"))));
    record.set_transport(Transport::Hbone { tls_version: "TLSv1_3", group: "X25519", root: RootName::of(b"a root") });
    record.set_tries(2);
}

#[test]
fn an_answered_request_has_all_of_istios_labels_in_every_metric() {
    let observer = silent();
    let mut record = observer.request(start(RequestProtocol::Http2));
    assert_eq!(value(&observer, "heddle_http_requests_open", &[]), Some(1.0));
    served(&mut record);
    let bytes = record.bytes();
    bytes.add_sent(100);
    bytes.add_received(2000);
    record.responded(StatusCode::NOT_FOUND);
    record.finish(Ok(()));

    let of_the_request = [
        r#"request_protocol="http""#,
        r#"response_code="404""#,
        r#"grpc_response_status="""#,
        r#"connection_security_policy="mutual_tls""#,
        r#"response_flags="-""#,
    ];
    let labels = [&OF_THE_PARTIES[..], &of_the_request].concat();
    for metric in METRICS {
        assert_eq!(value(&observer, metric, &labels), Some(1.0), "{metric}");
    }
    assert_eq!(value(&observer, "istio_request_bytes_sum", &labels), Some(100.0));
    assert_eq!(value(&observer, "istio_response_bytes_sum", &labels), Some(2000.0));
    assert_eq!(value(&observer, "istio_request_bytes_bucket", &[r#"le="50""#]), Some(0.0));
    assert_eq!(value(&observer, "istio_request_bytes_bucket", &[r#"le="100""#]), Some(1.0));
    assert_eq!(value(&observer, "istio_response_bytes_bucket", &[r#"le="3600000""#]), Some(1.0));
    assert_eq!(value(&observer, "heddle_http_requests_open", &[]), Some(0.0));
    assert_eq!(value(&observer, "istio_tcp_connections_opened_total", &[]), None, "requests are not connections");
}

#[test]
fn a_duration_is_in_milliseconds() {
    let observer = silent();
    let began = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
    RequestRecord::begun(observer.clone(), start(RequestProtocol::Http1), began).finish(Ok(()));
    assert_eq!(value(&observer, "istio_request_duration_milliseconds_bucket", &[r#"le="2500""#]), Some(0.0));
    assert_eq!(value(&observer, "istio_request_duration_milliseconds_bucket", &[r#"le="3600000""#]), Some(1.0));
}

#[test]
fn a_request_that_never_got_a_response_is_counted_with_code_0_and_its_flag() {
    let observer = silent();
    let record = observer.request(start(RequestProtocol::Http1));
    record.finish(failure(ResponseFlag::UpstreamReset, "connection reset"));
    let labels = [r#"response_code="0""#, r#"response_flags="UC""#, r#"destination_workload="unknown""#];
    for metric in METRICS {
        assert_eq!(value(&observer, metric, &labels), Some(1.0), "{metric}");
    }
}

#[test]
fn a_grpc_call_has_its_status_and_a_plain_request_has_none() {
    for (protocol, status, labels) in [
        (RequestProtocol::Grpc, Some(14), [r#"request_protocol="grpc""#, r#"grpc_response_status="14""#]),
        (RequestProtocol::Grpc, Some(16), [r#"request_protocol="grpc""#, r#"grpc_response_status="16""#]),
        (RequestProtocol::Grpc, Some(17), [r#"request_protocol="grpc""#, r#"grpc_response_status="other""#]),
        (RequestProtocol::Grpc, None, [r#"request_protocol="grpc""#, r#"grpc_response_status="""#]),
        (RequestProtocol::Http2, Some(14), [r#"request_protocol="http""#, r#"grpc_response_status="""#]),
    ] {
        let observer = silent();
        let mut record = observer.request(start(protocol));
        record.responded(StatusCode::OK);
        status.into_iter().for_each(|status| record.grpc_status(status));
        record.finish(Ok(()));
        assert_eq!(value(&observer, "istio_requests_total", &labels), Some(1.0), "{protocol:?} {status:?}");
    }
}

#[test]
fn codes_that_no_class_has_are_one_label_value() {
    let observer = silent();
    for code in [599, 600, 742, 999] {
        let mut record = observer.request(start(RequestProtocol::Http1));
        record.responded(StatusCode::from_u16(code).unwrap());
        record.finish(Ok(()));
    }
    assert_eq!(value(&observer, "istio_requests_total", &[r#"response_code="599""#]), Some(1.0));
    assert_eq!(value(&observer, "istio_requests_total", &[r#"response_code="other""#]), Some(3.0));
}

#[test]
fn the_code_is_that_of_the_answer_that_left_last() {
    let observer = silent();
    let mut record = observer.request(start(RequestProtocol::Http1));
    record.responded(StatusCode::CONTINUE);
    record.responded(StatusCode::CREATED);
    record.finish(Ok(()));
    assert_eq!(value(&observer, "istio_requests_total", &[r#"response_code="201""#]), Some(1.0));
}

#[test]
fn a_dropped_record_is_the_clients_going_away_and_keeps_its_code() {
    let (observer, output) = logging(LogFormat::Text);
    let mut record = observer.request(start(RequestProtocol::Http1));
    record.responded(StatusCode::OK);
    drop(record);
    let labels = [r#"response_flags="DC""#, r#"response_code="200""#];
    assert_eq!(value(&observer, "istio_requests_total", &labels), Some(1.0));
    assert_eq!(value(&observer, "heddle_http_requests_open", &[]), Some(0.0));
    let line = logged(&observer, &output);
    assert!(line.contains(" flag=DC ") && line.contains("the client went away"), "{line}");
}

#[test]
fn a_record_dropped_by_a_stopping_agent_says_so() {
    let observer = silent();
    observer.metrics().set_draining(true);
    drop(observer.request(start(RequestProtocol::Http1)));
    assert_eq!(value(&observer, "istio_requests_total", &[r#"response_flags="DRAIN""#]), Some(1.0));
}

#[test]
fn a_record_dropped_by_a_panic_is_not_the_clients_fault() {
    let observer = silent();
    let record = observer.request(start(RequestProtocol::Http1));
    let panicked = panic::catch_unwind(panic::AssertUnwindSafe(move || {
        let _record = record;
        panic::resume_unwind(Box::new("a defect"));
    }));
    assert!(panicked.is_err());
    assert_eq!(value(&observer, "istio_requests_total", &[r#"response_flags="ABORTED""#]), Some(1.0));
}

#[test]
fn a_line_tells_the_request_and_its_texts_cannot_forge_another() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let (observer, output) = logging(format);
        let ids = RequestIds {
            trace_id: TraceId::parse("0af7651916cd43dd8448eb211c80319c"),
            request_id: "7f-1".into(),
            span: None,
        };
        let asked = RequestStart { method: Method::POST, path: "/a b\nflag=-", ids, ..start(RequestProtocol::Grpc) };
        let mut record = observer.request(asked);
        served(&mut record);
        record.set_route(format_args!("HTTPRoute shop/{} rules[{}]", "web", 1));
        record.set_user_agent("curl/8 \"x\"");
        record.set_remarks(vec!["AUDIT shop/a".to_owned(), "trial".to_owned()]);
        record.bytes().add_received(7);
        record.responded(StatusCode::OK);
        record.grpc_status(5);
        record.finish(Err(Failure {
            flag: ResponseFlag::RateLimited,
            error: "too many".to_owned(),
            denied_by: Some("RateLimit shop/web".to_owned()),
        }));
        let line = logged(&observer, &output);
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        let found = match format {
            LogFormat::Text => [
                " destination_address=10.96.0.10:80 destination_workload=web-1 ",
                " service=web.shop.svc.cluster.local endpoint=10.2.0.2:8080 protocol=grpc method=POST host=web.shop \
                 path=\"/a b\\nflag=-\" status=200 grpc_status=5 route=\"HTTPRoute shop/web rules[1]\" \
                 user_agent=\"curl/8 \\\"x\\\"\" flag=RL sent_bytes=0 received_bytes=7 duration_ms=",
                " tries=2 tls_version=TLSv1_3 ",
                " request_id=7f-1 trace_id=0af7651916cd43dd8448eb211c80319c policy=\"RateLimit shop/web\" \
                 remarks=\"AUDIT shop/a; trial\" error=\"too many\"\n",
            ],
            LogFormat::Json => [
                "\"destination_address\":\"10.96.0.10:80\",\"destination_workload\":\"web-1\",",
                "\"protocol\":\"grpc\",\"method\":\"POST\",\"host\":\"web.shop\",\"path\":\"/a b\\nflag=-\",\"status\":200,\
                 \"grpc_status\":5,\"route\":\"HTTPRoute shop/web rules[1]\",\"user_agent\":\"curl/8 \\\"x\\\"\",\"flag\":\"RL\",\
                 \"sent_bytes\":0,\"received_bytes\":7,\"duration_ms\":",
                "\"tries\":2,\"tls_version\":\"TLSv1_3\",",
                "\"request_id\":\"7f-1\",\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\",\"policy\":\"RateLimit shop/web\",\
                 \"remarks\":\"AUDIT shop/a; trial\",\"error\":\"too many\"}\n",
            ],
        };
        for part in found {
            assert!(line.contains(part), "{part}\nis not in\n{line}");
        }
    }
}

/// A route whose name must not be asked for.
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("formatted without an access log");
    }
}

#[test]
fn texts_are_neither_kept_nor_formatted_without_an_access_log() {
    let observer = silent();
    let mut record = observer.request(start(RequestProtocol::Http1));
    record.set_route(Unspeakable);
    assert!(record.open.story.lock().as_ref().unwrap().words.is_none());
    record.finish(Ok(()));
    assert_eq!(value(&observer, "istio_requests_total", &[]), Some(1.0));
}

#[test]
fn a_connection_of_requests_is_neither_counted_as_tcp_nor_logged_but_open() {
    let (observer, output) = logging(LogFormat::Text);
    let connection = ConnectionStart {
        reporter: Reporter::Source,
        client: party("10.1.0.1:40000", None),
        original_dst: "10.96.0.10:80".parse().unwrap(),
        generation: 1,
    };
    let open = observer.connection(connection.clone()).is_http();
    assert_eq!(value(&observer, "heddle_open_connections", &[]), Some(1.0));
    drop(open);
    assert_eq!(value(&observer, "heddle_open_connections", &[]), Some(0.0));
    assert_eq!(logged(&observer, &output), "");
    for metric in ["opened", "closed", "failed"] {
        assert_eq!(value(&observer, &format!("istio_tcp_connections_{metric}_total"), &[]), None, "{metric}");
    }

    let mut joined = observer.connection(connection);
    joined.opened().add_sent(4);
    drop(joined.is_http());
    assert_eq!(value(&observer, "istio_tcp_connections_closed_total", &[]), Some(1.0), "what was opened is closed");
    assert_eq!(value(&observer, "istio_tcp_sent_bytes_total", &[]), Some(4.0));
    assert_eq!(value(&observer, "heddle_open_connections", &[]), Some(0.0));
}

#[test]
fn requests_that_end_at_once_are_all_counted_in_one_series() {
    let observer = silent();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let mut record = observer.request(start(RequestProtocol::Http1));
                    record.bytes().add_sent(3);
                    record.responded(StatusCode::OK);
                    record.finish(Ok(()));
                }
            });
        }
    });
    assert_eq!(value(&observer, "istio_requests_total", &[]), Some(2000.0));
    assert_eq!(value(&observer, "istio_request_bytes_sum", &[]), Some(6000.0));
    assert_eq!(value(&observer, "heddle_metric_label_sets", &[]), Some(1.0));
}

#[test]
fn a_request_that_stays_open_is_told_as_often_as_the_log_wants() {
    let every = Some(Duration::from_secs(60));
    let (observer, output) =
        logging_with(AccessLogSettings { long_connections: every, ..AccessLogSettings::default() });
    let began = Instant::now();
    let look = |observer: &Observer| {
        for seconds in [59, 61, 90, 119, 122, 130] {
            observer.tell_what_is_open(began + Duration::from_secs(seconds));
        }
    };
    let mut record = observer.request(start(RequestProtocol::Http1));
    served(&mut record);
    record.responded(StatusCode::SWITCHING_PROTOCOLS);
    record.bytes().add_sent(7);
    look(&observer);
    record.finish(Ok(()));
    observer.tell_what_is_open(began + Duration::from_secs(999));
    let lines = lines(&observer, &output);
    let events: Vec<_> = lines.iter().map(|line| (line["event"].clone(), line["status"].clone())).collect();
    assert_eq!(
        events,
        [("open", 101), ("open", 101), ("end", 101)].map(|(event, status)| (event.into(), status.into()))
    );
    assert!(lines.iter().all(|line| line["path"] == "/cart" && line["sent_bytes"] == 7), "{lines:?}");

    let (observer, output) = logging_with(AccessLogSettings::default());
    let record = observer.request(start(RequestProtocol::Http1));
    look(&observer);
    assert_eq!(logged(&observer, &output), "", "the log wants no lines of what is open");
    drop(record);
}

#[test]
fn sockets_are_looked_at_of_requests_that_failed_or_were_slow_and_of_no_others() {
    let (observer, output) = logging(LogFormat::Json);
    let read = |socket| u32::try_from(socket).ok().map(|rtt_us| SocketFacts { rtt_us, retransmits: 2 });
    let (client, server) = (SocketView::show(10, read), SocketView::show(20, read));
    let asked = |ago: u64| {
        let began = Instant::now().checked_sub(Duration::from_millis(ago)).unwrap();
        let mut record = RequestRecord::begun(observer.clone(), start(RequestProtocol::Http1), began);
        served(&mut record);
        record.set_client_socket(client.view());
        record.set_server_socket(server.view());
        record.responded(StatusCode::OK);
        record
    };
    asked(0).finish(Ok(()));
    asked(1000).finish(Ok(()));
    asked(0).finish(failure(ResponseFlag::UpstreamReset, "reset"));
    let mut status = asked(0);
    status.responded(StatusCode::BAD_GATEWAY);
    status.finish(Ok(()));
    let of =
        |line: &serde_json::Value| ["client_rtt_us", "server_rtt_us", "server_retransmits"].map(|it| line[it].as_u64());
    let looked = [Some(10), Some(20), Some(2)];
    let lines: Vec<_> = lines(&observer, &output).iter().map(of).collect();
    assert_eq!(lines, [[None; 3], looked, looked, looked]);
}

fn percent(percent: u32) -> Percentage {
    Percentage::from_parts_per_million(percent * 10_000).unwrap()
}

/// What a Telemetry document says of the log.
fn log(enabled: bool, share: u32) -> WorkloadTelemetry {
    let access_log = Some(AccessLogging { enabled, sampling_percentage: percent(share) });
    WorkloadTelemetry { access_log, tracing: Some(Tracing { sampling_percentage: percent(0) }) }
}

fn ended(observer: &Observer, telemetry: WorkloadTelemetry, request_id: &str, status: u16, failed: bool) {
    let ids = RequestIds { trace_id: None, request_id: request_id.into(), span: None };
    let mut record = observer.request(RequestStart { ids, telemetry, ..start(RequestProtocol::Http1) });
    record.responded(StatusCode::from_u16(status).unwrap());
    record.finish(if failed { failure(ResponseFlag::UpstreamReset, "reset") } else { Ok(()) });
}

#[test]
fn of_the_requests_that_succeed_a_share_is_logged_and_of_those_that_fail_all() {
    let (observer, output) = logging(LogFormat::Text);
    for request in 0..2000 {
        ended(&observer, log(true, 10), &format!("r-{request}"), 200, false);
    }
    let lines = logged(&observer, &output).lines().count();
    // Five standard deviations of 13.4.
    assert!(lines.abs_diff(200) < 68, "{lines}");
    assert_eq!(
        value(&observer, "heddle_access_log_left_out_total", &[r#"reason="sampled""#]),
        Some(2000.0 - lines as f64)
    );
    for (status, is_failure, is_logged) in
        [(200, false, false), (404, false, false), (500, false, true), (503, true, true), (403, true, true)]
    {
        let before = logged(&observer, &output).lines().count();
        ended(&observer, log(true, 0), "x", status, is_failure);
        assert_eq!(
            logged(&observer, &output).lines().count() - before,
            usize::from(is_logged),
            "{status} {is_failure}"
        );
    }
}

#[test]
fn a_failed_call_of_grpc_is_logged_by_its_own_status() {
    for (status, is_logged) in [(0, false), (5, false), (7, false), (13, true), (14, true)] {
        let (observer, output) = logging(LogFormat::Text);
        let telemetry = log(true, 0);
        let mut record = observer.request(RequestStart { telemetry, ..start(RequestProtocol::Grpc) });
        record.responded(StatusCode::OK);
        record.grpc_status(status);
        record.finish(Ok(()));
        assert_eq!(!logged(&observer, &output).is_empty(), is_logged, "{status}");
    }
}

#[test]
fn a_document_turns_lines_off_and_on_whatever_the_agent_does_by_itself() {
    let (observer, output) = logging(LogFormat::Text);
    ended(&observer, log(false, 100), "x", 503, true);
    assert_eq!(logged(&observer, &output), "");
    assert_eq!(value(&observer, "heddle_access_log_left_out_total", &[r#"reason="disabled""#]), Some(1.0));

    let output = crate::observe::tests::Output::default();
    let settings = AccessLogSettings { on: false, ..AccessLogSettings::default() };
    let to = AccessLogOutput { format: LogFormat::Text, output: Box::new(output.clone()), settings };
    let observer = Observer::new("prod".into(), Some(to)).unwrap();
    ended(&observer, WorkloadTelemetry::default(), "x", 503, true);
    ended(&observer, log(false, 100), "x", 503, true);
    assert_eq!(logged(&observer, &output), "");
    assert_eq!(value(&observer, "heddle_access_log_left_out_total", &[r#"reason="disabled""#]), Some(0.0));
    ended(&observer, log(true, 100), "x", 200, false);
    assert_eq!(logged(&observer, &output).lines().count(), 1);
}

#[test]
fn connections_are_sampled_too() {
    let (observer, output) = logging(LogFormat::Text);
    let connection = || ConnectionStart {
        reporter: Reporter::Source,
        client: party("10.1.0.1:40000", None),
        original_dst: "10.96.0.10:80".parse().unwrap(),
        generation: 1,
    };
    for share in [0, 100] {
        for result in [Ok(()), failure(ResponseFlag::ConnectFailure, "refused")] {
            let mut record = observer.connection(connection());
            record.set_telemetry(&log(true, share));
            record.opened();
            record.finish(result);
        }
    }
    assert_eq!(logged(&observer, &output).lines().count(), 3);
    assert_eq!(value(&observer, "heddle_access_log_left_out_total", &[r#"reason="sampled""#]), Some(1.0));
}
