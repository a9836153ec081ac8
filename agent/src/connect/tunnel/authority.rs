//! The `:authority` of a CONNECT request: `ip:port` of a workload or `hostname:port` of a service.

use std::net::{IpAddr, SocketAddr};

/// What a tunnel's stream asks to be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// A workload's own address.
    Address(SocketAddr),
    /// A service's DNS name.
    Service {
        /// Name of the Service.
        name: String,
        /// Its namespace.
        namespace: String,
        /// Port of the Service, not of the workload.
        port: u16,
    },
}

/// Why a text is no authority that a tunnel can serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// There is no port, or it is not a number from 1 to 65535.
    #[error("authority {0:?} has no valid port")]
    Port(String),
    /// The host is neither an address nor the name of a Service.
    #[error("authority {0:?} is neither an address nor NAME.NAMESPACE.svc of a service")]
    Host(String),
}

impl Authority {
    /// Parses the text of an `:authority` pseudo-header.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        let invalid_port = || AuthorityError::Port(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid_port)?;
        let port: u16 = match port.bytes().all(|byte| byte.is_ascii_digit()) {
            true => port.parse().map_err(|_| invalid_port())?,
            false => return Err(invalid_port()),
        };
        if port == 0 {
            return Err(invalid_port());
        }
        if let Some(address) = parse_address(host) {
            return Ok(Self::Address(SocketAddr::new(address, port)));
        }
        let mut labels = host.split('.');
        match (labels.next(), labels.next(), labels.next()) {
            (Some(name), Some(namespace), Some("svc")) if is_label(name) && is_label(namespace) => {
                Ok(Self::Service { name: name.to_owned(), namespace: namespace.to_owned(), port })
            }
            _ => Err(AuthorityError::Host(text.to_owned())),
        }
    }
}

/// An IPv6 address stands in brackets, an IPv4 address does not (RFC 3986, 3.2.2).
fn parse_address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cases() {
        let service = |port| Authority::Service { name: "web".to_owned(), namespace: "shop".to_owned(), port };
        let host = |text: &str| Err(AuthorityError::Host(text.to_owned()));
        let port = |text: &str| Err(AuthorityError::Port(text.to_owned()));
        for (text, expected) in [
            ("10.0.0.1:80", Ok(Authority::Address("10.0.0.1:80".parse().unwrap()))),
            ("[fd00::1]:80", Ok(Authority::Address("[fd00::1]:80".parse().unwrap()))),
            ("web.shop.svc.cluster.local:8080", Ok(service(8080))),
            ("web.shop.svc:8080", Ok(service(8080))),
            ("10.0.0.1", port("10.0.0.1")),
            ("10.0.0.1:", port("10.0.0.1:")),
            ("10.0.0.1:0", port("10.0.0.1:0")),
            ("10.0.0.1:65536", port("10.0.0.1:65536")),
            ("10.0.0.1:+80", port("10.0.0.1:+80")),
            ("fd00::1:80", host("fd00::1:80")),
            ("[10.0.0.1]:80", host("[10.0.0.1]:80")),
            ("example.com:80", host("example.com:80")),
            ("WEB.shop.svc:80", host("WEB.shop.svc:80")),
            (".shop.svc:80", host(".shop.svc:80")),
            ("", port("")),
        ] {
            assert_eq!(Authority::parse(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_address_parses_and_no_text_panics(address: SocketAddr, text: String) {
            prop_assume!(address.port() != 0);
            let plain = SocketAddr::new(address.ip(), address.port());
            prop_assert_eq!(Authority::parse(&plain.to_string()), Ok(Authority::Address(plain)));
            let _ = Authority::parse(&text);
        }
    }
}
