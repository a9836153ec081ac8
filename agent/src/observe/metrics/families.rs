//! Families of which each label set has a series: their counts, and their part of a scrape.
//!
//! They are most of what a busy agent is scraped for, so the text of a label set is made once, when the set is new, and the scrape is
//! made in pieces: whoever sends it can do other things in between. Recording is one atomic addition, for a histogram two.

use std::{
    fmt::{self, Display, Write as _},
    iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus::{
    Registry,
    core::{Atomic, AtomicF64},
};

use super::instrument::{ISTIO_BOUNDS, Instrument, Kind, MetricSpec};
use crate::observe::{NO_FLAG, ResponseFlag};

/// Lines of a scrape that are made at once: about 64 KB, half a millisecond of another's time.
const PIECE: usize = 100;

/// A counter of each label set.
#[derive(Clone, Copy, Debug)]
pub(super) struct CounterFamily(&'static MetricSpec);

/// A histogram of each label set, with Istio's ranges.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistogramFamily(&'static MetricSpec);

// Nothing is registered: whoever keeps the series writes them.
impl Instrument for CounterFamily {
    const KIND: Kind = Kind::Counter;

    fn build(spec: &'static MetricSpec, _: &Registry) -> prometheus::Result<Self> {
        Ok(Self(spec))
    }
}

impl Instrument for HistogramFamily {
    const KIND: Kind = Kind::Histogram;

    fn build(spec: &'static MetricSpec, _: &Registry) -> prometheus::Result<Self> {
        Ok(Self(spec))
    }
}

/// A label set as the scrape has it, `name="value",name="value"`, made once.
#[derive(Debug)]
pub(super) struct LabelText(Box<str>);

impl LabelText {
    pub(super) fn new(names: &[&str], values: &[String]) -> Self {
        let mut text = String::new();
        for (name, value) in names.iter().zip(values) {
            text.extend([if text.is_empty() { "" } else { "," }, *name, "=\""]);
            push_escaped(&mut text, value);
            text.push('"');
        }
        Self(text.into())
    }
}

/// As the text format wants values: the backslash, the quote and the line end are written with a backslash.
fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(in crate::observe) struct Count(AtomicU64);

impl Count {
    pub(in crate::observe) fn inc(&self) {
        self.inc_by(1);
    }

    pub(in crate::observe) fn inc_by(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(in crate::observe) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A count for each way in which something can end.
#[derive(Debug)]
pub(super) struct CountByFlag([Count; ResponseFlag::ALL.len() + 1]);

impl Default for CountByFlag {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl CountByFlag {
    pub(super) fn of(&self, flag: Option<ResponseFlag>) -> &Count {
        &self.0[flag.map_or(ResponseFlag::ALL.len(), |flag| flag as usize)]
    }
}

/// What was observed, by [`ISTIO_BOUNDS`].
#[derive(Debug)]
pub(super) struct Observations {
    /// By the range that each is in, not added up; the last is what is beyond all of them.
    counts: [Count; ISTIO_BOUNDS.len() + 1],
    sum: AtomicF64,
}

impl Default for Observations {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| Count::default()), sum: AtomicF64::new(0.0) }
    }
}

impl Observations {
    pub(super) fn observe(&self, value: f64) {
        self.counts[ISTIO_BOUNDS.partition_point(|bound| *bound < value)].inc();
        self.sum.inc_by(value);
    }
}

/// Where the lines of a family are written.
pub(super) struct Lines<'t> {
    name: &'static str,
    text: &'t mut String,
}

impl Lines<'_> {
    /// Of a label set that has everything.
    pub(super) fn count(&mut self, labels: &LabelText, count: &Count) {
        self.line("", labels, None, count.get());
    }

    /// The count of a label set without a flag.
    pub(super) fn unflagged(&mut self, labels: &LabelText, count: &Count) {
        self.flagged(labels, NO_FLAG, count);
    }

    /// One for each flag that occurred.
    pub(super) fn by_flag(&mut self, labels: &LabelText, counts: &CountByFlag) {
        let flags = ResponseFlag::ALL.into_iter().map(ResponseFlag::as_str).chain([NO_FLAG]);
        for (flag, count) in flags.zip(&counts.0).filter(|(_, count)| count.get() > 0) {
            self.flagged(labels, flag, count);
        }
    }

    fn flagged(&mut self, labels: &LabelText, flag: &str, count: &Count) {
        self.line("", labels, Some(format_args!("response_flags=\"{flag}\"")), count.get());
    }

    /// A histogram. Its count is the sum of what was read, so that it never contradicts its ranges.
    pub(super) fn observations(&mut self, labels: &LabelText, observed: &Observations) {
        let (within, beyond) = observed.counts.split_at(ISTIO_BOUNDS.len());
        let mut total = 0;
        for (bound, count) in ISTIO_BOUNDS.iter().zip(within) {
            total += count.get();
            self.line("_bucket", labels, Some(format_args!("le=\"{bound}\"")), total);
        }
        total += beyond.iter().map(Count::get).sum::<u64>();
        self.line("_bucket", labels, Some(format_args!("le=\"+Inf\"")), total);
        self.line("_sum", labels, None, observed.sum.get());
        self.line("_count", labels, None, total);
    }

    fn line(&mut self, suffix: &str, labels: &LabelText, last: Option<fmt::Arguments<'_>>, value: impl Display) {
        self.text.extend([self.name, suffix, "{", &labels.0]);
        // Writing to a String cannot fail.
        let _ = match last {
            Some(last) => writeln!(self.text, ",{last}}} {value}"),
            None => writeln!(self.text, "}} {value}"),
        };
    }
}

