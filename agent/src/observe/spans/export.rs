//! The loop of the exporter: gathers spans, sends them, and tries again what may be tried again, within bounds.
//!
//! One batch is under way at a time. What it waits for fills the queue, and beyond the queue spans are lost and counted: memory
//! has a bound, whatever the collector does.

use std::{future::Future, sync::mpsc as blocking, time::Duration};

use bytes::Bytes;
use prometheus::IntCounter;
use prost::Message;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{
    batch::{Finished, Place, request},
    otlp::{Again, ExportError},
};
use crate::observe::metrics::{ClosedLabel, SpanDropReason, SpanExportResult};

/// Spans of one request to the collector: what OpenTelemetry's own exporters send, about half a megabyte.
const BATCH: usize = 512;

/// How long spans are gathered, so that a request under little load need not wake the exporter, nor a collector be asked for each.
const GATHER: Duration = Duration::from_millis(200);

/// Between tries of one batch: doubles from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a batch is tried again. A collector that is started anew takes less; what is newer is worth more after that.
const TRIED_FOR: Duration = Duration::from_secs(30);

/// A collector that fails is reported once per this time, not once per batch.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Whoever takes batches.
pub(super) trait Deliver {
    /// Sends a request once. How many of its spans the collector did not want.
    fn deliver(&mut self, request: Bytes) -> impl Future<Output = Result<u64, ExportError>> + Send;
}

/// What is counted.
pub(super) struct Counts {
    pub(super) exported: IntCounter,
    /// By [`SpanDropReason`].
    pub(super) dropped: Box<[IntCounter]>,
    /// By [`SpanExportResult`].
    pub(super) exports: Box<[IntCounter]>,
}

/// The loop.
pub(super) struct Exporter<C> {
    finished: mpsc::Receiver<Finished>,
    ending: watch::Receiver<Option<Instant>>,
    done: blocking::SyncSender<()>,
    collector: C,
    place: Place,
    counts: Counts,
    reported: Option<Instant>,
}

impl<C: Deliver> Exporter<C> {
    pub(super) fn new(
        finished: mpsc::Receiver<Finished>,
        ending: watch::Receiver<Option<Instant>>,
        done: blocking::SyncSender<()>,
        collector: C,
        place: Place,
        counts: Counts,
    ) -> Self {
        Self { finished, ending, done, collector, place, counts, reported: None }
    }

