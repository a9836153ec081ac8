//! Log levels and tracing directives.

use tracing_subscriber::EnvFilter;

/// What `log.level` may be, for messages.
pub(super) const ALLOWED: &str = "error, warn, info, debug, trace, or directives such as info,heddle::capture=debug";

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The text, if a log filter can be made of it.
///
/// `tracing` takes any bare word for the name of a module; a misspelt level would silence the log without a word,
/// so bare words must be levels here.
pub(super) fn checked(text: &str) -> Option<&str> {
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let bare_words = text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[', ']', '{', '}']));
    let valid = { bare_words }.all(is_level) && EnvFilter::builder().parse(text).is_ok();
    valid.then_some(text)
}
