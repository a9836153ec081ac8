//! What the two ends of the streams have seen, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What `stream-load` and `stream-serve` print for each line on their standard input, and at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamReport {
    /// Connections that were tried, or accepted.
    pub begun: u64,
    /// Streams that were whole in both directions.
    pub whole: u64,
    /// Bytes that arrived and were the right ones.
    pub verified: u64,
    /// Bytes that arrived, right or wrong.
    pub received: u64,
    /// Streams with a wrong byte.
    pub wrong: u64,
    /// Streams that ended in order before their last byte.
    pub short: u64,
    /// Streams that broke, by `stage: error`.
    pub broken: BTreeMap<String, u64>,
    /// Some of what was wrong or short, in words.
    pub examples: Vec<String>,
}

/// Descriptions that are kept.
const EXAMPLES: usize = 5;

impl StreamReport {
    pub(super) fn note(&mut self, end: End) {
        match end {
            End::Whole => self.whole += 1,
            End::Broken(stage, error) => *self.broken.entry(format!("{stage}: {error}")).or_default() += 1,
            End::Wrong { at, seed } => {
                self.wrong += 1;
                self.example(format!("byte {at} of the stream with the seed {seed} is another one"));
            }
            End::Short { at, of } => {
                self.short += 1;
                self.example(format!("a stream of {of} bytes ended in order after {at}"));
            }
        }
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text);
        }
    }

    /// Whether every one of `count` streams was whole.
    #[must_use]
    pub fn all_whole(&self, count: u64) -> bool {
        self.whole == count && self.wrong + self.short == 0 && self.broken.is_empty()
    }
}

/// How a stream ended at one of its ends.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    Whole,
    Broken(&'static str, String),
    Wrong { at: u64, seed: u64 },
    Short { at: u64, of: u64 },
}