/// Writes one series of a family.
pub(super) type WriteSeries<S> = fn(&S, &mut Lines<'_>);

impl CounterFamily {
    /// The family's part of a scrape, in pieces; nothing where it has no series.
    pub(super) fn pieces<S>(self, series: Arc<[Arc<S>]>, write: WriteSeries<S>) -> impl Iterator<Item = String> {
        pieces(self.0, series, PIECE, write)
    }
}

impl HistogramFamily {
    /// The same of a histogram.
    pub(super) fn pieces<S>(self, series: Arc<[Arc<S>]>, write: WriteSeries<S>) -> impl Iterator<Item = String> {
        // Each has a line for each range, the one beyond them, sum and count.
        pieces(self.0, series, PIECE / (ISTIO_BOUNDS.len() + 3), write)
    }
}

fn pieces<S>(
    spec: &'static MetricSpec,
    series: Arc<[Arc<S>]>,
    at_once: usize,
    write: WriteSeries<S>,
) -> impl Iterator<Item = String> {
    let MetricSpec { name, kind, help, .. } = *spec;
    let head = (!series.is_empty()).then(|| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    let starts = (0..series.len()).step_by(at_once);
    let bodies = starts.map(move |start| {
        let mut text = String::new();
        let mut lines = Lines { name, text: &mut text };
        series.iter().skip(start).take(at_once).for_each(|one| write(one, &mut lines));
        text
    });
    iter::chain(head, bodies)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: MetricSpec =
        MetricSpec { name: "m", kind: Kind::Histogram, unit: "bytes", labels: &["a"], help: "What it says." };

    fn labels(value: &str) -> LabelText {
        LabelText::new(SPEC.labels, &[value.to_owned()])
    }

    #[test]
    fn label_values_are_escaped_as_the_text_format_wants_it() {
        assert_eq!(&*labels("a\\b\"c\nd=,}").0, r#"a="a\\b\"c\nd=,}""#);
    }

    #[test]
    fn each_flag_has_the_count_of_its_own_place() {
        let counts = CountByFlag::default();
        for (number, flag) in (1..).zip(ResponseFlag::ALL) {
            counts.of(Some(flag)).inc_by(number);
        }
        let mut text = String::new();
        Lines { name: "m", text: &mut text }.by_flag(&labels("x"), &counts);
        let expected: Vec<_> = (1..)
            .zip(ResponseFlag::ALL)
            .map(|(number, flag)| format!("m{{a=\"x\",response_flags=\"{flag}\"}} {number}"))
            .collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "and none of what did not occur");
    }

    #[test]
    fn a_value_is_in_the_range_that_it_is_the_bound_of_and_in_all_above() {
        let observed = Observations::default();
        [0.5, 0.6, 5e6].iter().for_each(|value| observed.observe(*value));
        let mut text = String::new();
        Lines { name: "m", text: &mut text }.observations(&labels("x"), &observed);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), ISTIO_BOUNDS.len() + 3);
        for line in [
            r#"m_bucket{a="x",le="0.5"} 1"#,
            r#"m_bucket{a="x",le="1"} 2"#,
            r#"m_bucket{a="x",le="3600000"} 2"#,
            r#"m_bucket{a="x",le="+Inf"} 3"#,
            r#"m_sum{a="x"} 5000001.1"#,
            r#"m_count{a="x"} 3"#,
        ] {
            assert!(lines.contains(&line), "{line} is not in {text}");
        }
    }

    #[test]
    fn a_scrape_in_pieces_has_every_series_once_and_one_head() {
        let family = HistogramFamily(&SPEC);
        let write: WriteSeries<u32> = |one, lines| lines.count(&labels(&one.to_string()), &Count::default());
        let series = |count: u32| (0..count).map(Arc::new).collect::<Arc<[_]>>();
        assert_eq!(family.pieces(series(0), write).count(), 0);
        let pieces: Vec<_> = family.pieces(series(11), write).collect();
        assert_eq!(pieces.len(), 1 + 3);
        assert_eq!(pieces[0], "# HELP m What it says.\n# TYPE m histogram\n");
        let expected: Vec<_> = (0..11).map(|one| format!("m{{a=\"{one}\"}} 0")).collect();
        assert_eq!(pieces[1..].concat().lines().collect::<Vec<_>>(), expected);
    }
}
