//! The agent's own log, on standard error: `tracing` events, and what libraries say through the `log` crate.
//!
//! The kernel programs' messages arrive by the `log` crate too (aya-log). Standard output belongs to the access log.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, prelude::*, util::TryInitError};

use super::LogFormat;

/// Why the process log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` is neither a level nor directives.
    #[error(
        "log level {level:?} is not understood: {source}; use error, warn, info, debug, trace, or directives such as \
         \"info,heddle::capture=debug\""
    )]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Something in this process has set up a log before.
    #[error("setting up the log failed: {0}; it can be set up only once per process")]
    Twice(#[from] TryInitError),
}

/// Starts the process log. `level` is a level or tracing directives; colours only if standard error is a terminal.
pub fn init_log(level: &str, format: LogFormat) -> Result<(), LogError> {
    let filter = parse_level(level)?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    // Some other logger may be installed already (a test harness): the agent's own events do not depend on it.
    if log::set_logger(&BRIDGE).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
    Ok(())
}

fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    // EnvFilter takes any single word for a target; a misspelt level would turn everything off but that "target".
    let words = ["off", "error", "warn", "info", "debug", "trace"];
    let is_directives = level.contains(['=', ',', '[']);
    let text = if is_directives || words.contains(&level) { level } else { "not a level=" };
    EnvFilter::try_new(text).map_err(|source| LogError::Level { level: level.to_owned(), source })
}

static BRIDGE: Bridge = Bridge;

/// Hands records of the `log` crate to `tracing`. Target and level of a tracing event are fixed where it is written, so there
/// is one target, `log`, and the record's own is the field `module`.
struct Bridge;

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        match metadata.level() {
            log::Level::Error => tracing::enabled!(target: "log", tracing::Level::ERROR),
            log::Level::Warn => tracing::enabled!(target: "log", tracing::Level::WARN),
            log::Level::Info => tracing::enabled!(target: "log", tracing::Level::INFO),
            log::Level::Debug => tracing::enabled!(target: "log", tracing::Level::DEBUG),
            log::Level::Trace => tracing::enabled!(target: "log", tracing::Level::TRACE),
        }
    }

    fn log(&self, record: &log::Record<'_>) {
        let (module, message) = (record.target(), record.args());
        match record.level() {
            log::Level::Error => tracing::error!(target: "log", module, "{message}"),
            log::Level::Warn => tracing::warn!(target: "log", module, "{message}"),
            log::Level::Info => tracing::info!(target: "log", module, "{message}"),
            log::Level::Debug => tracing::debug!(target: "log", module, "{message}"),
            log::Level::Trace => tracing::trace!(target: "log", module, "{message}"),
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_accepted_and_misspelt_levels_refused() {
        for good in ["info", "off", "trace", "info,heddle::capture=debug", "heddle=warn"] {
            assert!(parse_level(good).is_ok(), "{good} is good");
        }
        for bad in ["inof", "", "INFORMATION", "heddle=loud"] {
            assert!(parse_level(bad).is_err(), "{bad} is bad");
        }
    }
}
