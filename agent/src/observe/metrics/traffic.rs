//! The series of Istio's TCP metrics: from what is known of a connection to its label set, and to counters resolved once.
//!
//! Their table is bounded (`label_sets.rs`). Recording takes no lock; resolving takes a read lock once per connection.

use std::{sync::Arc, time::Instant};

use super::{
    Metrics,
    families::{Count, CountByFlag, CounterFamily, LabelText, WriteSeries},
    label_sets::LabelSets,
    traffic_labels::LabelSet,
};
use crate::observe::ResponseFlag;

pub(super) use super::traffic_labels::TCP_LABELS;

/// Label sets per agent: 100 enrolled pods with 40 peers each. A full table is about 20 MB of scrape.
pub(super) const MAX_LABEL_SETS: usize = 4096;

/// The counters of one label set, held by each of its open connections.
#[derive(Debug)]
pub(in crate::observe) struct Series {
    /// All but the last, which is the response flag.
    labels: LabelText,
    pub(in crate::observe) opened: Count,
    pub(in crate::observe) sent: Count,
    pub(in crate::observe) received: Count,
    closed: CountByFlag,
    failed: CountByFlag,
}

/// The series of every label set in use.
#[derive(Debug)]
pub(in crate::observe) struct Traffic {
    cluster: Arc<str>,
    sets: LabelSets<LabelSet, Series>,
}

impl Traffic {
    pub(in crate::observe) fn new(cluster: Arc<str>) -> Self {
        Self::with_cap(cluster, MAX_LABEL_SETS)
    }

    pub(super) fn with_cap(cluster: Arc<str>, cap: usize) -> Self {
        Self { cluster, sets: LabelSets::new(cap) }
    }

    /// The counters of a label set, or of `other` when the table is full.
    pub(in crate::observe) fn resolve(&self, metrics: &Metrics, labels: LabelSet) -> Arc<Series> {
        self.sets.resolve(metrics, labels, |labels| Series::new(&labels.values(&self.cluster, "tcp")))
    }

    /// Removes the sets that were unused for long as of `now`. A set with an open connection is in use.
    pub(in crate::observe) fn expire(&self, metrics: &Metrics, now: Instant) {
        self.sets.expire(metrics, now);
    }

    /// Their part of a scrape, in pieces.
    pub(in crate::observe) fn pieces(&self, metrics: &Metrics) -> impl Iterator<Item = String> + use<> {
        let series = self.sets.series();
        let families: [(CounterFamily, WriteSeries<Series>); 5] = [
            (metrics.tcp_opened, |one, lines| lines.unflagged(&one.labels, &one.opened)),
            (metrics.tcp_closed, |one, lines| lines.by_flag(&one.labels, &one.closed)),
            (metrics.tcp_failed, |one, lines| lines.by_flag(&one.labels, &one.failed)),
            (metrics.tcp_sent, |one, lines| lines.unflagged(&one.labels, &one.sent)),
            (metrics.tcp_received, |one, lines| lines.unflagged(&one.labels, &one.received)),
        ];
        families.into_iter().flat_map(move |(family, write)| family.pieces(Arc::clone(&series), write))
    }
}

impl Series {
    fn new(values: &[String]) -> Self {
        Self {
            labels: LabelText::new(TCP_LABELS, values),
            opened: Count::default(),
            sent: Count::default(),
            received: Count::default(),
            closed: CountByFlag::default(),
            failed: CountByFlag::default(),
        }
    }

    /// Counts the end of a connection that was joined.
    pub(in crate::observe) fn closed(&self, flag: Option<ResponseFlag>) {
        self.closed.of(flag).inc();
    }

    /// Counts the end of a connection that was never joined.
    pub(in crate::observe) fn failed(&self, flag: Option<ResponseFlag>) {
        self.failed.of(flag).inc();
    }
}
