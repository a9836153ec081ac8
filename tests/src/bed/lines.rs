//! The output of a running program as lines, read by a thread per stream and by whoever asks for them.
//!
//! Whoever asks gets all that was printed before, also what the thread did not come to read yet: a test that has an
//! answer finds what the server printed before it answered. Kept up to a bound: the oldest lines go first, and are
//! counted. Bytes that are not UTF-8 are replaced.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionread};

/// Bytes of output kept per stream: enough for the access log of some ten thousand connections.
const KEPT: usize = 16 << 20;

/// The lines of one stream, filled by a thread of its own.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<(Mutex<Kept>, Condvar)>);

#[derive(Debug)]
struct Kept {
    stream: PipeReader,
    /// What was read after the last whole line.
    begun: Vec<u8>,
    lines: VecDeque<String>,
    bytes: usize,
    lost: usize,
    ended: bool,
}

impl Lines {
    pub(super) fn of(stream: impl Into<OwnedFd>) -> io::Result<Self> {
        let stream = PipeReader::from(stream.into());
        let watched = stream.try_clone()?;
        let kept = Kept { stream, begun: Vec::new(), lines: VecDeque::new(), bytes: 0, lost: 0, ended: false };
        let lines = Self(Arc::new((Mutex::new(kept), Condvar::new())));
        let filled = lines.clone();
        std::thread::spawn(move || while filled.fill(&watched) {});
        Ok(lines)
    }

    /// Waits for more, without which there is nothing to do under the lock; false at the end.
    fn fill(&self, watched: &PipeReader) -> bool {
        let mut events = [PollFd::new(watched, PollFlags::IN)];
        let waited = poll(&mut events, None);
        let mut kept = self.0.0.lock();
        let read = kept.read();
        // Once all its writers are gone, nothing follows what was there.
        let gone = events[0].revents().intersects(PollFlags::HUP | PollFlags::ERR);
        if gone || read.is_err() || waited.is_err_and(|error| error != Errno::INTR) {
            kept.end();
        }
        self.0.1.notify_all();
        !kept.ended
    }

    pub(super) fn all(&self) -> Vec<String> {
        let mut kept = self.0.0.lock();
        // What cannot be read ends the thread.
        let _ = kept.read();
        let lost = (kept.lost > 0).then(|| format!("({} older lines were dropped)", kept.lost));
        lost.into_iter().chain(kept.lines.iter().cloned()).collect()
    }

    /// All lines once the stream ended, for which a finished program needs at most the time to read its pipe.
    pub(super) fn rest(&self) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut kept = self.0.0.lock();
        while !kept.ended && !self.0.1.wait_until(&mut kept, deadline).timed_out() {}
        drop(kept);
        self.all()
    }

    pub(super) fn ended(&self) -> bool {
        self.0.0.lock().ended
    }

    pub(super) fn wait(&self, within: Duration, wanted: &dyn Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + within;
        let mut kept = self.0.0.lock();
        // Lines dropped from the front shift the index of those not looked at yet.
        let mut looked_at = 0usize;
        loop {
            let fresh = looked_at.saturating_sub(kept.lost);
            if let Some(line) = kept.lines.iter().skip(fresh).find(|line| wanted(line)) {
                return Some(line.clone());
            }
            looked_at = kept.lost + kept.lines.len();
            if kept.ended || self.0.1.wait_until(&mut kept, deadline).timed_out() {
                // A line may have come together with the end or the timeout.
                let fresh = looked_at.saturating_sub(kept.lost);
                return kept.lines.iter().skip(fresh).find(|line| wanted(line)).cloned();
            }
        }
    }
}

impl Kept {
    /// Takes in what is in the pipe now, and waits for nothing: whoever reads holds the lock.
    fn read(&mut self) -> io::Result<()> {
        let there = ioctl_fionread(&self.stream)?;
        (&self.stream).take(there).read_to_end(&mut self.begun)?;
        let begun = std::mem::take(&mut self.begun);
        let mut lines = begun.split(|byte| *byte == b'\n');
        let unfinished = lines.next_back().unwrap_or_default();
        for line in lines {
            self.push(line);
        }
        self.begun = unfinished.to_vec();
        Ok(())
    }

    fn end(&mut self) {
        let unfinished = std::mem::take(&mut self.begun);
        if !unfinished.is_empty() {
            self.push(&unfinished);
        }
        self.ended = true;
    }

    fn push(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > KEPT {
            let Some(old) = self.lines.pop_front() else { break };
            self.bytes -= old.len();
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::io::Write;

    use super::*;

    #[test]
    fn a_line_that_comes_before_or_after_the_wait_is_found() {
        let (reader, mut writer) = io::pipe().unwrap();
        let lines = Lines::of(reader).unwrap();
        writer.write_all(b"early\nmore\n").unwrap();
        assert_eq!(lines.wait(Duration::from_secs(5), &|l| l == "early").as_deref(), Some("early"));
        assert_eq!(lines.wait(Duration::from_millis(10), &|l| l == "late"), None);
        writer.write_all(b"late").unwrap();
        drop(writer);
        assert_eq!(lines.wait(Duration::from_secs(5), &|l| l == "late").as_deref(), Some("late"));
        assert_eq!(lines.rest(), ["early", "more", "late"]);
    }

    #[test]
    fn what_was_printed_is_there_at_once() {
        let (reader, mut writer) = io::pipe().unwrap();
        let lines = Lines::of(reader).unwrap();
        for n in 1..=2_000 {
            writer.write_all(b"half a ").unwrap();
            writer.write_all(b"line\n").unwrap();
            assert_eq!(lines.all().len(), n);
        }
        assert!(lines.all().iter().all(|line| line == "half a line"));
    }

    #[test]
    fn the_oldest_lines_go_first_and_are_counted() {
        let (reader, mut writer) = io::pipe().unwrap();
        let lines = Lines::of(reader).unwrap();
        let line = "x".repeat(1 << 20);
        for n in 0..20 {
            writer.write_all(format!("{n} {line}\n").as_bytes()).unwrap();
        }
        drop(writer);
        let lines = lines.rest();
        assert_eq!(lines.first().map(String::as_str), Some("(5 older lines were dropped)"));
        assert_eq!(lines.len(), 16);
    }
}
