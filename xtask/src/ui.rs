//! What the tool prints: headings, facts and errors, in colour on a terminal only (`NO_COLOR` turns it off).

use std::{
    env,
    io::{self, IsTerminal as _},
    time::Duration,
};

/// A new part of the work begins.
pub(crate) fn heading(text: &str) {
    say(&paint(BOLD, &format!("== {text}")));
}

/// Something found, done or skipped.
pub(crate) fn fact(label: &str, text: &str) {
    say(&format!("   {label:<9} {text}"));
}

/// A line as it is.
#[expect(clippy::print_stdout, reason = "the tool talks to its user on standard output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// The error that ends the program: what failed first, then its causes.
#[expect(clippy::print_stderr, reason = "errors go to standard error")]
pub(crate) fn error(error: &anyhow::Error) {
    let mark = if colours(io::stderr().is_terminal()) { format!("{RED}error:{RESET}") } else { "error:".into() };
    eprintln!("{mark} {error:#}");
}

/// `ok` or `FAILED`, padded to one width.
pub(crate) fn verdict(ok: bool) -> String {
    if ok { paint(GREEN, "ok    ") } else { paint(RED, "FAILED") }
}

/// Seconds with one decimal below a minute, then minutes and seconds.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// True when standard output shows colours; programs that are called through a pipe are told so.
pub(crate) fn stdout_has_colours() -> bool {
    colours(io::stdout().is_terminal())
}

fn paint(colour: &str, text: &str) -> String {
    if stdout_has_colours() { format!("{colour}{text}{RESET}") } else { text.into() }
}

/// NO_COLOR counts when it is present and not empty (no-color.org).
fn colours(is_terminal: bool) -> bool {
    is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_on_both_sides_of_a_minute() {
        assert_eq!(duration(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
    }
}
