//! The access log: one line per connection or HTTP request at its end.
//!
//! Data threads hand finished stories over without waiting; one writer thread makes lines of them and writes in batches. A full
//! queue or a failing output costs lines, which are counted, and never a connection.

mod line;
mod request;
mod writer;

pub(super) use line::Story;
pub use line::{FIELDS, Field};
pub(super) use request::RequestStory;
pub(super) use writer::AccessLog;

use std::io::Write;

use crate::{
    observe::{
        metrics::{LeftOutReason, Metrics},
        trace_context::Draw,
    },
    rules::telemetry::AccessLogging,
};

/// How lines look, in the access log and in the process log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `name=value` pairs.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Whether there are lines of what no Telemetry document is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogDefault {
    /// There are.
    #[default]
    On,
    /// Only where a document says so.
    Off,
}

/// Where access log lines go, and how they look.
pub struct AccessLogOutput {
    /// Text or JSON.
    pub format: LogFormat,
    /// Standard output in production.
    pub output: Box<dyn Write + Send>,
    /// Whether there are lines of what no document is about.
    pub default: AccessLogDefault,
}

impl AccessLogOutput {
    /// The access log on standard output.
    pub fn stdout(format: LogFormat, default: AccessLogDefault) -> Self {
        Self { format, output: Box::new(std::io::stdout()), default }
    }
}

impl std::fmt::Debug for AccessLogOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLogOutput").field("format", &self.format).finish_non_exhaustive()
    }
}

/// Whether one connection or request has a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logging {
    /// It has none: agent.yaml turns them off.
    Off,
    /// It has none: a document turns them off.
    TurnedOff,
    /// It has one if it fails, and else if it is among the share.
    On(Draw),
}

impl Logging {
    /// By what documents say, and else by agent.yaml.
    pub(super) fn of(said: Option<AccessLogging>, default: AccessLogDefault) -> Self {
        match (said, default) {
            (Some(AccessLogging { enabled: false, .. }), AccessLogDefault::On) => Self::TurnedOff,
            (Some(AccessLogging { enabled: false, .. }), AccessLogDefault::Off) => Self::Off,
            (Some(said), _) => Self::On(Draw(said.sampling_percentage)),
            (None, AccessLogDefault::On) => Self::On(Draw::ALL),
            (None, AccessLogDefault::Off) => Self::Off,
        }
    }

    /// Whether a line may be wanted at the end.
    pub(super) fn may_log(self) -> bool {
        matches!(self, Self::On(_))
    }

    /// Whether there is a line at the end, of what failed or not. What is left out is counted. `request_id` decides alike at
    /// both agents of a request.
    pub(super) fn wants(self, failed: Failed, request_id: Option<&str>, metrics: &Metrics) -> bool {
        let reason = match (self, failed) {
            (Self::Off, _) => return false,
            (Self::TurnedOff, _) => LeftOutReason::Disabled,
            (Self::On(_), Failed::Yes) => return true,
            (Self::On(share), Failed::No) => {
                match request_id.map_or_else(|| share.takes_at_random(), |id| share.takes(id)) {
                    true => return true,
                    false => LeftOutReason::Sampled,
                }
            }
        };
        metrics.access_log_left_out.of(reason).inc();
        false
    }
}

/// Whether what ended has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Yes,
    No,
}

impl From<bool> for Failed {
    fn from(failed: bool) -> Self {
        if failed { Self::Yes } else { Self::No }
    }
}
