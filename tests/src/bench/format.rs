//! How figures look, and where text goes.

use std::io::Write;

/// A line of standard output. A closed pipe is no reason to stop measuring.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The line of standard error that says why it ended.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "heddle-bench: {text}");
}

/// Three significant digits below 100, whole with separators above.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size < 1.0 {
        return format!("{value:.3}");
    }
    if size < 10.0 {
        return format!("{value:.2}");
    }
    if size < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let head = digits.len() % 3;
    let mut groups: Vec<&str> = if head > 0 { vec![&digits[..head]] } else { Vec::new() };
    groups.extend((head..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    format!("{sign}{}", groups.join(","))
}

/// Two decimals.
pub(super) fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_or_separators() {
        let cases = [(0.1234, "0.123"), (1.236, "1.24"), (12.34, "12.3"), (999.6, "1,000"), (123.0, "123")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(-1234.0), "-1,234");
    }
}
