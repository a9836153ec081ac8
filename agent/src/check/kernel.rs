//! What the age of a kernel means for Heddle.

use super::version::Version;

/// The network namespace's cookie in `sock_ops`; README.md has what else is needed, and since when.
pub(super) const MINIMUM: Version = Version { major: 5, minor: 15 };
/// `tcx`.
const GUARDS_CABLES: Version = Version { major: 6, minor: 6 };

/// What is wrong with a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// What it lacks, and the remedy.
    Lacking(String),
    /// The remedy.
    Unusable(String),
}

/// Judges what uname(2) calls the release.
pub(super) fn judge(release: &str) -> Verdict {
    match Version::parse(release) {
        None => Verdict::Lacking(format!("make sure that it is Linux {MINIMUM} or later")),
        Some(version) if version < MINIMUM => {
            Verdict::Unusable(format!("upgrade to {MINIMUM} or later, {GUARDS_CABLES} if you can"))
        }
        Some(version) if version < GUARDS_CABLES => Verdict::Lacking(format!(
            "upgrade to {GUARDS_CABLES} or later: before it, what a pod with CAP_NET_RAW sends past the capture is not stopped"
        )),
        Some(_) => Verdict::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_unusable_before_5_15_and_lacks_something_before_6_6() {
        for (release, expected) in [
            ("5.14.21-default", "unusable"),
            ("5.15.0-1050-aws", "lacking"),
            ("6.1.0-18-amd64", "lacking"),
            ("6.6.0", "fine"),
            ("6.18.44", "fine"),
            ("?", "lacking"),
        ] {
            let found = match judge(release) {
                Verdict::Fine => "fine",
                Verdict::Lacking(_) => "lacking",
                Verdict::Unusable(_) => "unusable",
            };
            assert_eq!(found, expected, "{release}");
        }
    }
}
