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
pub(super) enum AccessLogDefault {
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
    /// What is written.
    pub settings: AccessLogSettings,
}

/// What the access log has lines for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Whether it has any, to begin with.
    pub on: bool,
    /// How often it has one of each connection and request that is open; `None` for only at its end.
    pub long_connections: Option<Duration>,
    /// How many a second, at most; `None` for any number.
    pub rate: Option<NonZeroU32>,
    /// How many of the last requests are kept in memory too, for who asks about one.
    pub remembered: usize,
}

impl Default for AccessLogSettings {
    /// A line of everything, at its end.
    fn default() -> Self {
        Self { on: true, long_connections: None, rate: None, remembered: 0 }
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

/// Whether one connection or request has a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logging {
    /// It has none: agent.yaml turns them off.
    Off,
    /// It has none: a document turns them off.
    TurnedOff,
    /// It has one if it fails, and else if it is among the share; who says so.
    On(Draw, SaidBy),
}

/// Who wants lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SaidBy {
    /// agent.yaml, or whoever turned the log on.
    Agent,
    /// A Telemetry document.
    Document,
}

impl Logging {
    /// By what documents say, and else by agent.yaml.
    pub(super) fn of(said: Option<AccessLogging>, default: AccessLogDefault) -> Self {
        match (said, default) {
            (Some(AccessLogging { enabled: false, .. }), AccessLogDefault::On) => Self::TurnedOff,
            (Some(AccessLogging { enabled: false, .. }), AccessLogDefault::Off) => Self::Off,
            (Some(said), _) => Self::On(Draw(said.sampling_percentage), SaidBy::Document),
            (None, AccessLogDefault::On) => Self::On(Draw::ALL, SaidBy::Agent),
            (None, AccessLogDefault::Off) => Self::Off,
        }
    }

    /// Whether a line may be wanted at the end.
    pub(super) fn may_log(self) -> bool {
        matches!(self, Self::On(..))
    }

    /// Whether what is open still has a line, as the log is now.
    pub(super) fn tells_open(self, now: AccessLogDefault) -> bool {
        match self {
            Self::Off | Self::TurnedOff => false,
            Self::On(_, SaidBy::Document) => true,
            Self::On(_, SaidBy::Agent) => now == AccessLogDefault::On,
        }
    }

    /// Whether there is a line at the end, of what failed or not. What is left out is counted. `request_id` decides alike at
    /// both agents of a request.
    pub(super) fn wants(self, failed: Failed, request_id: Option<&str>, metrics: &Metrics) -> bool {
        let reason = match (self, failed) {
            (Self::Off, _) => return false,
            (Self::TurnedOff, _) => LeftOutReason::Disabled,
            (Self::On(..), Failed::Yes) => return true,
            (Self::On(share, _), Failed::No) => {
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
