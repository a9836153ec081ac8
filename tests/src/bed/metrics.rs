//! The Prometheus text format, read back: enough to ask for the value of a metric under some labels.
//!
//! Strict about what it reads: a line that is not in the format is an error, because a scraper would drop it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// One line of `/metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
}

impl Metrics {
    /// Reads the text format.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples: Result<Vec<_>> =
            lines.map(|line| sample(line).with_context(|| format!("the line `{line}`"))).collect();
        Ok(Self { samples: samples? })
    }

    /// All samples.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The samples of a metric that have (at least) these labels.
    pub fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Sample> {
        let has =
            |sample: &Sample| labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value));
        self.samples.iter().filter(move |sample| sample.name == name && has(sample))
    }

    /// The sum of a metric over the samples that have (at least) these labels; `None` if there is no such sample.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.matching(name, labels).map(|sample| sample.value).reduce(|a, b| a + b)
    }

    /// The same with 0 for no sample, for counters that appear with their first event.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or(0.0)
    }

    /// The samples of the agent's own metrics as text, for failure messages.
    #[must_use]
    pub fn heddle(&self) -> String {
        let own = self.samples.iter().filter(|sample| sample.name.starts_with("heddle_"));
        own.map(|sample| format!("  {} {:?} {}\n", sample.name, sample.labels, sample.value)).collect()
    }
}

fn sample(line: &str) -> Result<Sample> {
    let end = line.find(['{', ' ']).context("has no value")?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.split_whitespace().next().context("has no value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().with_context(|| format!("`{number}` is no number"))?,
    };
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Reads `key="value",...}` and gives back what follows the bracket.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (key, after) = rest.split_once("=\"").context("a label has no value")?;
        let (value, after) = quoted(after)?;
        if labels.insert(key.to_owned(), value).is_some() {
            bail!("the label `{key}` is there twice");
        }
        rest = after;
    }
}

fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next().context("an escape is cut off")?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    bail!("a label value has no end")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const TEXT: &str = "# HELP a help\n# TYPE a counter\n\
        a{x=\"1\",y=\"b}c\"} 2\na{x=\"2\",y=\"q\\\"\\\\\\n\"} 3\nplain 1.5 1700000000\nbig +Inf\n";

    #[test]
    fn values_are_summed_over_the_labels_not_asked_for() {
        let metrics = Metrics::parse(TEXT).unwrap();
        assert_eq!(metrics.get("a", &[]), Some(5.0));
        assert_eq!(metrics.get("a", &[("x", "2")]), Some(3.0));
        assert_eq!(metrics.get("a", &[("y", "b}c")]), Some(2.0));
        assert_eq!(metrics.get("a", &[("y", "q\"\\\n")]), Some(3.0));
        assert_eq!(metrics.get("plain", &[]), Some(1.5));
        assert_eq!(metrics.get("big", &[]), Some(f64::INFINITY));
        assert_eq!((metrics.get("a", &[("x", "3")]), metrics.sum("none", &[])), (None, 0.0));
    }

    #[test]
    fn a_line_that_a_scraper_would_drop_is_an_error() {
        for line in ["a", "a{x=\"1\"", "a{x=1} 2", "a{x=\"1\",x=\"1\"} 2", "a{x=\"1} 2", "a two"] {
            assert!(Metrics::parse(line).is_err(), "{line}");
        }
    }
}
