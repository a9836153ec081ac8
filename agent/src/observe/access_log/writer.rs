//! The bounded queue of stories and the one thread that writes them.

use std::{
    io::{self, Write},
    iter,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use prometheus::IntCounter;

use super::{AccessLogOutput, LogFormat, Story};
use crate::observe::{recent::Recent, recordings::Recordings};

/// Stories that wait for the writer: a burst of this many connections or requests ends without a lost line, at about
/// 5 MB, and 15 MB where clients send the longest texts that are kept.
const QUEUE: usize = 8192;

/// Lines written at once, at most.
const BATCH: usize = 256;

/// How long the writer sleeps once there is something to write. Who ends a request meanwhile need not wake it, which under load
/// costs more than the line itself (measured with `cargo xtask bench --case l7-http-16`).
const GATHER: Duration = Duration::from_millis(10);

/// A failing output is reported once per this time, not once per line.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The data threads' end of the queue.
#[derive(Debug)]
pub(in crate::observe) struct AccessLog {
    queue: SyncSender<Message>,
    dropped: IntCounter,
    recent: Recent,
    recordings: Recordings,
}

#[derive(Debug)]
enum Message {
    Story(Box<Story>),
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Starts the writer thread. It ends when the last handle is gone and the queue is written.
    pub(in crate::observe) fn start(to: AccessLogOutput, dropped: IntCounter) -> io::Result<Self> {
        Self::with_queue(to, dropped, QUEUE)
    }

    pub(in crate::observe) fn with_queue(to: AccessLogOutput, dropped: IntCounter, size: usize) -> io::Result<Self> {
        let (queue, stories) = sync_channel(size);
        let (recent, recordings) = (Recent::new(to.remembered), Recordings::default());
        let writer = Writer {
            format: to.format,
            output: to.output,
            dropped: dropped.clone(),
            reported: None,
            recent: recent.clone(),
            recordings: recordings.clone(),
            written: Vec::with_capacity(BATCH),
        };
        thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&stories))?;
        Ok(Self { queue, dropped, recent, recordings })
    }

    /// What is recorded.
    pub(in crate::observe) fn recordings(&self) -> &Recordings {
        &self.recordings
    }

    /// The last ends.
    pub(in crate::observe) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Hands a story over. Never waits: with a full queue the line is lost and counted.
    pub(in crate::observe) fn push(&self, story: Story) {
        if self.queue.try_send(Message::Story(Box::new(story))).is_err() {
            self.dropped.inc();
        }
    }

    /// Waits until all that was pushed before is written, at most `patience`. Whether it is.
    pub(in crate::observe) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (done, written) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(error) = self.queue.try_send(message) {
            match error {
                TrySendError::Full(back) if Instant::now() < deadline => message = back,
                TrySendError::Full(_) | TrySendError::Disconnected(_) => return false,
            }
            thread::sleep(Duration::from_millis(5));
        }
        written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

struct Writer {
    format: LogFormat,
    output: Box<dyn Write + Send>,
    dropped: IntCounter,
    reported: Option<Instant>,
    recent: Recent,
    recordings: Recordings,
    /// The stories of the batch that is being written.
    written: Vec<Story>,
}

impl Writer {
    fn run(mut self, stories: &Receiver<Message>) {
        let (mut lines, mut scratch) = (Vec::new(), String::new());
        while let Ok(first) = stories.recv() {
            if matches!(first, Message::Story(_)) {
                thread::sleep(GATHER);
            }
            let mut messages = iter::once(first).chain(stories.try_iter()).peekable();
            while messages.peek().is_some() {
                self.write_batch(messages.by_ref().take(BATCH), &mut lines, &mut scratch);
            }
        }
    }

    fn write_batch(&mut self, messages: impl Iterator<Item = Message>, lines: &mut Vec<u8>, scratch: &mut String) {
        let (mut waiting, mut count) = (Vec::new(), 0);
        lines.clear();
        for message in messages {
            match message {
                Message::Story(story) => {
                    story.write(self.format, lines, scratch);
                    self.written.push(*story);
                    count += 1;
                }
                Message::Flush(done) => waiting.push(done),
            }
        }
        self.write(lines, count);
        self.recordings.add(&self.written, Instant::now());
        self.recent.keep(&mut self.written);
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
