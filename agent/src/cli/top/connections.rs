//! The open connections as rows.

use super::view::Row;
use crate::observe::{ConnectionView, EndView, OpenView};

/// So many of the oldest are asked for: more than anybody reads.
pub(super) const MOST: usize = 1_000;

/// The rows of those that a workload or address has a part in; of all, where none is named.
pub(super) fn rows(open: &OpenView, of: Option<&str>) -> Vec<Row> {
    open.connections.iter().filter_map(|connection| row(connection, of)).collect()
}

fn row(connection: &ConnectionView, of: Option<&str>) -> Option<Row> {
    let ConnectionView { source, endpoint, .. } = connection;
    let concerns = of.is_none_or(|of| is(source, of) || endpoint.as_ref().is_some_and(|end| is(end, of)));
    let from = source.pod.clone().unwrap_or_else(|| source.address.to_string());
    let to = endpoint.as_ref().and_then(|end| end.pod.clone());
    let to = to.or_else(|| connection.service.clone()).unwrap_or_else(|| connection.destination.to_string());
    concerns.then(|| Row {
        names: vec![connection.id.to_string(), from, to, connection.protocol.clone()],
        numbers: vec![
            Some(connection.age_seconds as f64),
            connection.sent_bytes.map(|bytes| bytes as f64),
            connection.received_bytes.map(|bytes| bytes as f64),
        ],
        trend: Vec::new(),
        fails: false,
    })
}

/// As flows name their ends.
fn is(end: &EndView, name: &str) -> bool {
    match &end.workload {
        Some(workload) => workload == name,
        None => end.address.ip().to_string() == name,
    }
}
