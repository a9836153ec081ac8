//! Host names of destinations, with or without a wildcard in front.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Serialize, Serializer};

/// What a host may be, for messages.
pub(in crate::rules) const HOST: &str =
    "a host name such as api.example.com, in lower case, or *.example.com for all below it";

/// A destination by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// One name, such as `api.example.com`, or a short one, which is completed with the namespace of the document.
    Exact(String),
    /// `*.example.com`: every name that ends with `.` and this.
    Below(String),
}

impl FromStr for Host {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_prefix("*.") {
            Some(rest) if is_name(rest) => Ok(Self::Below(rest.to_owned())),
            // An address is dialled without asking for a name, and so never matches.
            None if is_name(text) && text.parse::<IpAddr>().is_err() => Ok(Self::Exact(text.to_owned())),
            _ => Err(()),
        }
    }
}

impl Host {
    /// Whether this stands for more than one name.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Below(_))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(rest) => write!(f, "*.{rest}"),
        }
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// RFC 1123, with underscores, which names of hosts outside the cluster have.
fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}
