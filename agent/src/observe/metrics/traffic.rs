//! The series of Istio's TCP metrics: from what is known of a connection to its label set, and to counters resolved once.
//!
//! Label sets come from workloads, so they are bounded: a cap folds what is beyond it into `other`, and a set that no
//! connection has used for [`UNUSED`] is removed from every metric. Recording takes no lock; resolving takes a read lock once
//! per connection.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use prometheus::{IntCounter, IntCounterVec};

use super::{
    Metrics, gauge_value,
    traffic_labels::{LabelSet, with_flag},
};
use crate::observe::{NO_FLAG, ResponseFlag};

pub(super) use super::traffic_labels::TCP_LABELS;

/// A label set that nobody used for so long belongs to a workload that is gone.
pub(super) const UNUSED: Duration = Duration::from_secs(600);

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
    used: AtomicBool,
}

/// Every label set in use.
#[derive(Debug)]
pub(in crate::observe) struct Traffic {
    cluster: Arc<str>,
    cap: usize,
    sets: RwLock<HashMap<LabelSet, Entry>>,
}

#[derive(Debug)]
struct Entry {
    series: Arc<Series>,
    last_used: Instant,
}

impl Traffic {
    pub(in crate::observe) fn new(cluster: Arc<str>) -> Self {
        Self::with_cap(cluster, MAX_LABEL_SETS)
    }

    pub(super) fn with_cap(cluster: Arc<str>, cap: usize) -> Self {
        Self { cluster, cap, sets: RwLock::default() }
    }

    /// The counters of a label set, or of `other` when the table is full.
    pub(in crate::observe) fn resolve(&self, metrics: &Metrics, labels: LabelSet) -> Arc<Series> {
        if let Some(series) = self.find(&labels) {
            return series;
        }
        let mut sets = self.sets.write();
        let room = sets.len() < self.cap || sets.contains_key(&labels);
        let labels = if room {
            labels
        } else {
            metrics.label_sets_folded.inc();
            labels.folded()
        };
        let entry = sets.entry(labels).or_insert_with_key(|labels| {
            metrics.label_sets.inc();
            let series = Arc::new(Series::new(metrics, labels.values(&self.cluster, "tcp")));
            Entry { series, last_used: Instant::now() }
        });
        entry.series.used.store(true, Relaxed);
        Arc::clone(&entry.series)
    }

    fn find(&self, labels: &LabelSet) -> Option<Arc<Series>> {
        let sets = self.sets.read();
        let series = &sets.get(labels)?.series;
        series.used.store(true, Relaxed);
        Some(Arc::clone(series))
    }

    /// Removes the sets that were unused for [`UNUSED`] as of `now`. A set with an open connection is in use.
    pub(in crate::observe) fn expire(&self, metrics: &Metrics, now: Instant) {
        let mut sets = self.sets.write();
        let before = sets.len();
        sets.retain(|_, entry| {
            // Nobody can take a new reference while we hold the write lock.
            if entry.series.used.swap(false, Relaxed) || Arc::strong_count(&entry.series) > 1 {
                entry.last_used = now;
            }
            let keep = now.saturating_duration_since(entry.last_used) < UNUSED;
            if !keep {
                entry.series.remove_from(metrics);
            }
            keep
        });
        metrics.label_sets.sub(gauge_value(before - sets.len()));
    }
}

impl Series {
    fn new(metrics: &Metrics, values: Box<[String]>) -> Self {
        let counter = |metric: &IntCounterVec| metric.with_label_values(&with_flag(&values, NO_FLAG));
        let (opened, sent, received) =
            (counter(&metrics.tcp_opened), counter(&metrics.tcp_sent), counter(&metrics.tcp_received));
        Self { values, opened, sent, received, used: AtomicBool::new(true) }
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
