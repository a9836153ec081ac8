//! The name and version that an image is imported under.

use std::{fmt, str::FromStr};

use anyhow::{Error, Result, ensure};

/// `NAME:VERSION`, as somebody types it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    name: String,
    version: String,
}

impl Reference {
    pub(super) fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned() }
    }

    pub(super) fn short(&self) -> String {
        self.to_string()
    }

    /// With what Docker and Kubernetes put before a name that has no registry in it.
    pub(super) fn full(&self) -> String {
        let first = self.name.split_once('/').map(|(first, _)| first);
        match first {
            Some(first) if first == "localhost" || first.contains(['.', ':']) => self.to_string(),
            Some(_) => format!("docker.io/{self}"),
            None => format!("docker.io/library/{self}"),
        }
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, version) = text.rsplit_once(':').unwrap_or((text, ""));
        let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "./-_:".contains(c);
        let of_version = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        ensure!(
            !name.is_empty() && name.chars().all(of_name) && !version.is_empty() && version.chars().all(of_version),
            "it is NAME:VERSION, such as registry.example.com/mesh/heddle:0.1.0, the name in small letters"
        );
        Ok(Self::new(name, version))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_container_runtimes_do() {
        for (typed, full) in [
            ("heddle:0.1.0", "docker.io/library/heddle:0.1.0"),
            ("mesh/heddle:1", "docker.io/mesh/heddle:1"),
            ("localhost/heddle:1", "localhost/heddle:1"),
            ("localhost:5000/heddle:1", "localhost:5000/heddle:1"),
            ("registry.example.com/mesh/heddle:v1", "registry.example.com/mesh/heddle:v1"),
        ] {
            assert_eq!(Reference::from_str(typed).map(|it| it.full()).ok().as_deref(), Some(full), "{typed}");
        }
        for wrong in ["heddle", "heddle:", ":1", "Heddle:1", "localhost:5000/heddle", "a b:1"] {
            assert!(Reference::from_str(wrong).is_err(), "{wrong}");
        }
    }
}
