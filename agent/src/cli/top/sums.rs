//! Sums of what is shown in one row.

use std::collections::BTreeMap;

use super::traffic::Flow;

/// Requests and connections that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) count: u64,
    /// Connections that are open now.
    pub(super) open: u64,
    failed: u64,
    /// Of those that ended and those that are open, those that travelled.
    carried: u64,
    /// Of them, those in mutual TLS.
    mutual_tls: u64,
    pub(super) bytes: u64,
    /// By the longest that they took, in microseconds.
    latencies: BTreeMap<u64, u64>,
}

impl Sum {
    /// Adds what ended and moved in a second.
    pub(super) fn add(&mut self, flow: &Flow) {
        self.count += flow.count;
        self.failed += flow.failed;
        self.protect(flow, flow.count);
        self.bytes += flow.sent + flow.received;
        for (micros, count) in &flow.latencies {
            *self.latencies.entry(*micros).or_default() += count;
        }
    }

    /// Adds what is open.
    pub(super) fn hold(&mut self, flow: &Flow) {
        self.open += flow.open;
        self.protect(flow, flow.open);
    }

    fn protect(&mut self, flow: &Flow, count: u64) {
        self.carried += if flow.mutual_tls.is_some() { count } else { 0 };
        self.mutual_tls += if flow.mutual_tls == Some(true) { count } else { 0 };
    }

    pub(super) fn is_any(&self) -> bool {
        self.count + self.open + self.bytes > 0
    }

    /// Of 100 that many failed.
    pub(super) fn failed_percent(&self) -> f64 {
        percent(self.failed, self.count)
    }

    /// Of 100 so many travelled in mutual TLS; nothing where none travelled.
    pub(super) fn mutual_tls_percent(&self) -> Option<f64> {
        (self.carried > 0).then(|| percent(self.mutual_tls, self.carried))
    }

    /// So many milliseconds took, at most, this share of them, `0.99` for all but one in a hundred; nothing of nothing.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.latencies.values().sum();
        let wanted = (total as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        let step = self.latencies.iter().find(|(_, count)| {
            seen += *count;
            seen as f64 >= wanted
        });
        step.map(|(micros, _)| *micros as f64 / 1_000.0)
    }
}

/// Of nothing it is nothing.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
