//! How long things took, as counts by duration: eight steps to each doubling, so that what is read off is at most an eighth too
//! long. Two can be added up.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeSeq};

/// Of the steps within a doubling.
const BITS: u32 = 3;

/// Counts by duration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Latencies {
    /// By step; as long as the longest duration needs.
    counts: Vec<u32>,
}

impl Latencies {
    /// Counts one.
    pub(super) fn add(&mut self, duration: Duration) {
        let step = step_of(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX));
        if step >= self.counts.len() {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] = self.counts[step].saturating_add(1);
    }

    /// Adds those of another.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (own, others) in self.counts.iter_mut().zip(&other.counts) {
            *own = own.saturating_add(*others);
        }
    }

    /// The steps that were met: the longest duration of each in microseconds, and how often.
    fn steps(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(step, count)| (end_of(step), *count))
    }
}

fn step_of(micros: u32) -> usize {
    let micros = micros.max(1);
    let doubling = micros.ilog2();
    let within = match doubling.checked_sub(BITS) {
        Some(shift) => micros >> shift,
        None => micros << (BITS - doubling),
    };
    ((doubling << BITS) + within - (1 << BITS)) as usize
}

/// The first microsecond that is beyond a step.
fn end_of(step: usize) -> u64 {
    let (doubling, within) = (step >> BITS, (step & ((1 << BITS) - 1)) as u64);
    let eighths = ((1 << BITS) + within + 1) << doubling;
    eighths.div_ceil(1 << BITS)
}

/// As `[[microseconds, count], ..]`.
impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(None)?;
        for step in self.steps() {
            sequence.serialize_element(&step)?;
        }
        sequence.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_ends_after_what_is_in_it_and_at_most_an_eighth_later() {
        let durations = (0..5_000).chain([1 << 20, (1 << 20) + 1, 123_456_789, u32::MAX - 1, u32::MAX]);
        for micros in durations {
            let end = end_of(step_of(micros));
            let micros = u64::from(micros.max(1));
            assert!(end > micros && end <= micros + micros / 8 + 1, "{micros} is in the step to {end}");
        }
    }

    #[test]
    fn two_are_added_up_whichever_is_longer() {
        let of = |micros: &[u64]| {
            let mut latencies = Latencies::default();
            micros.iter().for_each(|micros| latencies.add(Duration::from_micros(*micros)));
            latencies
        };
        for (mut one, other) in [(of(&[5]), of(&[5, 9_000])), (of(&[5, 9_000]), of(&[5]))] {
            one.merge(&other);
            assert_eq!(one, of(&[5, 5, 9_000]));
        }
    }
}
