//! The output of a running program as lines, read by a thread per stream.
//!
//! Kept up to a bound: the oldest lines go first, and are counted. Bytes that are not UTF-8 are replaced.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Bytes of output kept per stream: enough for the access log of some ten thousand connections.
const KEPT: usize = 16 << 20;

/// The lines of one stream, filled by a thread of its own.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<(Mutex<Kept>, Condvar)>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    lost: usize,
    ended: bool,
}

impl Lines {
    pub(super) fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let filled = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                filled.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            filled.0.0.lock().ended = true;
            filled.0.1.notify_all();
        });
        lines
    }

    fn push(&self, line: String) {
        let mut kept = self.0.0.lock();
        kept.bytes += line.len();
        kept.lines.push_back(line);
        while kept.bytes > KEPT {
            let Some(old) = kept.lines.pop_front() else { break };
            kept.bytes -= old.len();
            kept.lost += 1;
        }
        self.0.1.notify_all();
    }

    pub(super) fn all(&self) -> Vec<String> {
        let kept = self.0.0.lock();
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_line_that_comes_before_or_after_the_wait_is_found() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let lines = Lines::of(reader);
        std::io::Write::write_all(&mut writer, b"early\nmore\n").unwrap();
        assert_eq!(lines.wait(Duration::from_secs(5), &|l| l == "early").as_deref(), Some("early"));
        assert_eq!(lines.wait(Duration::from_millis(10), &|l| l == "late"), None);
        std::io::Write::write_all(&mut writer, b"late").unwrap();
        drop(writer);
        assert_eq!(lines.wait(Duration::from_secs(5), &|l| l == "late").as_deref(), Some("late"));
        assert_eq!(lines.rest(), ["early", "more", "late"]);
    }

    #[test]
    fn the_oldest_lines_go_first_and_are_counted() {
        let line = "x".repeat(1 << 20);
        let text = (0..20).map(|n| format!("{n} {line}\n")).collect::<String>();
        let lines = Lines::of(std::io::Cursor::new(text)).rest();
        assert_eq!(lines.first().map(String::as_str), Some("(5 older lines were dropped)"));
        assert_eq!(lines.len(), 16);
    }
}
