//! The kinds of handle that a metric can have, each able to build and register itself from its row of the table.
//!
//! Handles with closed labels hold one ready counter or gauge per value, so that recording is one atomic addition and every
//! series is visible at zero before anything happened.

use std::{fmt, marker::PhantomData};

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::{Atomic, Collector, GenericCounter, GenericCounterVec, GenericGauge, GenericGaugeVec},
};

use super::labels::ClosedLabel;

/// Prometheus' type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the agent runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Values sorted into ranges, and their sum.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// One row of the table of metrics.
#[derive(Clone, Copy, Debug)]
pub struct MetricSpec {
    /// Full name as scraped.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// What one unit of the value is.
    pub unit: &'static str,
    /// Label names, in order.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl MetricSpec {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }
}

/// A handle that can be made from a row.
pub(super) trait Instrument: Sized {
    const KIND: Kind;
    fn build(spec: &'static MetricSpec, registry: &Registry) -> prometheus::Result<Self>;
}

fn registered<C: Collector + Clone + 'static>(collector: C, registry: &Registry) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

impl<P: Atomic + 'static> Instrument for GenericCounter<P> {
    const KIND: Kind = Kind::Counter;

    fn build(spec: &'static MetricSpec, registry: &Registry) -> prometheus::Result<Self> {
        registered(Self::with_opts(spec.opts())?, registry)
    }
}

impl<P: Atomic + 'static> Instrument for GenericGauge<P> {
    const KIND: Kind = Kind::Gauge;

    fn build(spec: &'static MetricSpec, registry: &Registry) -> prometheus::Result<Self> {
        registered(Self::with_opts(spec.opts())?, registry)
    }
}

impl<P: Atomic + 'static> Instrument for GenericCounterVec<P> {
    const KIND: Kind = Kind::Counter;

    fn build(spec: &'static MetricSpec, registry: &Registry) -> prometheus::Result<Self> {
        registered(Self::new(spec.opts(), spec.labels)?, registry)
    }
}

impl<P: Atomic + 'static> Instrument for GenericGaugeVec<P> {
    const KIND: Kind = Kind::Gauge;

    fn build(spec: &'static MetricSpec, registry: &Registry) -> prometheus::Result<Self> {
        registered(Self::new(spec.opts(), spec.labels)?, registry)
    }
}

/// The ranges of Istio's histograms, of milliseconds and of bytes alike: dashboards add series of several meshes up, which
/// needs equal ranges.
pub(super) const ISTIO_BOUNDS: &[f64] = &[
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The ranges of short waits in seconds: up to the 100 ms that a silent client is waited for, and what goes wrong beyond.
pub(super) const WAIT_BOUNDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 1.0];

/// Without labels: short waits.
impl Instrument for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn build(spec: &'static MetricSpec, registry: &Registry) -> prometheus::Result<Self> {
        let opts = HistogramOpts::new(spec.name, spec.help).buckets(WAIT_BOUNDS.to_vec());
        registered(Self::with_opts(opts)?, registry)
    }
}

/// One handle per value of a closed label.
#[derive(Debug)]
pub struct ByLabel<L, H> {
    handles: Box<[H]>,
    label: PhantomData<fn(L)>,
}

impl<L: ClosedLabel, H> ByLabel<L, H> {
    /// The handle of one value.
    pub fn of(&self, label: L) -> &H {
        &self.handles[label.index()]
    }

    fn resolve(of: impl Fn(&'static str) -> prometheus::Result<H>) -> prometheus::Result<Self> {
        let handles = L::ALL.iter().map(|label| of(label.as_str())).collect::<prometheus::Result<_>>()?;
        Ok(Self { handles, label: PhantomData })
    }
}

impl<L: ClosedLabel> Instrument for ByLabel<L, IntCounter> {
    const KIND: Kind = Kind::Counter;

    fn build(spec: &'static MetricSpec, registry: &Registry) -> prometheus::Result<Self> {
        let vector = IntCounterVec::build(spec, registry)?;
        Self::resolve(|value| vector.get_metric_with_label_values(&[value]))
    }
}

impl<L: ClosedLabel> Instrument for ByLabel<L, IntGauge> {
    const KIND: Kind = Kind::Gauge;

    fn build(spec: &'static MetricSpec, registry: &Registry) -> prometheus::Result<Self> {
        let vector = IntGaugeVec::build(spec, registry)?;
        Self::resolve(|value| vector.get_metric_with_label_values(&[value]))
    }
}

/// Moves a counter up to a sum that somebody else keeps (the kernel), or on from zero when that sum was started anew.
pub(super) fn advance(counter: &IntCounter, total: u64) {
    let before = counter.get();
    if total < before {
        counter.reset();
        counter.inc_by(total);
    } else {
        counter.inc_by(total - before);
    }
}

/// As [`advance`], for sums with a fraction.
pub(super) fn advance_seconds(counter: &Counter, total: f64) {
    counter.inc_by((total - counter.get()).max(0.0));
}

/// A gauge that is one higher while this lives.
#[derive(Debug)]
#[must_use = "the gauge falls again when this is dropped"]
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    pub(in crate::observe) fn raise(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A gauge without a value yet: `NaN` compares false in every alert, where 0 would look like a measurement.
pub(super) fn unset(gauge: &Gauge) {
    gauge.set(f64::NAN);
}
