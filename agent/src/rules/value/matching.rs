//! Texts to compare with, in the four forms that Istio has.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StringMatch {
    /// `abc`: this text.
    Exact(String),
    /// `abc*`: it begins so.
    Prefix(String),
    /// `*abc`: it ends so.
    Suffix(String),
    /// `*`: it is there and not empty.
    Present,
}

impl StringMatch {
    /// Whether a text is what is asked for. Upper and lower case differ.
    pub fn matches(&self, text: &str) -> bool {
        self.matches_bytes(text.as_bytes())
    }

    /// The same for what need not be UTF-8, such as the value of a header.
    pub fn matches_bytes(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(wanted) => text == wanted.as_bytes(),
            Self::Prefix(wanted) => text.starts_with(wanted.as_bytes()),
            Self::Suffix(wanted) => text.ends_with(wanted.as_bytes()),
            Self::Present => !text.is_empty(),
        }
    }

    /// The same where upper and lower case of ASCII letters are one.
    pub fn matches_in_any_case(&self, text: &str) -> bool {
        let (text, wanted) = (text.as_bytes(), self.literal().as_bytes());
        let is_wanted = |part: Option<&[u8]>| part.is_some_and(|part| part.eq_ignore_ascii_case(wanted));
        match self {
            Self::Exact(_) => is_wanted(Some(text)),
            Self::Prefix(_) => is_wanted(text.get(..wanted.len())),
            Self::Suffix(_) => is_wanted(text.len().checked_sub(wanted.len()).and_then(|start| text.get(start..))),
            Self::Present => !text.is_empty(),
        }
    }

    /// The literal part of it; empty for [`Self::Present`].
    pub fn literal(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) => text,
            Self::Present => "",
        }
    }
}

/// A star anywhere else is refused: upstream takes it for a literal, which nobody means who writes one, and a rule that
/// never matches is a hole where it denies.
impl FromStr for StringMatch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let found = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            _ if text == "*" => Self::Present,
            (Some(rest), _) => Self::Suffix(rest.to_owned()),
            (None, Some(rest)) => Self::Prefix(rest.to_owned()),
            (None, None) => Self::Exact(text.to_owned()),
        };
        if text.is_empty() || found.literal().contains('*') { Err(()) } else { Ok(found) }
    }
}

impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Present => f.write_str("*"),
        }
    }
}

impl Serialize for StringMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
