//! Versions as nodes and API servers write them, as far as they are compared: `v1.34.0-gke.1`, `5.15.0-1050-aws`.

use std::fmt;

/// Major and minor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Version {
    /// `None` where the text does not begin with two numbers.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (major, rest) = text.split_once('.')?;
        let minor: &str = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_minor_is_ignored() {
        for (text, expected) in [
            ("v1.34.0-gke.1", Some((1, 34))),
            ("v1.28+", Some((1, 28))),
            ("5.15.0-1050-aws", Some((5, 15))),
            ("6.6", Some((6, 6))),
            ("6", None),
            ("", None),
            ("main.x", None),
        ] {
            assert_eq!(Version::parse(text).map(|version| (version.major, version.minor)), expected, "{text}");
        }
    }
}
