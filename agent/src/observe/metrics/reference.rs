//! The reference page of metrics, access log fields and response flags, generated from the tables that the agent runs with.

use std::fmt::Write as _;

use heddle_common::KernelEvent;

use super::{
    authority::AUTHORITY_TABLE,
    authority_labels::{
        AdmissionResult, DropReason, LookResult, NodePatchResult, ReviewResult, SignedFor, SigningResult,
    },
    bounds::{OwnListener, Remembered, WatchLoss, Watching},
    http_labels::{
        DetectedBy, DetectedProtocol, EjectionReason, FallbackOf, FallbackReason, FaultKind, HttpRefusal, LimitedAt,
        MirrorResult, OverflowLimit, PickLocality, PoolResult, RetryResult, TokenResult, UpgradeKind,
    },
    instrument::{ISTIO_BOUNDS, WAIT_BOUNDS},
    label_sets::UNUSED,
    labels::{
        BypassReason, CertificateState, ClosedLabel, CrlLoad, DenialReason, DialResult, DocumentLabel, EventResult,
        HandshakeResult, KeyFetchResult, LeftOutReason, LookupResult, LostEventReason, PolicyEffect, RefusedReason,
        Resource, RestartReason, Side, SpanDropReason, SpanExportResult, TunnelEndReason,
    },
    request_labels::REQUEST_LABELS,
    requests::MAX_REQUEST_SETS,
    root_labels::MAX_ROOTS,
    table::TABLE,
    traffic::{MAX_LABEL_SETS, TCP_LABELS},
};
use crate::observe::{Reporter, ResponseFlag, access_log::FIELDS};

