//! The access log: one line per connection or HTTP request at its end, and from time to time one of each that is open for long.
//!
//! Data threads hand finished stories over without waiting; one writer thread makes lines of them and writes in batches. A full
//! queue or a failing output costs lines, and so does a flood of them; they are counted, and never cost a connection.

mod line;
mod rate;
mod request;
mod writer;

pub use line::{FIELDS, Field, timestamp};
pub(super) use line::{LineEvent, Story};
pub(super) use request::RequestStory;
pub(super) use writer::{AccessLog, Unwritten};

use std::{io::Write, num::NonZeroU32, time::Duration};

/// How lines look, in the access log and in the process log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `name=value` pairs.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Where access log lines go, and how they look.
pub struct AccessLogOutput {
    /// Text or JSON.
    pub format: LogFormat,
    /// Standard output in production.
    pub output: Box<dyn Write + Send>,
    /// What is written.
    pub settings: AccessLogSettings,
}

/// What the access log has lines for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Whether it has any, to begin with.
    pub on: bool,
    /// How often it has one of each connection that is open; `None` for only at its end.
    pub long_connections: Option<Duration>,
    /// How many a second, at most; `None` for any number.
    pub rate: Option<NonZeroU32>,
}

impl Default for AccessLogSettings {
    /// A line of everything, at its end.
    fn default() -> Self {
        Self { on: true, long_connections: None, rate: None }
    }
}

impl AccessLogOutput {
    /// The access log on standard output.
    pub fn stdout(format: LogFormat, settings: AccessLogSettings) -> Self {
        Self { format, output: Box::new(std::io::stdout()), settings }
    }
}

impl std::fmt::Debug for AccessLogOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLogOutput").field("format", &self.format).finish_non_exhaustive()
    }
}
