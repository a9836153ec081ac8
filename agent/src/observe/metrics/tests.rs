//! The table, its reference page, and the bounds of the traffic series.

#![expect(clippy::unwrap_used, reason = "a failed test is the message")]

use std::{
    collections::HashSet,
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use super::{label_sets::UNUSED, root_labels::MAX_ROOTS, *};
use crate::observe::{
    Reporter, ResponseFlag, Transport,
    tests::{party, workload},
};

fn labels(client: &str) -> LabelSet {
    let client = party("10.0.0.1:1", Some(workload(client, "")));
    LabelSet::new(Reporter::Source, Transport::Plain, &client, None, None)
}

/// The lines of a scrape of connections.
fn lines_of(traffic: &Traffic, metrics: &Metrics, needle: &str) -> Vec<String> {
    matching(&traffic.pieces(metrics).collect::<String>(), needle)
}

pub(super) fn matching(text: &str, needle: &str) -> Vec<String> {
    text.lines().filter(|line| line.contains(needle)).map(str::to_owned).collect()
}

pub(super) fn scraped(registry: &Registry, metrics: &Metrics, needle: &str) -> Vec<String> {
    matching(&render(registry, metrics).unwrap(), needle)
}

#[test]
fn metrics_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/METRICS.md");
    let generated = metrics_reference();
    if std::env::var_os("HEDDLE_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == generated,
        "deploy/METRICS.md is not what the tables say; regenerate it with \
         `HEDDLE_BLESS=1 cargo test -p heddle --lib metrics_reference`"
    );
}

#[test]
fn every_row_is_named_as_prometheus_wants_it() {
    for table in [TABLE, AUTHORITY_TABLE] {
        let names: HashSet<_> = table.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), table.len(), "a name stands twice");
    }
    for row in TABLE.iter().chain(AUTHORITY_TABLE) {
        assert_eq!(row.kind == Kind::Counter, row.name.ends_with("_total"), "{}", row.name);
        assert!(row.help.ends_with('.') && !row.unit.is_empty(), "{}", row.name);
        let prefix = ["istio_", "heddle_", "process_"].iter().any(|prefix| row.name.starts_with(prefix));
        assert!(prefix, "{} has none of our prefixes", row.name);
    }
}

#[test]
fn closed_labels_are_visible_at_zero() {
    let (registry, metrics) = new().unwrap();
    assert_eq!(scraped(&registry, &metrics, "heddle_bypassed_connections_total{").len(), BypassReason::ALL.len());
    assert_eq!(scraped(&registry, &metrics, "heddle_refused_connections_total{").len(), RefusedReason::ALL.len());
}

#[test]
fn every_closed_label_value_is_in_the_reference() {
    let (registry, metrics) = new().unwrap();
    let page = metrics_reference();
    // What is there before anything happened is closed, the version of the build and the ranges of histograms apart.
    let visible = scraped(&registry, &metrics, "=\"");
    let is_closed = |line: &&String| !line.starts_with("heddle_build_info{") && !line.contains("_bucket{");
    let closed: Vec<_> = visible.iter().filter(is_closed).collect();
    assert!(closed.len() > 100, "{}", closed.len());
    for line in closed {
        let (name, labels) = line.split_once('{').unwrap();
        let (label, value) = labels.split_once("=\"").unwrap();
        let value = value.split_once('"').unwrap().0;
        let row = |row: &&str| {
            let cells: Vec<_> = row.split(" | ").collect();
            cells.len() == 3 && cells[0].trim_start_matches("| ").split(", ").any(|it| it == name) && cells[1] == label
        };
        let row = page.lines().find(row).unwrap_or_else(|| panic!("{name} has no row of values of {label}"));
        assert!(row.contains(&format!("`{value}`")), "{line} is not in {row}");
    }
}

