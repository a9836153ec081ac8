//! Outcomes of checks as lines of text, with colours where somebody looks.

use std::io::{IsTerminal, stdout};

use crate::check::{Outcome, Standing};

/// Whether colours are wanted: on a terminal, unless the environment says no (no-color.org).
pub(super) fn wants_colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// One line for each, and their sums.
pub(super) fn text(outcomes: &[Outcome], is_coloured: bool) -> String {
    let lines: String = outcomes.iter().map(|outcome| line(outcome, is_coloured)).collect();
    format!(
        "{lines}{} checks; {} errors, {} warnings, {} not checked",
        outcomes.len(),
        count(outcomes, Standing::Error),
        count(outcomes, Standing::Warning),
        count(outcomes, Standing::NotChecked)
    )
}

/// How many there are of a standing.
pub(super) fn count(outcomes: &[Outcome], standing: Standing) -> usize {
    outcomes.iter().filter(|outcome| outcome.standing == standing).count()
}

fn line(outcome: &Outcome, is_coloured: bool) -> String {
    let standing = format!("{:<11}", outcome.standing);
    match is_coloured {
        true => format!("\x1b[{}m{standing}\x1b[0m  {outcome}\n", colour(outcome.standing)),
        false => format!("{standing}  {outcome}\n"),
    }
}

/// Parameters of SGR (ECMA-48, 8.3.117): green, yellow, red, cyan.
fn colour(standing: Standing) -> u8 {
    match standing {
        Standing::Ok => 32,
        Standing::Warning => 33,
        Standing::Error => 31,
        Standing::NotChecked => 36,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(standing: Standing, remedy: Option<&str>) -> Outcome {
        Outcome { standing, check: "kernel".into(), seen: "Linux 5.10".into(), remedy: remedy.map(str::to_owned) }
    }

    #[test]
    fn a_line_has_standing_check_what_was_seen_and_the_remedy() {
        let outcomes = [outcome(Standing::Ok, None), outcome(Standing::Error, Some("upgrade"))];
        assert_eq!(
            text(&outcomes, false),
            "ok           kernel: Linux 5.10\nerror        kernel: Linux 5.10; upgrade\n\
             2 checks; 1 errors, 0 warnings, 0 not checked"
        );
        assert!(text(&outcomes, true).starts_with("\x1b[32mok         \x1b[0m  kernel"));
    }
}
