//! The body that a client sends: text, or a pattern of a given length, in parts, while the answer is read.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;

use super::part_of_pattern;
use super::report::Ask;

/// The parts of the body of a request.
pub(super) struct Parts {
    text: Option<Bytes>,
    at: u64,
    total: u64,
    pause: Duration,
}

impl Parts {
    pub(super) fn of(ask: &Ask) -> Self {
        let text = (!ask.body.is_empty()).then(|| Bytes::from(ask.body.clone()));
        Self { text, at: 0, total: ask.body_bytes, pause: Duration::from_millis(ask.send_every_ms) }
    }

    /// The next part, and nothing after the last.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if let Some(text) = self.text.take() {
            return Some(text);
        }
        if self.at >= self.total {
            return None;
        }
        if self.at > 0 && !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        let part = part_of_pattern(self.at, self.total);
        self.at += part.len() as u64;
        Some(part.into())
    }
}

/// How long the body of a request is.
pub(super) fn length(ask: &Ask) -> u64 {
    if ask.body.is_empty() { ask.body_bytes } else { ask.body.len() as u64 }
}

/// Sends and reads, until what is read has ended; a server may answer before it has the whole body. Whether all was sent,
/// and what reading told.
pub(super) async fn at_once<E, T>(
    sending: impl Future<Output = Result<bool, E>>,
    reading: impl Future<Output = T>,
) -> (bool, T) {
    let (mut sending, mut reading) = (pin!(sending), pin!(reading));
    let mut sent = None;
    loop {
        tokio::select! {
            done = &mut sending, if sent.is_none() => sent = Some(done),
            done = &mut reading => return (matches!(sent, Some(Ok(true))), done),
        }
    }
}
