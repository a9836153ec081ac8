//! The bounded queue of lines of the agent's own log, and the one thread that writes them: whoever has something to say never
//! waits for whoever reads it.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use super::flush::flush;

/// Lines that wait for the writer, some hundred bytes each: what fails alike is said once, and a start says some dozens.
const QUEUE: usize = 1024;

/// The end of the queue that everybody has.
#[derive(Debug)]
pub(super) struct LogWriter {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl LogWriter {
    /// Starts the writer thread.
    pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let dropped = Arc::<AtomicU64>::default();
        let lost = Arc::clone(&dropped);
        thread::Builder::new().name("log".to_owned()).spawn(move || run(output, &messages, &lost))?;
        Ok(Self { queue, dropped })
    }

    /// Lines that were lost because the queue was full or the output failed.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until all that was said before is written, at most `patience`; whether it is. Blocks.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        flush(&self.queue, Message::Flush, patience)
    }
}

fn run(mut output: impl Write, messages: &Receiver<Message>, dropped: &AtomicU64) {
    for message in messages {
        match message {
            Message::Line(line) => {
                // There is nobody to tell it to.
                if output.write_all(&line).and_then(|()| output.flush()).is_err() {
                    dropped.fetch_add(1, Relaxed);
                }
            }
            // One whose patience is over does not wait any more.
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// An event is written at once, as one line.
impl Write for &LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use parking_lot::Mutex;
    use tracing_subscriber::{fmt, prelude::*};

    use super::*;

    /// Takes nothing while its lock is held.
    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_says_something_never_waits_and_what_is_lost_is_counted() {
        let output = Output::default();
        let writer = Arc::new(LogWriter::start(output.clone()).unwrap());
        let layer = fmt::layer().with_ansi(false).without_time().with_writer(Arc::clone(&writer));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let stuck = output.0.lock();
            (0..2 * QUEUE).for_each(|number| tracing::info!("line {number}"));
            assert!(!writer.flush(Duration::from_millis(20)), "nothing can be written");
            drop(stuck);
            assert!(writer.flush(Duration::from_secs(10)));
            let text = String::from_utf8(output.0.lock().clone()).unwrap();
            let numbers: Vec<u32> =
                text.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
            // One has left the queue, at some time, to be written.
            let kept = numbers.len();
            assert!((QUEUE..=QUEUE + 1).contains(&kept), "{kept} lines");
            assert_eq!(writer.dropped(), (2 * QUEUE - kept) as u64);
            assert!(
                numbers.is_sorted() && numbers[..QUEUE].iter().zip(0..).all(|(number, expected)| *number == expected)
            );
            tracing::error!("the last");
            assert!(writer.flush(Duration::from_secs(10)));
            assert!(String::from_utf8_lossy(&output.0.lock()).ends_with("the last\n"));
        });
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let writer = LogWriter::start(Gone).unwrap();
        (&writer).write_all(b"lost\n").unwrap();
        assert!(writer.flush(Duration::from_secs(10)));
        assert_eq!(writer.dropped(), 1);
    }
}
