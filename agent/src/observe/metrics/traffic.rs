//! The series of Istio's TCP metrics: from what is known of a connection to its label set, and to counters resolved once.
//!
//! Their table is bounded (`label_sets.rs`). Recording takes no lock; resolving takes a read lock once per connection.

use std::{sync::Arc, time::Instant};

use prometheus::{IntCounter, IntCounterVec};

use super::{
    Metrics,
    label_sets::LabelSets,
    traffic_labels::{LabelSet, with_flag},
};
use crate::observe::{NO_FLAG, ResponseFlag};

pub(super) use super::traffic_labels::TCP_LABELS;

/// Label sets per agent: 100 enrolled pods with 40 peers each. A full table is about 20 MB of scrape.
pub(super) const MAX_LABEL_SETS: usize = 4096;

/// The counters of one label set, held by each of its open connections.
#[derive(Debug)]
pub(in crate::observe) struct Series {
    /// Values of all labels but the last, which is the response flag.
    values: Box<[String]>,
    pub(in crate::observe) opened: IntCounter,
    pub(in crate::observe) sent: IntCounter,
    pub(in crate::observe) received: IntCounter,
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
        self.sets.resolve(metrics, labels, |labels| Series::new(metrics, labels.values(&self.cluster, "tcp")))
    }

    /// Removes the sets that were unused for long as of `now`. A set with an open connection is in use.
    pub(in crate::observe) fn expire(&self, metrics: &Metrics, now: Instant) {
        self.sets.expire(metrics, now, |_, series| series.remove_from(metrics));
    }
}

impl Series {
    fn new(metrics: &Metrics, values: Box<[String]>) -> Self {
        let counter = |metric: &IntCounterVec| metric.with_label_values(&with_flag(&values, NO_FLAG));
        let (opened, sent, received) =
            (counter(&metrics.tcp_opened), counter(&metrics.tcp_sent), counter(&metrics.tcp_received));
        Self { values, opened, sent, received }
    }

    /// Counts the end of a connection that was joined.
    pub(in crate::observe) fn closed(&self, metrics: &Metrics, flag: Option<ResponseFlag>) {
        let flag = flag.map_or(NO_FLAG, ResponseFlag::as_str);
        metrics.tcp_closed.with_label_values(&with_flag(&self.values, flag)).inc();
    }

    /// Counts the end of a connection that was never joined.
    pub(in crate::observe) fn failed(&self, metrics: &Metrics, flag: Option<ResponseFlag>) {
        let flag = flag.map_or(NO_FLAG, ResponseFlag::as_str);
        metrics.tcp_failed.with_label_values(&with_flag(&self.values, flag)).inc();
    }

    fn remove_from(&self, metrics: &Metrics) {
        let flags = ResponseFlag::ALL.into_iter().map(ResponseFlag::as_str).chain([NO_FLAG]);
        for flag in flags {
            let values = with_flag(&self.values, flag);
            for metric in [
                &metrics.tcp_opened,
                &metrics.tcp_closed,
                &metrics.tcp_failed,
                &metrics.tcp_sent,
                &metrics.tcp_received,
            ] {
                // Most flags never occurred in this set: "not found" is the expected answer.
                drop(metric.remove_label_values(&values));
            }
        }
    }
}
