//! Names of DNS and of Kubernetes, as the patterns of the upstream schema allow them.

use std::net::IpAddr;

/// What is allowed, for messages.
pub(in crate::rules) const PRECISE_HOSTNAME: &str =
    "a host name of at most 253 characters: labels of a-z, 0-9 and '-' with dots between them, and no IP address";

/// RFC 1123 subdomain: what names of rules and hosts have to be. Labels may be as long as the whole.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

/// RFC 1123 label: what names of namespaces have to be.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

fn is_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    !bytes.is_empty() && bytes.iter().all(allowed) && bytes[0] != b'-' && bytes[bytes.len() - 1] != b'-'
}

/// A host name without a wildcard. The schema's pattern lets IPv4 addresses pass, its words do not.
pub(in crate::rules) fn is_precise_hostname(text: &str) -> bool {
    is_subdomain(text) && !is_address(text)
}

/// Whether a text is an IP address.
pub(in crate::rules) fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}
