//! An error in words, with its causes.

use std::{error::Error, iter::successors};

/// Its text and those of its causes in turn. Many errors say their cause themselves: what is said already is not said again.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    successors(error.source(), |&cause| cause.source()).map(ToString::to_string).fold(
        error.to_string(),
        |words, text| {
            if words.contains(&text) { words } else { format!("{words}: {text}") }
        },
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Outer {
        said: &'static str,
        source: io::Error,
    }

    #[test]
    fn each_cause_is_said_once() {
        let said = |said| with_causes(&Outer { said, source: io::Error::other("refused") });
        assert_eq!(said("dial"), "dial: refused");
        assert_eq!(said("dial: refused"), "dial: refused");
    }
}
