//! The API server: whether it answers, and its version.

use k8s_openapi::apimachinery::pkg::version::Info;

use crate::check::Outcome;
use crate::check::version::Version;

/// The first that knows `appArmorProfile` of a container, which the agents have.
const MINIMUM: Version = Version { major: 1, minor: 30 };

/// Judges the version.
pub(super) fn judge(info: &Info) -> Outcome {
    let check = "API server";
    let text = &info.git_version;
    match Version::parse(text) {
        Some(version) if version < MINIMUM => Outcome::error(
            check,
            format!("Kubernetes {text} answers"),
            format!("upgrade the control plane to {MINIMUM} or later, which knows every field of the manifests"),
        ),
        Some(_) => Outcome::ok(check, format!("Kubernetes {text} answers; {MINIMUM} and later will do")),
        None => Outcome::warning(
            check,
            format!("it says that it is version {text:?}"),
            format!("make sure that it is the API server of Kubernetes {MINIMUM} or later"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Standing;

    #[test]
    fn versions_before_the_first_that_takes_all_of_the_manifests_are_refused() {
        for (text, standing) in [
            ("v1.34.0", Standing::Ok),
            ("v1.30.0-eks-1", Standing::Ok),
            ("v1.29.15", Standing::Error),
            ("main", Standing::Warning),
        ] {
            let info = Info { git_version: text.to_owned(), ..Info::default() };
            assert_eq!(judge(&info).standing, standing, "{text}");
        }
    }
}
