//! The series of Istio's request metrics, found by one look into a table under a read lock.
//!
//! The table is bounded as that of connections is (`label_sets.rs`). Label values are made when a set is new, never again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Metrics,
    families::{Count, HistogramFamily, LabelText, Observations, WriteSeries},
    label_sets::LabelSets,
    request_labels::{REQUEST_LABELS, RequestLabels},
};

/// Label sets per agent: 40 enrolled pods with 10 peers each, who see 5 kinds of end. One set has three histograms, which
/// are 40 KB of scrape and 2 KB of memory.
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
    labels: LabelText,
    count: Count,
    duration: Observations,
    sent: Observations,
    received: Observations,
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
        self.sets.resolve(metrics, labels, |labels| Series::new(&labels.values(&self.cluster))).count(measured);
    }

    /// Removes the sets that no request has ended with for long as of `now`.
    pub(in crate::observe) fn expire(&self, metrics: &Metrics, now: Instant) {
        self.sets.expire(metrics, now);
    }

    /// Their part of a scrape, in pieces.
    pub(in crate::observe) fn pieces(&self, metrics: &Metrics) -> impl Iterator<Item = String> + use<> {
        let series = self.sets.series();
        let count: WriteSeries<Series> = |one, lines| lines.count(&one.labels, &one.count);
        let histograms: [(HistogramFamily, WriteSeries<Series>); 3] = [
            (metrics.request_duration, |one, lines| lines.observations(&one.labels, &one.duration)),
            (metrics.request_bytes, |one, lines| lines.observations(&one.labels, &one.sent)),
            (metrics.response_bytes, |one, lines| lines.observations(&one.labels, &one.received)),
        ];
        let counts = metrics.requests.pieces(Arc::clone(&series), count);
        counts.chain(histograms.into_iter().flat_map(move |(family, write)| family.pieces(Arc::clone(&series), write)))
    }
}

impl Series {
    fn new(values: &[String]) -> Self {
        Self {
            labels: LabelText::new(REQUEST_LABELS, values),
            count: Count::default(),
            duration: Observations::default(),
            sent: Observations::default(),
            received: Observations::default(),
        }
    }

    fn count(&self, measured: Measured) {
        self.count.inc();
        self.duration.observe(measured.duration.as_secs_f64() * 1000.0);
        self.sent.observe(measured.sent as f64);
        self.received.observe(measured.received as f64);
    }
}
