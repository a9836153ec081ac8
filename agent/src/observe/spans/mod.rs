//! Spans: what happened to a request, told to a collector of OpenTelemetry, as a part of the trace that the request belongs to.
//!
//! In: the stories of requests that are recorded, when they end. Out: OTLP, over gRPC or HTTP. A data thread hands a story
//! over without waiting; a thread of its own makes spans of them, in batches. A collector that is slow or gone costs spans,
//! which are counted, and never a request. Which requests are recorded is decided in `trace_context`.

mod attributes;
mod batch;
mod export;
mod otlp;
mod protocol;
mod status;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    sync::{Arc, mpsc as blocking},
    thread,
    time::Duration,
};

use prometheus::IntCounter;
use tokio::{
    runtime::Builder,
    sync::{mpsc, watch},
    time::Instant,
};

use self::{
    batch::Finished,
    export::{Counts, Deliver, Exporter},
    otlp::Collector,
};
use super::{
    access_log::Story,
    metrics::{ClosedLabel, Metrics, SpanDropReason, SpanExportResult},
    trace_context::SpanIds,
};
use crate::{config::OtlpConfig, rules::value::Percentage};

pub(super) use status::is_failure;
pub use status::is_servers_fault;

/// Spans that wait for the exporter: what ends at 40,000 requests a second while one batch is gathered, or what a collector
/// may be late for at a thousandth of that; about 5 MB, and 15 MB where clients send the longest texts that are kept.
const QUEUE: usize = 8192;

/// How spans are exported, and of what.
#[derive(Clone, Debug)]
pub struct SpanOutput {
    /// Where to, and how.
    pub otlp: OtlpConfig,
    /// Of the requests that nobody has decided over, where no document says another share.
    pub share: Percentage,
    /// This node, as the resource of a span names it.
    pub node: Arc<str>,
}

/// The data threads' end of the queue.
pub(super) struct Spans {
    share: Percentage,
    queue: mpsc::Sender<Finished>,
    full: IntCounter,
    /// Until when the exporter may go on, once the agent ends.
    end: watch::Sender<Option<Instant>>,
    ended: parking_lot::Mutex<blocking::Receiver<()>>,
}

impl Spans {
    /// Starts the exporter's thread. It connects when there is something to tell.
    pub(super) fn start(output: &SpanOutput, cluster: Arc<str>, metrics: &Metrics) -> io::Result<Self> {
        let collector = Collector::new(output.otlp.clone());
        let (spans, exporter) = Self::with_queue(output, cluster, collector, metrics, QUEUE);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("spans".to_owned()).spawn(move || runtime.block_on(exporter.run()))?;
        Ok(spans)
    }

    fn with_queue<C: Deliver>(
        output: &SpanOutput,
        cluster: Arc<str>,
        collector: C,
        metrics: &Metrics,
        size: usize,
    ) -> (Self, Exporter<C>) {
        let (queue, finished) = mpsc::channel(size);
        let (end, ending) = watch::channel(None);
        let (done, ended) = blocking::sync_channel(1);
        let counts = Counts {
            exported: metrics.spans_exported.clone(),
            dropped: SpanDropReason::ALL.iter().map(|reason| metrics.spans_dropped.of(*reason).clone()).collect(),
            exports: SpanExportResult::ALL.iter().map(|result| metrics.span_exports.of(*result).clone()).collect(),
        };
        let place = batch::Place { node: Arc::clone(&output.node), cluster };
        let exporter = Exporter::new(finished, ending, done, collector, place, counts);
        let full = metrics.spans_dropped.of(SpanDropReason::QueueFull).clone();
        (Self { share: output.share, queue, full, end, ended: parking_lot::Mutex::new(ended) }, exporter)
    }

    /// Of the requests that nobody has decided over, where no document says another share.
    pub(super) fn share(&self) -> Percentage {
        self.share
    }

    /// Hands a story over. Never waits: with a full queue the span is lost and counted.
    pub(super) fn push(&self, ids: Box<SpanIds>, story: Arc<Story>) {
        if self.queue.try_send(Finished { ids, story }).is_err() {
            self.full.inc();
        }
    }

    /// How many wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Ends the exporter, once it has told what was pushed before or its patience is over; whether it has ended. Blocks. What
    /// is pushed later is lost.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        self.end.send_replace(Some(Instant::now() + patience));
        // Beyond its patience the exporter only has to count what it leaves.
        self.ended.lock().recv_timeout(patience + Duration::from_millis(200)).is_ok()
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spans").field("share", &self.share).finish_non_exhaustive()
    }
}
