//! The bounds of the request series, and the metrics of HTTP with closed labels.

#![expect(clippy::unwrap_used, reason = "a failed test is the message")]

use std::time::Duration;

use http::StatusCode;

use super::{
    label_sets::UNUSED,
    tests::{matching, scraped},
    *,
};
use crate::observe::{
    Reporter, ResponseFlag, Transport,
    tests::{party, workload},
};

const MEASURED: Measured = Measured { duration: Duration::from_millis(7), sent: 10, received: 20 };

/// The lines of a scrape of requests.
fn lines_of(requests: &Requests, metrics: &Metrics, needle: &str) -> Vec<String> {
    matching(&requests.pieces(metrics).collect::<String>(), needle)
}

fn labels(client: &str, code: u16) -> RequestLabels {
    let client = party("10.0.0.1:1", Some(workload(client, "")));
    let parties = LabelSet::new(Reporter::Source, Transport::Plain, &client, None, None);
    let flag = (code >= 500).then_some(ResponseFlag::NoHealthyUpstream);
    RequestLabels::new(parties, RequestEnd::new(false, Some(StatusCode::from_u16(code).unwrap()), None, flag))
}

#[test]
fn a_label_set_of_requests_expires_ten_minutes_after_its_last_use() {
    let (_, metrics) = new().unwrap();
    let requests = Requests::new("prod".into());
    requests.count(&metrics, labels("gone", 503), MEASURED);
    let begin = Instant::now();
    requests.expire(&metrics, begin);
    requests.expire(&metrics, begin + UNUSED - Duration::from_secs(1));
    assert_eq!(lines_of(&requests, &metrics, "istio_requests_total{").len(), 1, "not ten minutes yet");
    assert_eq!(metrics.label_sets.get(), 1);
    requests.expire(&metrics, begin + UNUSED);
    assert_eq!(lines_of(&requests, &metrics, "source_workload"), [""; 0], "gone from every metric");
    assert_eq!(metrics.label_sets.get(), 0);
    requests.count(&metrics, labels("gone", 503), MEASURED);
    assert_eq!(lines_of(&requests, &metrics, "istio_requests_total{").concat().rsplit_once(' ').unwrap().1, "1");
}

#[test]
fn requests_keep_their_label_set_and_its_counts() {
    let (_, metrics) = new().unwrap();
    let requests = Requests::new("prod".into());
    let begin = Instant::now();
    for round in 0..5 {
        requests.count(&metrics, labels("busy", 200), MEASURED);
        requests.expire(&metrics, begin + (UNUSED - Duration::from_secs(1)) * round);
    }
    let lines = lines_of(&requests, &metrics, "istio_response_bytes_sum");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with(" 100"), "{}", lines[0]);
}

#[test]
fn beyond_the_cap_requests_fold_into_other_by_class_and_flag() {
    let (_, metrics) = new().unwrap();
    let requests = Requests::with_cap("prod".into(), 2);
    for (client, code) in [("a", 200), ("b", 200), ("c", 200), ("c", 204), ("d", 503), ("c", 599), ("a", 200)] {
        requests.count(&metrics, labels(client, code), MEASURED);
    }
    assert_eq!(metrics.label_sets_folded.get(), 4, "all of c and d");
    assert_eq!(metrics.label_sets.get(), 4, "two sets and their two folds");
    for (code, flag) in [("2xx", "-"), ("5xx", "UH")] {
        let end = format!(r#"response_code="{code}",grpc_response_status="",response_flags="{flag}"}}"#);
        let lines = lines_of(&requests, &metrics, &end);
        let count = lines.iter().find(|line| line.starts_with("istio_requests_total{")).unwrap();
        assert!(count.ends_with(" 2") && count.contains(r#"source_app="other""#), "{count}");
        assert!(count.contains(r#"reporter="source""#), "{count}");
    }
    let kept = lines_of(&requests, &metrics, r#"response_code="200""#);
    assert_eq!(kept.iter().filter(|line| line.starts_with("istio_requests_total{")).count(), 2);
}

#[test]
fn connections_and_requests_share_the_count_of_label_sets() {
    let (_registry, metrics) = new().unwrap();
    let (traffic, requests) = (Traffic::new("prod".into()), Requests::new("prod".into()));
    let client = party("10.0.0.1:1", None);
    drop(traffic.resolve(&metrics, LabelSet::new(Reporter::Source, Transport::Plain, &client, None, None)));
    requests.count(&metrics, labels("a", 200), MEASURED);
    assert_eq!(metrics.label_sets.get(), 2);
    let begin = Instant::now();
    traffic.expire(&metrics, begin);
    traffic.expire(&metrics, begin + UNUSED);
    assert_eq!(metrics.label_sets.get(), 1);
}

#[test]
fn what_steps_of_a_request_report_reaches_its_series() {
    let (registry, metrics) = new().unwrap();
    metrics.protocol_detected(
        Reporter::Destination,
        DetectedBy::ServerFirst,
        DetectedProtocol::Tcp,
        Duration::from_millis(40),
    );
    metrics.http_refused(HttpRefusal::Smuggling);
    metrics.retry(RetryResult::NoBudget);
    metrics.overflowed(OverflowLimit::Pending);
    metrics.fell_back(FallbackOf::Connection, FallbackReason::NotReached);
    metrics.ejected(EjectionReason::GatewayErrors);
    metrics.set_ejected_endpoints(3);
    metrics.rate_limited(LimitedAt::Service);
    metrics.fault_injected(FaultKind::Abort);
    metrics.mirrored(MirrorResult::Dropped);
    metrics.endpoint_picked(PickLocality::SameZone);
    metrics.pool_request(PoolResult::Reused);
    metrics.token_looked_at(TokenResult::Expired);
    metrics.upgraded(UpgradeKind::WebSocket);
    let connection = metrics.pool_connection_opened();
    for line in [
        r#"heddle_protocol_detections_total{direction="inbound",how="server_first",protocol="tcp"} 1"#,
        "heddle_detection_seconds_sum 0.04",
        r#"heddle_detection_seconds_bucket{le="0.025"} 0"#,
        r#"heddle_detection_seconds_bucket{le="0.05"} 1"#,
        r#"heddle_http_refused_total{reason="smuggling"} 1"#,
        r#"heddle_retries_total{result="no_budget"} 1"#,
        r#"heddle_overflows_total{limit="pending"} 1"#,
        r#"heddle_fallbacks_total{protocol="tcp",reason="not_reached"} 1"#,
        r#"heddle_ejections_total{reason="gateway_errors"} 1"#,
        "heddle_ejected_endpoints 3",
        r#"heddle_rate_limited_total{scope="service"} 1"#,
        r#"heddle_faults_total{kind="abort"} 1"#,
        r#"heddle_mirrors_total{result="dropped"} 1"#,
        r#"heddle_balancer_picks_total{locality="same_zone"} 1"#,
        r#"heddle_http_pool_requests_total{result="reused"} 1"#,
        r#"heddle_token_results_total{result="expired"} 1"#,
        r#"heddle_upgrades_total{kind="websocket"} 1"#,
        "heddle_http_pool_connections 1",
    ] {
        assert_eq!(scraped(&registry, &metrics, line), [line]);
    }
    drop(connection);
    assert_eq!(scraped(&registry, &metrics, "heddle_http_pool_connections 0").len(), 1);
}