/// The text of `deploy/METRICS.md`.
pub fn metrics_reference() -> String {
    let mut page = String::from(
        "# Metrics, access log and response flags\n\n\
         Generated from the agent's tables; do not edit. Regenerate with\n\
         `HEDDLE_BLESS=1 cargo test -p heddle --lib metrics_reference`.\n\n\
         ## Metrics\n\nServed at `:15020/metrics` of each node, text format 0.0.4.\n\n\
         | name | type | unit | labels | what it says |\n|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let labels = match row.labels {
            TCP_LABELS => "TCP labels, below".to_owned(),
            REQUEST_LABELS => "request labels, below".to_owned(),
            labels => code_list(labels),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{}` | {} | {} | {} | {} |", row.name, row.kind, row.unit, labels, row.help);
    }
    tcp_labels(&mut page);
    request_labels(&mut page);
    root_label(&mut page);
    label_values(&mut page);
    flags(&mut page);
    access_log(&mut page);
    authority(&mut page);
    page
}

fn authority(page: &mut String) {
    page.push_str(
        "\n## Metrics of `heddle ca`\n\nServed at its `metrics.address`, by default `:15020/metrics`.\n\n\
         | name | type | unit | labels | what it says |\n|---|---|---|---|---|\n",
    );
    for row in AUTHORITY_TABLE {
        let labels = code_list(row.labels);
        let _ = writeln!(page, "| `{}` | {} | {} | {} | {} |", row.name, row.kind, row.unit, labels, row.help);
    }
    page.push_str("\n| metric | label | values |\n|---|---|---|\n");
    values::<SigningResult>(page, "heddle_ca_requests_total", "result");
    values::<SignedFor>(page, "heddle_ca_certificates_total", "for");
    values::<ReviewResult>(page, "heddle_ca_token_reviews_total", "result");
    values::<LookResult>(page, "heddle_ca_pod_looks_total", "result");
    values::<DropReason>(page, "heddle_ca_connections_dropped_total", "reason");
    values::<AdmissionResult>(page, "heddle_ca_admission_reviews_total", "result");
    values::<NodePatchResult>(page, "heddle_ca_node_patches_total", "result");
}

fn tcp_labels(page: &mut String) {
    let _ = write!(
        page,
        "\n### TCP labels\n\n{}.\n\nWhat is not known is `unknown`. A principal is given only where a certificate or the kernel \
         proved it.\n`response_flags` is `-` but where a connection ended with a flag. A label set that no connection has used \
         for {} minutes\nis removed; beyond {MAX_LABEL_SETS} label sets connections are counted under `other`, and \
         `heddle_metric_label_sets_folded_total` grows.\n",
        code_list(TCP_LABELS),
        UNUSED.as_secs() / 60
    );
}

fn request_labels(page: &mut String) {
    let added: Vec<_> = REQUEST_LABELS.iter().filter(|label| !TCP_LABELS.contains(label)).copied().collect();
    let _ = write!(
        page,
        "\n### Request labels\n\nThe TCP labels, and {}. `request_protocol` is `http` or `grpc`.\n\n\
         `response_code` is that of the answer that the client got: `0` where it got none, `other` where it is not from 100 to 599.\n\
         `grpc_response_status` is empty but for gRPC, and `other` above 16. A label set that no request has ended with for \
         {} minutes\nis removed; beyond {MAX_REQUEST_SETS} label sets requests are counted under `other`, by the class of their \
         code (`5xx`).\n\nThe upper bounds of histograms with these labels are Istio's: {}.\n\
         Those of `heddle_detection_seconds`: {}.\n",
        code_list(&added),
        UNUSED.as_secs() / 60,
        bounds(ISTIO_BOUNDS),
        bounds(WAIT_BOUNDS)
    );
}

fn bounds(bounds: &[f64]) -> String {
    bounds.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

fn root_label(page: &mut String) {
    let _ = write!(
        page,
        "\n### Label root\n\nThe root that vouches for the peer, by the first 16 hexadecimal digits of the SHA-256 of its \
         certificate\n(`openssl x509 -in root.pem -outform DER | sha256sum | cut -c1-16`; `heddle status` lists the trusted ones). \
         The series of a root\nthat no handshake was verified by for {} minutes are removed; beyond {MAX_ROOTS} roots handshakes count \
         under `unknown`.\n",
        UNUSED.as_secs() / 60
    );
}

fn label_values(page: &mut String) {
    page.push_str("\n### Closed label values\n\n| metric | label | values |\n|---|---|---|\n");
    values::<BypassReason>(page, "heddle_bypassed_connections_total", "reason");
    values::<RefusedReason>(page, "heddle_refused_connections_total", "reason");
    values::<Resource>(page, "heddle_overload, heddle_overload_refusals_total", "resource");
    values::<DenialReason>(page, "heddle_denied_connections_total, heddle_withdrawn_connections_total", "reason");
    values::<PolicyEffect>(page, "heddle_policy_hits_total", "effect");
    values::<Side>(page, "heddle_handshakes_total, heddle_tunnels_open", "side");
    values::<HandshakeResult>(page, "heddle_handshakes_total", "result");
    values::<TunnelEndReason>(page, "heddle_tunnels_ended_total", "reason");
    values::<DialResult>(page, "heddle_tunnel_dials_total", "result");
    let directions = [Reporter::Destination, Reporter::Source].map(Reporter::direction);
    let _ = writeln!(page, "| heddle_protocol_detections_total | direction | {} |", code_list(&directions));
    values::<DetectedBy>(page, "heddle_protocol_detections_total", "how");
    values::<DetectedProtocol>(page, "heddle_protocol_detections_total", "protocol");
    values::<HttpRefusal>(page, "heddle_http_refused_total", "reason");
    values::<TokenResult>(page, "heddle_token_results_total", "result");
    values::<LimitedAt>(page, "heddle_rate_limited_total", "scope");
    values::<FaultKind>(page, "heddle_faults_total", "kind");
    values::<MirrorResult>(page, "heddle_mirrors_total", "result");
    values::<PickLocality>(page, "heddle_balancer_picks_total", "locality");
    values::<RetryResult>(page, "heddle_retries_total", "result");
    values::<OverflowLimit>(page, "heddle_overflows_total, heddle_open_breakers", "limit");
    values::<FallbackOf>(page, "heddle_fallbacks_total", "protocol");
    values::<FallbackReason>(page, "heddle_fallbacks_total", "reason");
    values::<EjectionReason>(page, "heddle_ejections_total", "reason");
    values::<PoolResult>(page, "heddle_http_pool_requests_total", "result");
    values::<UpgradeKind>(page, "heddle_upgrades_total", "kind");
    let events: Vec<_> = KernelEvent::ALL.iter().map(|event| event.name()).collect();
    let _ = writeln!(page, "| heddle_kernel_events_total | event | {} |", code_list(&events));
    values::<Remembered>(page, "heddle_remembered, heddle_forgotten_total", "what");
    values::<Watching>(page, "heddle_watchers", "kind");
    values::<WatchLoss>(page, "heddle_watch_lost_total", "what");
    values::<OwnListener>(page, "heddle_admin_connections", "listener");
    values::<CertificateState>(page, "heddle_certificates", "state");
    values::<CrlLoad>(page, "heddle_crl_loads_total", "result");
    values::<DocumentLabel>(page, "heddle_documents", "state");
    values::<EventResult>(page, "heddle_events_total", "result");
    values::<LookupResult>(page, "heddle_dns_lookups_total", "result");
    values::<LostEventReason>(page, "heddle_connection_events_lost_total", "reason");
    values::<KeyFetchResult>(page, "heddle_token_key_fetches_total", "result");
    values::<RestartReason>(page, "heddle_source_watch_restarts_total", "reason");
    values::<LeftOutReason>(page, "heddle_access_log_left_out_total", "reason");
    values::<SpanDropReason>(page, "heddle_spans_dropped_total", "reason");
    values::<SpanExportResult>(page, "heddle_span_exports_total", "result");
}

fn values<L: ClosedLabel>(page: &mut String, metric: &str, label: &str) {
    let all: Vec<_> = L::ALL.iter().map(|value| value.as_str()).collect();
    let _ = writeln!(page, "| {metric} | {label} | {} |", code_list(&all));
}

fn flags(page: &mut String) {
    page.push_str("\n## Response flags\n\n| flag | meaning | remedy |\n|---|---|---|\n");
    for flag in ResponseFlag::ALL {
        let _ = writeln!(page, "| `{flag}` | {} | {} |", flag.meaning(), flag.remedy());
    }
}

fn access_log(page: &mut String) {
    page.push_str(
        "\n## Access log\n\nOne line per connection at its end, or per HTTP request in it, on standard output, with the same fields in text (`name=value`, \
         `-` where there is none)\nand JSON (`null` where there is none).\n\n| field | meaning |\n|---|---|\n",
    );
    for field in FIELDS {
        let _ = writeln!(page, "| `{}` | {} |", field.name, field.meaning);
    }
}

fn code_list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
