//! What test runners say at their ends: the lines `test result: ok. 3 passed; 0 failed; ...` and the sum of them.

/// The closing lines of the runners of one stage.
#[derive(Default)]
pub(super) struct Tally {
    lines: Vec<String>,
    tests: u64,
}

impl Tally {
    /// Takes one line of output; any line but a closing one is none of its business.
    pub(super) fn read(&mut self, line: &str) {
        if !line.starts_with("test result:") {
            return;
        }
        let tests = count(line, "passed") + count(line, "failed") + count(line, "ignored");
        // Binaries without a test say so too; the summary has no use for that.
        if tests > 0 {
            self.lines.push(line.to_owned());
        }
        self.tests += tests;
    }

    pub(super) fn closing_lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Tests that ran or were ignored, without those that a filter left out.
    pub(super) fn tests(&self) -> u64 {
        self.tests
    }
}

/// The number before `word`.
fn count(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split([' ', ';']).filter(|part| !part.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_kept_and_added_up() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test a ... ok",
            "test result: \u{1b}[32mok\u{1b}[m. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0s",
            "test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.00s",
        ] {
            tally.read(line);
        }
        assert_eq!(tally.tests(), 11);
        assert_eq!(tally.closing_lines().count(), 2, "runners without a test are left out");
    }
}
