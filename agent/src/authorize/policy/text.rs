//! Texts in pieces: compared as if they were one, without making it.

use crate::rules::value::StringMatch;

/// A text that is these pieces, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces<'a, const N: usize>(pub(super) [&'a str; N]);

impl<const N: usize> Pieces<'_, N> {
    /// Whether the whole text is what is asked for.
    pub(super) fn match_with(&self, wanted: &StringMatch) -> bool {
        match wanted {
            StringMatch::Exact(text) => self.len() == text.len() && self.begin_with(text),
            StringMatch::Prefix(text) => self.begin_with(text),
            StringMatch::Suffix(text) => self.end_with(text),
            StringMatch::Present => self.len() > 0,
        }
    }

    fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.len()).sum()
    }

    fn begin_with(&self, text: &str) -> bool {
        let mut rest = text;
        for piece in self.0 {
            match rest.strip_prefix(piece) {
                Some(after) => rest = after,
                None => return piece.starts_with(rest),
            }
        }
        rest.is_empty()
    }

    fn end_with(&self, text: &str) -> bool {
        let mut rest = text;
        for piece in self.0.into_iter().rev() {
            match rest.strip_suffix(piece) {
                Some(before) => rest = before,
                None => return piece.ends_with(rest),
            }
        }
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_compare_as_the_text_that_they_are(pieces in ["[ab]{0,2}", "[ab]{0,2}", "[ab]{0,2}"], wanted in "[ab]{0,4}") {
            let whole = pieces.concat();
            let pieces = Pieces(pieces.each_ref().map(String::as_str));
            for wanted in [
                StringMatch::Exact(wanted.clone()),
                StringMatch::Prefix(wanted.clone()),
                StringMatch::Suffix(wanted),
                StringMatch::Present,
            ] {
                prop_assert_eq!(pieces.match_with(&wanted), wanted.matches(&whole), "{} of {}", wanted, whole);
            }
        }
    }
}
