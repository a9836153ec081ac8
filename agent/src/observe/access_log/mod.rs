//! The access log: one line per connection or HTTP request at its end.
//!
//! Data threads hand finished stories over without waiting; one writer thread makes lines of them and writes in batches. A full
//! queue or a failing output costs lines, which are counted, and never a connection.

mod line;
mod request;
mod writer;

pub use line::{FIELDS, Field};
pub(super) use line::{Story, time};
pub(super) use request::RequestStory;
pub(super) use writer::AccessLog;

use std::io::Write;

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
    /// How many of the last ends are kept in memory too, for who asks about one.
    pub remembered: usize,
}

impl AccessLogOutput {
    /// The access log on standard output.
    pub fn stdout(format: LogFormat, remembered: usize) -> Self {
        Self { format, output: Box::new(std::io::stdout()), remembered }
    }
}

impl std::fmt::Debug for AccessLogOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLogOutput").field("format", &self.format).finish_non_exhaustive()
    }
}
