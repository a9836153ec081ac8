//! The reference page of metrics, access log fields and response flags, generated from the tables that the agent runs with.

use std::fmt::Write as _;

use super::{
    authority::AUTHORITY_TABLE,
    authority_labels::{DropReason, LookResult, ReviewResult, SignedFor, SigningResult},
    labels::{
        BypassReason, CertificateState, ClosedLabel, CrlLoad, DenialReason, DialResult, HandshakeResult,
        KeyFetchResult, PolicyEffect, RefusedReason, RestartReason, Side, TunnelEndReason,
    },
    root_labels::MAX_ROOTS,
    table::TABLE,
    traffic::{MAX_LABEL_SETS, TCP_LABELS, UNUSED},
};
use crate::observe::{ResponseFlag, access_log::FIELDS};

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
        let labels = if row.labels == TCP_LABELS { "TCP labels, below".to_owned() } else { code_list(row.labels) };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{}` | {} | {} | {} | {} |", row.name, row.kind, row.unit, labels, row.help);
    }
    tcp_labels(&mut page);
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
    values::<DenialReason>(page, "heddle_denied_connections_total, heddle_withdrawn_connections_total", "reason");
    values::<PolicyEffect>(page, "heddle_policy_hits_total", "effect");
    values::<Side>(page, "heddle_handshakes_total, heddle_tunnels_open", "side");
    values::<HandshakeResult>(page, "heddle_handshakes_total", "result");
    values::<TunnelEndReason>(page, "heddle_tunnels_ended_total", "reason");
    values::<DialResult>(page, "heddle_tunnel_dials_total", "result");
    values::<CertificateState>(page, "heddle_certificates", "state");
    values::<CrlLoad>(page, "heddle_crl_loads_total", "result");
    values::<KeyFetchResult>(page, "heddle_token_key_fetches_total", "result");
    values::<RestartReason>(page, "heddle_source_watch_restarts_total", "reason");
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
        "\n## Access log\n\nOne line per connection at its end, on standard output, with the same fields in text (`name=value`, \
         `-` where there is none)\nand JSON (`null` where there is none).\n\n| field | meaning |\n|---|---|\n",
    );
    for field in FIELDS {
        let _ = writeln!(page, "| `{}` | {} |", field.name, field.meaning);
    }
}

fn code_list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
