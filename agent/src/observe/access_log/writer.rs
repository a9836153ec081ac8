//! The bounded queue of stories and the one thread that writes them.

use std::{
    io::{self, Write},
    iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus::IntCounter;

use super::{
    AccessLogDefault, AccessLogOutput, AccessLogSettings, Failed, LineEvent, LogFormat, Story,
    rate::{Rate, SAY_EVERY},
};
use crate::observe::{flush::flush, recent::Recent};

/// Stories that wait for the writer: a burst of this many connections or requests ends without a lost line, at about
/// 5 MB, and 15 MB where clients send the longest texts that are kept.
const QUEUE: usize = 8192;

/// Lines written at once, at most.
const BATCH: usize = 256;
/// Bytes of lines for which there is always room; what many lines at once took beyond it is given back.
const ROOM: usize = 16 * 1024;

/// How long the writer sleeps once there is something to write. Who ends a request meanwhile need not wake it, which under load
/// costs more than the line itself (measured with `cargo xtask bench --case l7-http-16`).
const GATHER: Duration = Duration::from_millis(10);

/// A failing output is reported once per this time, not once per line.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The data threads' end of the queue.
#[derive(Debug)]
pub(in crate::observe) struct AccessLog {
    queue: SyncSender<Message>,
    unwritten: Unwritten,
    rate: Option<Arc<Rate>>,
    on: AtomicBool,
    /// What it was started with.
    pub(in crate::observe) settings: AccessLogSettings,
    recent: Recent,
}

/// Where lines that are not written are counted.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Unwritten {
    /// The queue was full, or the output failed.
    pub(in crate::observe) dropped: IntCounter,
    /// There were too many.
    pub(in crate::observe) over_rate: IntCounter,
}

#[derive(Debug)]
enum Message {
    Story(Arc<Story>),
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Starts the writer thread. It ends when the last handle is gone and the queue is written.
    pub(in crate::observe) fn start(to: AccessLogOutput, unwritten: Unwritten) -> io::Result<Self> {
        Self::with_queue(to, unwritten, QUEUE)
    }

    pub(in crate::observe) fn with_queue(to: AccessLogOutput, unwritten: Unwritten, size: usize) -> io::Result<Self> {
        let (queue, stories) = sync_channel(size);
        let AccessLogOutput { format, output, settings } = to;
        let recent = Recent::new(settings.remembered);
        let rate = settings.rate.map(|rate| Arc::new(Rate::new(rate, Instant::now())));
        let (dropped, reported, ended) = (unwritten.dropped.clone(), None, Vec::with_capacity(BATCH));
        let writer = Writer { format, output, dropped, rate: rate.clone(), reported, recent: recent.clone(), ended };
        thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&stories))?;
        Ok(Self { queue, unwritten, rate, on: AtomicBool::new(settings.on), settings, recent })
    }

    /// Whether lines are written.
    pub(in crate::observe) fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Whether there are lines of what no document is about.
    pub(in crate::observe) fn default(&self) -> AccessLogDefault {
        if self.is_on() { AccessLogDefault::On } else { AccessLogDefault::Off }
    }

    /// What begins from now on has lines, or has none, where no document says otherwise. Of what is open nothing more is told until
    /// its end.
    pub(in crate::observe) fn turn(&self, on: bool) {
        self.on.store(on, Relaxed);
    }

    /// The last requests.
    pub(in crate::observe) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Whether the rate allows one more line. One that it does not is counted.
    pub(in crate::observe) fn admits(&self, failed: Failed) -> bool {
        let admitted = self.rate.as_ref().is_none_or(|rate| rate.admits(failed == Failed::Yes, Instant::now()));
        if !admitted {
            self.unwritten.over_rate.inc();
        }
        admitted
    }

    /// Hands a story over. Never waits: with a full queue the line is lost and counted.
    pub(in crate::observe) fn push(&self, story: impl Into<Arc<Story>>) {
        if self.queue.try_send(Message::Story(story.into())).is_err() {
            self.unwritten.dropped.inc();
        }
    }

    /// Waits until all that was pushed before is written, at most `patience`. Whether it is.
    pub(in crate::observe) fn flush(&self, patience: Duration) -> bool {
        flush(&self.queue, Message::Flush, patience)
    }
}

struct Writer {
    format: LogFormat,
    output: Box<dyn Write + Send>,
    dropped: IntCounter,
    rate: Option<Arc<Rate>>,
    reported: Option<Instant>,
    recent: Recent,
    /// The ends that the batch tells which is being written.
    ended: Vec<Arc<Story>>,
}

impl Writer {
    fn run(mut self, stories: &Receiver<Message>) {
        let (mut lines, mut scratch) = (Vec::new(), String::new());
        while let Some(first) = self.next(stories) {
            if matches!(first, Message::Story(_)) {
                thread::sleep(GATHER);
            }
            let mut messages = iter::once(first).chain(stories.try_iter()).peekable();
            while messages.peek().is_some() {
                self.write_batch(messages.by_ref().take(BATCH), &mut lines, &mut scratch);
            }
            lines.shrink_to(ROOM);
        }
    }

    /// The next message. While it waits it says what was left out, once it is time. `None` at the end.
    fn next(&mut self, stories: &Receiver<Message>) -> Option<Message> {
        let Some(rate) = &self.rate else { return stories.recv().ok() };
        loop {
            say_left_out(rate);
            match stories.recv_timeout(SAY_EVERY) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn write_batch(&mut self, messages: impl Iterator<Item = Message>, lines: &mut Vec<u8>, scratch: &mut String) {
        let (mut waiting, mut count) = (Vec::new(), 0);
        for message in messages {
            match message {
                Message::Story(story) => {
                    story.write(self.format, lines, scratch);
                    count += 1;
                    if story.event == LineEvent::End && story.has_ids() {
                        self.ended.push(story);
                    }
                }
                Message::Flush(done) => waiting.push(done),
            }
        }
        self.write(lines, count);
        lines.clear();
        self.recent.keep(&mut self.ended);
        // One whose patience is over does not wait any more.
        for done in waiting {
            let _ = done.try_send(());
        }
    }

    /// A broken pipe or a full disk costs this batch, and is tried again with the next.
    fn write(&mut self, lines: &[u8], count: u64) {
        let Err(error) = self.output.write_all(lines).and_then(|()| self.output.flush()) else { return };
        self.dropped.inc_by(count);
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            self.reported = Some(Instant::now());
            tracing::warn!(
                "writing {count} access log lines failed: {error}; they are lost and counted in \
                 heddle_access_log_dropped_total; check what standard output is connected to"
            );
        }
    }
}

fn say_left_out(rate: &Rate) {
    let Some(count) = rate.unsaid(Instant::now()) else { return };
    tracing::warn!(
        "left {count} access log lines out: more came than log.accessRate allows; they are counted in \
         heddle_access_log_left_out_total"
    );
}
