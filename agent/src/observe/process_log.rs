//! The agent's own log, on standard error (`log_writer.rs`): `tracing` events, and what libraries say through the `log` crate.
//!
//! The kernel programs' messages arrive by the `log` crate too (aya-log). Standard output belongs to the access log.

use std::{
    io::{self, IsTerminal},
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing_subscriber::{
    EnvFilter, Registry, filter::Directive, filter::ParseError, fmt, fmt::MakeWriter, prelude::*, reload,
    util::TryInitError,
};

use super::{LogFormat, log_writer::LogWriter};

/// Why the process log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` is one word, and not a level.
    #[error(
        "log level {0:?} is unknown; use off, error, warn, info, debug, trace, or directives: \"info,heddle::capture=debug\""
    )]
    UnknownLevel(String),
    /// `log.level` has several parts, and one is not a directive.
    #[error(
        "log directive {number}, {directive:?}, is not understood: {source}; an example is \"info,heddle::capture=debug\""
    )]
    Directives {
        /// Its place among those that were given, from 1.
        number: usize,
        /// What was given.
        directive: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Something in this process has set up a log before.
    #[error("setting up the log failed: {0}; it can be set up only once per process")]
    Twice(#[from] TryInitError),
    /// There is no thread to write it.
    #[error("starting the thread of the log failed: {0}; the limit of processes or memory is too low for the agent")]
    Thread(#[from] io::Error),
    /// The level cannot be changed.
    #[error("changing the log level failed: {0}; restart the agent with another log.level")]
    Change(#[from] reload::Error),
}

/// Changes the level of the process log while the process runs. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct LogControl(Arc<Control>);

#[derive(Debug)]
struct Control {
    level: Mutex<String>,
    configured: String,
    filter: OnceLock<reload::Handle<EnvFilter, Registry>>,
    changed: watch::Sender<()>,
}

impl LogControl {
    /// Of a log whose level is this one, and that nobody has started.
    pub fn new(level: &str) -> Self {
        let (changed, _) = watch::channel(());
        let filter = OnceLock::new();
        Self(Arc::new(Control { level: Mutex::new(level.to_owned()), configured: level.to_owned(), filter, changed }))
    }

    /// The level or directives in force.
    pub fn level(&self) -> String {
        self.0.level.lock().clone()
    }

    /// Those that the process was started with.
    pub fn configured(&self) -> &str {
        &self.0.configured
    }

    /// From now on the log has this level or these directives.
    ///
    /// # Errors
    /// They are not understood; then nothing changes.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = parse_level(level)?;
        // Before it is in force: one that silences the log is the last to be seen in it.
        tracing::info!(level, "the level of this log is being changed");
        // Held for the whole of it: two changes at once leave what is in force and what is shown the same.
        let mut current = self.0.level.lock();
        if let Some(handle) = self.0.filter.get() {
            handle.reload(filter)?;
        }
        level.clone_into(&mut current);
        self.0.changed.send_replace(());
        Ok(())
    }

    /// Sees each change, after it is in force.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }
}

/// Starts the process log. `level` is a level or tracing directives; colours only if standard error is a terminal.
pub fn init_log(level: &str, format: LogFormat) -> Result<LogControl, LogError> {
    let control = LogControl::new(level);
    let filter = parse_level(level)?;
    let writer = Arc::new(LogWriter::start(io::stderr())?);
    let handle = start(filter, format, Arc::clone(&writer))?;
    let _ = WRITER.set(writer);
    let _ = control.0.filter.set(handle);
    Ok(control)
}

/// Writes the lines of this process' log that [`init_log`] has started.
static WRITER: OnceLock<Arc<LogWriter>> = OnceLock::new();

/// How many lines of the log were lost because nobody took them.
pub fn log_lines_dropped() -> u64 {
    WRITER.get().map_or(0, |writer| writer.dropped())
}

/// Waits until the log is written, at most `patience`; whether it is. Blocks: for the end of the process.
pub fn flush_log(patience: Duration) -> bool {
    WRITER.get().is_none_or(|writer| writer.flush(patience))
}

/// As [`init_log`], and lines of the target [`AUDIT`] are written at every level. Who writes one waits for whoever reads it: no
/// line of an audit is lost.
pub fn init_audited_log(level: &str, format: LogFormat) -> Result<(), LogError> {
    start(with_audit(parse_level(level)?), format, io::stderr).map(drop)
}

/// Target of what an audit must see: each certificate and each refusal of `heddle ca`.
pub const AUDIT: &str = "heddle::audit";

fn with_audit(filter: EnvFilter) -> EnvFilter {
    match format!("{AUDIT}=info").parse() {
        Ok(directive) => filter.add_directive(directive),
        // A constant that the tests parse.
        Err(_) => filter,
    }
}

fn start(
    filter: EnvFilter,
    format: LogFormat,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> Result<reload::Handle<EnvFilter, Registry>, LogError> {
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    // Some other logger may be installed already (a test harness): the agent's own events do not depend on it.
    if log::set_logger(&BRIDGE).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
    Ok(handle)
}

fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    // EnvFilter takes any single word for a target: a misspelt level would turn everything off but that "target".
    if !LEVELS.contains(&level) && !level.contains(['=', ',', '[']) {
        return Err(LogError::UnknownLevel(level.to_owned()));
    }
    // A plain level is about the agent: what libraries say below "info" takes directives to see.
    let filter = match level {
        "debug" | "trace" => format!("info,{QUIET},heddle={level}"),
        word if LEVELS.contains(&word) => format!("{word},{QUIET}"),
        directives => {
            each_understood(directives)?;
            directives.to_owned()
        }
    };
    let not_understood = |source| LogError::Directives { number: 1, directive: level.to_owned(), source };
    EnvFilter::try_new(filter).map_err(not_understood)
}

/// Finds the directive that is not understood, which `EnvFilter` does not say.
fn each_understood(directives: &str) -> Result<(), LogError> {
    for (index, directive) in directives.split(',').map(str::trim).enumerate() {
        // A bare word is a level; any other is taken for a target, and turns everything else off.
        if !directive.contains(['=', '[']) && !LEVELS.contains(&directive) {
            return Err(LogError::UnknownLevel(directive.to_owned()));
        }
        directive.parse::<Directive>().map_err(|source| LogError::Directives {
            number: index + 1,
            directive: directive.to_owned(),
            source,
        })?;
    }
    Ok(())
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The Kubernetes client logs each failed attempt as an error of its own; the agent says what is to be done, and once.
const QUIET: &str = "kube_client=off,kube_runtime=off";

static BRIDGE: Bridge = Bridge;

/// Hands records of the `log` crate to `tracing`. The target of a tracing event is fixed where it is written, so there are
/// two, [`KERNEL_LOG`] for the kernel programs and `log` for libraries; the record's own is the field `module`.
struct Bridge;

/// Target of what the kernel programs log.
pub const KERNEL_LOG: &str = "heddle::kernel";

/// Whether a record is of the kernel programs, whose crate is `heddle-ebpf`.
fn is_kernel(metadata: &log::Metadata<'_>) -> bool {
    metadata.target().starts_with("heddle_ebpf")
}

macro_rules! enabled_at {
    ($target:expr, $level:expr) => {
        match $level {
            log::Level::Error => tracing::enabled!(target: $target, tracing::Level::ERROR),
            log::Level::Warn => tracing::enabled!(target: $target, tracing::Level::WARN),
            log::Level::Info => tracing::enabled!(target: $target, tracing::Level::INFO),
            log::Level::Debug => tracing::enabled!(target: $target, tracing::Level::DEBUG),
            log::Level::Trace => tracing::enabled!(target: $target, tracing::Level::TRACE),
        }
    };
}

macro_rules! emit {
    ($target:expr, $record:expr) => {{
        let (module, message) = ($record.target(), $record.args());
        match $record.level() {
            log::Level::Error => tracing::error!(target: $target, module, "{message}"),
            log::Level::Warn => tracing::warn!(target: $target, module, "{message}"),
            log::Level::Info => tracing::info!(target: $target, module, "{message}"),
            log::Level::Debug => tracing::debug!(target: $target, module, "{message}"),
            log::Level::Trace => tracing::trace!(target: $target, module, "{message}"),
        }
    }};
}

impl log::Log for Bridge {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        match is_kernel(metadata) {
            true => enabled_at!(KERNEL_LOG, metadata.level()),
            false => enabled_at!("log", metadata.level()),
        }
    }

    fn log(&self, record: &log::Record<'_>) {
        match is_kernel(record.metadata()) {
            true => emit!(KERNEL_LOG, record),
            false => emit!("log", record),
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{io::Write, sync::Arc};

    use log::Log;
    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn audit_lines_are_written_at_every_level() {
        for level in ["off", "error", "debug", "warn,heddle::ca=debug"] {
            let filter = parse_level(level).map(|filter| with_audit(filter).to_string()).unwrap_or_default();
            assert!(filter.contains("heddle::audit=info"), "{level} gives {filter}");
        }
    }

    #[test]
    fn levels_and_directives_are_accepted_and_misspelt_levels_refused() {
        for good in ["info", "off", "trace", "info,heddle::capture=debug", "heddle=warn"] {
            assert!(parse_level(good).is_ok(), "{good} is good");
        }
        for bad in ["inof", "", "INFORMATION", "heddle=loud", "info,heddle::capture", "info,,debug"] {
            assert!(parse_level(bad).is_err(), "{bad} is bad");
        }
        let error = parse_level("info,heddle=loud,h2=warn").map(drop).unwrap_err().to_string();
        assert!(error.starts_with(r#"log directive 2, "heddle=loud", is not understood: "#), "{error}");
    }

    #[test]
    fn the_level_changes_while_the_log_is_written_and_a_bad_one_changes_nothing() {
        let output = Output::default();
        let writer = output.clone();
        let control = LogControl::new("info");
        let (filter, handle) = reload::Layer::new(parse_level("info").unwrap());
        control.0.filter.set(handle).unwrap();
        let layer = fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(filter).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let say = |message: &str| tracing::debug!(target: "heddle::test", "{message}");
            say("before");
            control.set_level("debug").unwrap();
            say("between");
            control.set_level("loud").unwrap_err();
            say("still");
            control.set_level("info").unwrap();
            say("after");
        });
        let text = String::from_utf8_lossy(&output.0.lock()).into_owned();
        let said = ["before", "between", "still", "after"].map(|word| text.contains(word));
        assert_eq!(said, [false, true, true, false], "{text}");
        assert_eq!((control.level().as_str(), control.configured()), ("info", "info"));
    }

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn records_of_the_log_crate_arrive_with_their_level_and_module() {
        let output = Output::default();
        let writer = output.clone();
        let subscriber = tracing_subscriber::registry()
            .with(EnvFilter::new("info"))
            .with(fmt::layer().with_ansi(false).with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for (level, message) in [(log::Level::Warn, "map is full"), (log::Level::Debug, "too small to see")] {
                let args = format_args!("{message}");
                BRIDGE.log(&log::Record::builder().level(level).target("connect4").args(args).build());
            }
        });
        let text = String::from_utf8_lossy(&output.0.lock()).into_owned();
        assert!(text.contains(" WARN log: map is full module=\"connect4\"\n"), "{text}");
        assert!(!text.contains("too small"), "{text}");
    }
}
