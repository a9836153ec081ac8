//! The series of Istio's request metrics, found by one look into a table under a read lock.
//!
//! The table is bounded as that of connections is (`label_sets.rs`). Label values are made when a set is new, never again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::{Histogram, HistogramVec, IntCounter};

use super::{Metrics, label_sets::LabelSets, request_labels::RequestLabels};

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

/// The series of every label set in use.
#[derive(Debug)]
pub(in crate::observe) struct Requests {
    cluster: Arc<str>,
    sets: LabelSets<RequestLabels, Series>,
}

#[derive(Debug)]
struct Series {
    count: IntCounter,
    duration: Histogram,
    sent: Histogram,
    received: Histogram,
}

impl Requests {
    pub(in crate::observe) fn new(cluster: Arc<str>) -> Self {
        Self::with_cap(cluster, MAX_REQUEST_SETS)
    }

    pub(super) fn with_cap(cluster: Arc<str>, cap: usize) -> Self {
        Self { cluster, sets: LabelSets::new(cap) }
    }

    /// Counts a request that ended.
    pub(in crate::observe) fn count(&self, metrics: &Metrics, labels: RequestLabels, measured: Measured) {
        let make = |labels: &RequestLabels| Series::new(metrics, &labels.values(&self.cluster));
        self.sets.resolve(metrics, labels, make).count(measured);
    }

    /// Removes the sets that no request has ended with for long as of `now`.
    pub(in crate::observe) fn expire(&self, metrics: &Metrics, now: Instant) {
        self.sets.expire(metrics, now, |labels, _| remove(metrics, &labels.values(&self.cluster)));
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
        }
    }

    fn count(&self, measured: Measured) {
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
