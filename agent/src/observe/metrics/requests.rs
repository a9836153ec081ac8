//! The series of Istio's request metrics, found by one look into a table under a read lock.
//!
//! Bounded as those of connections are (`traffic.rs`): a cap folds what is beyond it into `other`, and a set that no request
//! has ended with for [`UNUSED`] is removed from every metric. Label values are made when a set is new, never again.

use std::{
    collections::{HashMap, hash_map},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use prometheus::{Histogram, HistogramVec, IntCounter};

use super::{Metrics, gauge_value, request_labels::RequestLabels, traffic::UNUSED};

/// Label sets per agent: 40 enrolled pods with 10 peers each, who see 5 kinds of end. One set has three histograms, which
/// are 40 KB of scrape and 15 KB of memory.
pub(super) const MAX_REQUEST_SETS: usize = 2048;

/// What is counted of one request.
#[derive(Clone, Copy, Debug)]
pub(in crate::observe) struct Measured {
    pub(in crate::observe) duration: Duration,
    pub(in crate::observe) sent: u64,
    pub(in crate::observe) received: u64,
}

/// Every label set in use.
#[derive(Debug)]
pub(in crate::observe) struct Requests {
    cluster: Arc<str>,
    cap: usize,
    sets: RwLock<HashMap<RequestLabels, Series>>,
}

#[derive(Debug)]
struct Series {
    count: IntCounter,
    duration: Histogram,
    sent: Histogram,
    received: Histogram,
    /// Since the last look.
    used: AtomicBool,
    last_used: Instant,
}

impl Requests {
    pub(in crate::observe) fn new(cluster: Arc<str>) -> Self {
        Self::with_cap(cluster, MAX_REQUEST_SETS)
    }

    pub(super) fn with_cap(cluster: Arc<str>, cap: usize) -> Self {
        Self { cluster, cap, sets: RwLock::default() }
    }

    /// Counts a request that ended.
    pub(in crate::observe) fn count(&self, metrics: &Metrics, labels: RequestLabels, measured: Measured) {
        if let Some(series) = self.sets.read().get(&labels) {
            return series.count(measured);
        }
        self.count_first(metrics, labels, measured);
    }

    fn count_first(&self, metrics: &Metrics, labels: RequestLabels, measured: Measured) {
        let mut sets = self.sets.write();
        let room = sets.len() < self.cap || sets.contains_key(&labels);
        let labels = if room {
            labels
        } else {
            metrics.label_sets_folded.inc();
            labels.folded()
        };
        match sets.entry(labels) {
            hash_map::Entry::Occupied(known) => known.get().count(measured),
            hash_map::Entry::Vacant(new) => {
                let series = Series::new(metrics, &new.key().values(&self.cluster));
                new.insert(series).count(measured);
                metrics.label_sets.inc();
            }
        }
    }

    /// Removes the sets that were unused for [`UNUSED`] as of `now`.
    pub(in crate::observe) fn expire(&self, metrics: &Metrics, now: Instant) {
        let mut sets = self.sets.write();
        let before = sets.len();
        sets.retain(|labels, series| {
            if series.used.swap(false, Relaxed) {
                series.last_used = now;
            }
            let keep = now.saturating_duration_since(series.last_used) < UNUSED;
            if !keep {
                remove(metrics, &labels.values(&self.cluster));
            }
            keep
        });
        metrics.label_sets.sub(gauge_value(before - sets.len()));
    }
}

impl Series {
    fn new(metrics: &Metrics, values: &[String]) -> Self {
        let histogram = |metric: &HistogramVec| metric.with_label_values(values);
        Self {
            count: metrics.requests.with_label_values(values),
            duration: histogram(&metrics.request_duration),
            sent: histogram(&metrics.request_bytes),
            received: histogram(&metrics.response_bytes),
            used: AtomicBool::new(true),
            last_used: Instant::now(),
        }
    }

    fn count(&self, measured: Measured) {
        self.used.store(true, Relaxed);
        self.count.inc();
        self.duration.observe(measured.duration.as_secs_f64() * 1000.0);
        self.sent.observe(measured.sent as f64);
        self.received.observe(measured.received as f64);
    }
}

fn remove(metrics: &Metrics, values: &[String]) {
    // They are there: this table made them, and nobody else removes them.
    drop(metrics.requests.remove_label_values(values));
    for histogram in [&metrics.request_duration, &metrics.request_bytes, &metrics.response_bytes] {
        drop(histogram.remove_label_values(values));
    }
}