#[test]
fn typed_handles_reach_their_series() {
    let (registry, metrics) = new().unwrap();
    metrics.bypassed(BypassReason::ExcludedPort, 1);
    metrics.refused(RefusedReason::Loop);
    let root = RootName::of(b"abc");
    metrics.handshake_done(Side::Client, "TLSv1_3", "X25519MLKEM768", root);
    metrics.handshake_failed(Side::Server, HandshakeResult::NoCertificate);
    metrics.tunnel_dial(DialResult::Timeout);
    metrics.set_certificates(CertificateState::Valid, 3);
    metrics.set_objects("Pod", 4);
    metrics.enrolled_pods.set(2);
    metrics.set_snapshot(9, Instant::now());
    metrics.set_open_breakers(OverflowLimit::Pending, 2);
    metrics.set_compiles(3, Duration::from_millis(1500));
    metrics.set_compiles(4, Duration::from_millis(1500));
    metrics.set_runtime("data-0", Duration::from_millis(250), 5);
    let tunnel = metrics.tunnel_opened(Side::Client);
    for line in [
        r#"heddle_bypassed_connections_total{reason="excluded_port"} 1"#,
        r#"heddle_refused_connections_total{reason="loop"} 1"#,
        r#"heddle_handshakes_total{group="X25519MLKEM768",result="ok",root="ba7816bf8f01cfea",side="client",version="TLSv1_3"} 1"#,
        r#"heddle_handshakes_total{group="none",result="no_certificate",root="none",side="server",version="none"} 1"#,
        r#"heddle_tunnel_dials_total{result="timeout"} 1"#,
        r#"heddle_certificates{state="valid"} 3"#,
        r#"heddle_objects{kind="Pod"} 4"#,
        "heddle_enrolled_pods 2",
        "heddle_snapshot_generation 9",
        r#"heddle_open_breakers{limit="pending"} 2"#,
        "heddle_compiles_total 4",
        "heddle_compile_seconds_total 1.5",
        r#"heddle_runtime_busy_seconds_total{thread="data-0"} 0.25"#,
        r#"heddle_runtime_queued_tasks{thread="data-0"} 5"#,
        r#"heddle_tunnels_open{side="client"} 1"#,
    ] {
        assert_eq!(scraped(&registry, &metrics, line), [line]);
    }
    drop(tunnel);
    assert_eq!(
        scraped(&registry, &metrics, r#"heddle_tunnels_open{side="client"}"#).concat(),
        r#"heddle_tunnels_open{side="client"} 0"#
    );
}

#[test]
fn roots_of_handshakes_are_bounded_and_removed_when_unused() {
    let (registry, metrics) = new().unwrap();
    let roots: Vec<_> = (0..MAX_ROOTS + 2).map(|n| RootName::of(n.to_string().as_bytes())).collect();
    for root in &roots {
        metrics.handshake_done(Side::Client, "TLSv1.3", "X25519", *root);
    }
    let with = |root: &str| scraped(&registry, &metrics, &format!("root=\"{root}\"")).len();
    let visible = roots.iter().filter(|root| with(&root.to_string()) == 1).count();
    assert_eq!(visible, MAX_ROOTS);
    assert_eq!(
        scraped(&registry, &metrics, "root=\"unknown\""),
        [r#"heddle_handshakes_total{group="X25519",result="ok",root="unknown",side="client",version="TLSv1.3"} 2"#]
    );

    metrics.expire_roots(Instant::now() + UNUSED - Duration::from_secs(60));
    assert_eq!(with(&roots[0].to_string()), 1);
    metrics.expire_roots(Instant::now() + UNUSED);
    assert!(roots.iter().all(|root| with(&root.to_string()) == 0));
    metrics.handshake_done(Side::Client, "TLSv1.3", "X25519", roots[MAX_ROOTS]);
    assert_eq!(with(&roots[MAX_ROOTS].to_string()), 1, "there is room again");
}

#[test]
fn ages_are_nan_until_there_is_something_and_then_follow_the_clock() {
    let (registry, metrics) = new().unwrap();
    assert_eq!(scraped(&registry, &metrics, "heddle_snapshot_age_seconds NaN").len(), 1);
    assert_eq!(scraped(&registry, &metrics, "heddle_certificate_expiry_seconds NaN").len(), 1);
    metrics.set_snapshot(1, Instant::now().checked_sub(Duration::from_secs(100)).unwrap());
    metrics.set_first_certificate_expiry(Some(SystemTime::now() - Duration::from_secs(5)));
    metrics.refresh_derived();
    assert!((100.0..160.0).contains(&metrics.snapshot_age.get()));
    assert!((-60.0..=-5.0).contains(&metrics.certificate_expiry.get()));
}

#[test]
fn process_values_are_those_of_this_process() {
    let (_, metrics) = new().unwrap();
    metrics.refresh_process();
    assert!(metrics.process_resident.get() > 1 << 20);
    assert!(metrics.process_virtual.get() >= metrics.process_resident.get());
    assert!(metrics.process_fds.get() >= 3);
    assert!(metrics.process_threads.get() >= 2, "this test has one beside the main one");
    assert!(metrics.process_max_fds.get() >= metrics.process_fds.get());
    assert!(metrics.process_start.get() > 1.6e9);
}

#[test]
fn kernel_sums_move_on_and_start_anew_with_their_map() {
    let (_, metrics) = new().unwrap();
    for total in [5, 9, 9, 2] {
        metrics.set_kernel_events("captured", total);
        assert_eq!(metrics.kernel_events.with_label_values(&["captured"]).get(), total);
    }
}

#[test]
fn a_label_set_expires_ten_minutes_after_its_last_use() {
    let (_, metrics) = new().unwrap();
    let traffic = Traffic::new("prod".into());
    let series = traffic.resolve(&metrics, labels("gone"));
    series.opened.inc();
    series.closed(Some(ResponseFlag::UpstreamReset));
    let begin = Instant::now();

    traffic.expire(&metrics, begin + UNUSED * 3);
    assert_eq!(lines_of(&traffic, &metrics, "opened_total{").len(), 1, "an open connection keeps its series");
    drop(series);
    traffic.expire(&metrics, begin + UNUSED * 4 - Duration::from_secs(1));
    assert_eq!(lines_of(&traffic, &metrics, "opened_total{").len(), 1, "not ten minutes yet");
    traffic.expire(&metrics, begin + UNUSED * 4);
    assert_eq!(lines_of(&traffic, &metrics, "source_workload"), [""; 0], "gone from every metric");
    assert_eq!(metrics.label_sets.get(), 0);
}

#[test]
fn use_keeps_a_label_set_and_its_counts() {
    let (_, metrics) = new().unwrap();
    let traffic = Traffic::new("prod".into());
    let begin = Instant::now();
    for round in 0..5 {
        traffic.resolve(&metrics, labels("busy")).opened.inc();
        traffic.expire(&metrics, begin + (UNUSED - Duration::from_secs(1)) * round);
    }
    assert_eq!(traffic.resolve(&metrics, labels("busy")).opened.get(), 5);
}

#[test]
fn what_is_beyond_the_cap_is_folded_into_other_and_counted() {
    let (_, metrics) = new().unwrap();
    let traffic = Traffic::with_cap("prod".into(), 2);
    for client in ["a", "b", "c", "d", "a"] {
        traffic.resolve(&metrics, labels(client)).opened.inc();
    }
    assert_eq!(metrics.label_sets_folded.get(), 2, "c and d");
    let other = lines_of(&traffic, &metrics, r#"source_workload="other""#);
    let opened: Vec<_> = other.iter().filter(|line| line.contains("opened_total")).collect();
    assert_eq!(opened.len(), 1);
    assert!(opened[0].ends_with(" 2") && opened[0].contains(r#"destination_service="other""#), "{}", opened[0]);
    assert!(opened[0].contains(r#"reporter="source""#) && opened[0].contains(r#"connection_security_policy="none""#));
    // 2 sets and their fold.
    assert_eq!(lines_of(&traffic, &metrics, "istio_tcp_connections_opened_total{").len(), 3);
}
