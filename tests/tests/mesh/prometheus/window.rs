//! What rate() and histogram_quantile() say of a stretch of time, and what they may say.
//!
//! rate() takes what was counted between the first and the last scrape in its window for as long as the window at most: its
//! bounds follow from the times of the scrapes, and nothing else is allowed for.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use super::{BOUNDS, Counted, OF_CLIENT, OF_NEAR, Watched, of_requests, sum};

/// The time from which on requests were counted, until now.
pub(super) struct Window {
    ends: SystemTime,
    seconds: f64,
    /// From the first scrape in it to the last.
    scraped: f64,
}

impl Window {
    pub(super) fn new(watched: &Watched, begins: SystemTime) -> Result<Self> {
        let ends = SystemTime::now();
        let seconds = ends.duration_since(begins)?.as_millis() as f64 / 1e3;
        let scrapes = watched.prometheus.scrapes(watched.nodes()[0], begins, ends)?;
        // Whole milliseconds, as Prometheus has them: a difference of seconds since 1970 is nearly that.
        let between = |(last, first): (&f64, &f64)| ((last - first) * 1e3).round() / 1e3;
        let scraped = scrapes.last().zip(scrapes.first()).map_or(0.0, between);
        ensure!(scraped > seconds / 2.0, "{} scrapes in {scraped} of {seconds} s", scrapes.len());
        Ok(Self { ends, seconds, scraped })
    }

    fn rate(&self, of: &str) -> String {
        sum(&format!("rate({of}[{}ms])", (self.seconds * 1e3).round()))
    }

    /// All was sent between two scrapes of the window. rate() takes that for what happened in the time between them, or for
    /// more up to the whole window, and divides by the window.
    pub(super) fn rates(&self, watched: &Watched, counted: &[Counted; 2]) -> Result<()> {
        let (all, errors) =
            (self.rate(&of_requests("source", "")), self.rate(&of_requests("source", ",response_code=~\"5..\"")));
        let stretch = self.seconds / self.scraped;
        let ratio = format!("{errors} / {all}");
        let sent = counted.each_ref().map(Counted::all);
        let failed = counted.each_ref().map(Counted::errors);
        let per_second = |count: f64| (count / self.seconds, count / self.scraped);
        self.within(watched, &all, sent.map(per_second))?;
        self.within(watched, &errors, failed.map(per_second))?;
        let shares = [failed[0] / sent[0], failed[1] / sent[1]];
        self.within(watched, &ratio, shares.map(|share| (share / stretch, share * stretch)))
    }

    /// A response that the server delays took longer than that at the agent, and shorter than at the client.
    pub(super) fn latency(&self, watched: &Watched, counted: &[Counted; 2]) -> Result<()> {
        // Of requests that were given up the agent knows only later that they were.
        let answered = of_requests("source", ",response_code!=\"0\"")
            .replace("istio_requests_total", "istio_request_duration_milliseconds_bucket");
        let of_rates = self.rate(&answered).replace("(source_workload)", "(source_workload, le)");
        let mut bounds = [(0.0, 0.0); 2];
        for (bounds, (counted, load)) in bounds.iter_mut().zip(counted.iter().zip([OF_CLIENT, OF_NEAR])) {
            let above =
                BOUNDS.into_iter().rfind(|bound| *bound <= f64::from(load.delay_ms)).context("a range below")?;
            *bounds = (above, counted.p99_at_most()?);
        }
        self.within(watched, &format!("histogram_quantile(0.99, {of_rates})"), bounds)
    }

    fn within(&self, watched: &Watched, expression: &str, bounds: [(f64, f64); 2]) -> Result<()> {
        let found = watched.prometheus.by("source_workload", expression, self.ends)?;
        for (workload, (low, high)) in ["client", "near"].into_iter().zip(bounds) {
            let value = found.get(workload).with_context(|| format!("no {workload} in `{expression}`: {found:?}"))?;
            // Numbers are sums of fractions.
            let is_within = (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(value);
            ensure!(is_within, "`{expression}` of {workload} is {value}, not between {low} and {high}");
        }
        ensure!(found.len() == bounds.len(), "{found:?}");
        Ok(())
    }
}
