//! The open connections as rows.

use super::view::Row;
use crate::observe::{ConnectionView, OpenView};

/// So many are asked for: more than anybody reads.
pub(super) const MOST: usize = 1_000;

/// The rows of those that a workload has a part in; of all, where none is named.
pub(super) fn rows(open: &OpenView, of: Option<&str>) -> Vec<Row> {
    open.connections.iter().filter_map(|connection| row(connection, of)).collect()
}

fn row(connection: &ConnectionView, of: Option<&str>) -> Option<Row> {
    let ConnectionView { source, endpoint, .. } = connection;
    // A pod is its owner's name and more.
    let is_of = |pod: &Option<String>| pod.as_deref().zip(of).is_some_and(|(pod, of)| pod.starts_with(of));
    let concerns = of.is_none() || is_of(&source.pod) || endpoint.as_ref().is_some_and(|end| is_of(&end.pod));
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