    /// Exports until the agent ends.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.next().await {
            let mut batch = vec![first];
            self.or_end(sleep(GATHER)).await;
            while !batch.is_empty() {
                self.fill(&mut batch);
                self.export(&batch).await;
                batch.clear();
                self.fill(&mut batch);
            }
        }
        self.finish().await;
        // Whoever waits for the end may have lost patience.
        let _ = self.done.try_send(());
    }

    /// The next span, however long it takes; `None` when the agent ends.
    async fn next(&mut self) -> Option<Finished> {
        tokio::select! {
            biased;
            _ = ended(&mut self.ending) => None,
            next = self.finished.recv() => next,
        }
    }

    /// Waits for something, or for the agent's end.
    async fn or_end(&mut self, something: impl Future<Output = ()>) {
        tokio::select! {
            _ = ended(&mut self.ending) => {}
            () = something => {}
        }
    }

    fn fill(&mut self, batch: &mut Vec<Finished>) {
        while batch.len() < BATCH {
            let Ok(next) = self.finished.try_recv() else { return };
            batch.push(next);
        }
    }

    /// What was handed over before the end, as far as there is time.
    async fn finish(&mut self) {
        self.finished.close();
        loop {
            let mut batch = Vec::new();
            self.fill(&mut batch);
            if batch.is_empty() {
                return;
            }
            self.export(&batch).await;
        }
    }

    async fn export(&mut self, batch: &[Finished]) {
        let request = Bytes::from(request(batch, &self.place).encode_to_vec());
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            if self.time_is_up() {
                return self.lose(SpanDropReason::Shutdown, batch.len());
            }
            let error = match self.once(request.clone()).await {
                Ok(unwanted) => return self.delivered(batch.len() as u64, unwanted),
                Err(error) => error,
            };
            self.count_try(error.result());
            let wait = match error.again() {
                Again::Never => {
                    self.report(&error, batch.len());
                    return self.lose(SpanDropReason::Refused, batch.len());
                }
                Again::Now => Duration::ZERO,
                Again::Later => jittered(pause),
                // A collector may ask for any time; beyond this one it is as good as never.
                Again::After(wait) => wait.max(jittered(pause)).min(TRIED_FOR * 2),
            };
            self.report(&error, batch.len());
            if began.elapsed() + wait > TRIED_FOR {
                return self.lose(SpanDropReason::Unreachable, batch.len());
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            match *self.ending.borrow() {
                None => {}
                Some(until) if Instant::now() + wait < until => {}
                Some(_) => return self.lose(SpanDropReason::Shutdown, batch.len()),
            }
            self.pause(wait).await;
        }
    }

    /// One try, cut off when the agent has no more time.
    async fn once(&mut self, request: Bytes) -> Result<u64, ExportError> {
        let Self { collector, ending, .. } = self;
        let delivery = collector.deliver(request);
        let out_of_time = async {
            let until = ended(ending).await;
            tokio::time::sleep_until(until).await;
        };
        tokio::select! {
            biased;
            delivered = delivery => delivered,
            () = out_of_time => Err(ExportError::Ended),
        }
    }

    /// The end of the agent cuts a pause short that began before it; one that began after it fits into what is left.
    async fn pause(&mut self, wait: Duration) {
        let is_ending = self.ending.borrow().is_some();
        match is_ending {
            true => sleep(wait).await,
            false => self.or_end(sleep(wait)).await,
        }
    }

    fn time_is_up(&self) -> bool {
        self.ending.borrow().is_some_and(|until| Instant::now() >= until)
    }

    fn delivered(&self, spans: u64, unwanted: u64) {
        let unwanted = unwanted.min(spans);
        self.count_try(if unwanted == 0 { SpanExportResult::Ok } else { SpanExportResult::Partial });
        self.counts.exported.inc_by(spans - unwanted);
        self.dropped(SpanDropReason::Refused).inc_by(unwanted);
    }

    fn lose(&self, reason: SpanDropReason, spans: usize) {
        self.dropped(reason).inc_by(spans as u64);
    }

    fn dropped(&self, reason: SpanDropReason) -> &IntCounter {
        &self.counts.dropped[reason.index()]
    }

    fn count_try(&self, result: SpanExportResult) {
        self.counts.exports[result.index()].inc();
    }

    fn report(&mut self, error: &ExportError, spans: usize) {
        if !error.is_news() || self.reported.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
            return;
        }
        self.reported = Some(Instant::now());
        tracing::warn!(
            "exporting {spans} spans failed: {error}; spans that are lost are counted in heddle_spans_dropped_total; check \
             tracing.otlp of agent.yaml, and the collector"
        );
    }
}

/// Waits until the agent ends; until when there is time then.
async fn ended(ending: &mut watch::Receiver<Option<Instant>>) -> Instant {
    match ending.wait_for(Option::is_some).await {
        Ok(until) => until.unwrap_or_else(Instant::now),
        // Nobody is left who could push a span, nor wait for the end.
        Err(_) => Instant::now(),
    }
}

/// Between a half and the whole: agents that lost one collector do not come back to it together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Cuts a step of an export off at a moment.
pub(super) async fn within<T>(
    deadline: Instant,
    after: Duration,
    step: impl Future<Output = Result<T, ExportError>>,
) -> Result<T, ExportError> {
    timeout_at(deadline, step).await.unwrap_or(Err(ExportError::TimedOut(after)))
}
