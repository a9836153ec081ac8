//! What a Service port says that is spoken there: `appProtocol`, else the prefix of the port's name, as Istio reads them.

use crate::mesh::ServicePort;

/// What is spoken, as far as it is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Declared {
    /// HTTP/1.1 only: WebSocket.
    Http1,
    /// HTTP/2 without TLS, with prior knowledge.
    Http2,
    /// HTTP of either version.
    Http,
    /// gRPC, over HTTP/2.
    Grpc,
    /// TLS, which the mesh passes on as it is.
    Tls,
    /// Anything; the client speaks first, or it is not worth knowing.
    Tcp,
    /// The server speaks first: to wait for the client would be in vain.
    ServerFirst,
    /// Nothing is declared: look.
    Unknown,
}

/// Where Istio does not look either: SMTP, DNS, MySQL, MongoDB speak no HTTP on these. Those of them where the server speaks
/// first are known by number: SMTP, POP3, IMAP, MySQL.
const SERVER_FIRST_PORTS: [u16; 5] = [25, 110, 143, 587, 3306];

impl Declared {
    /// What this port declares. What is written wins over what the number suggests.
    pub fn of(port: &ServicePort) -> Self {
        Self::from_parts(port.app_protocol.as_deref(), &port.name, port.port)
    }

    fn from_parts(app_protocol: Option<&str>, name: &str, port: u16) -> Self {
        let written = app_protocol.filter(|protocol| !protocol.is_empty());
        // An appProtocol that nobody here knows is a declaration still, but not of anything that can be skipped.
        let declared = written.map_or_else(|| named(name.split('-').next().unwrap_or_default()), named);
        match declared {
            Self::Unknown if written.is_none() && SERVER_FIRST_PORTS.contains(&port) => Self::ServerFirst,
            declared => declared,
        }
    }
}

fn named(protocol: &str) -> Declared {
    match protocol.to_ascii_lowercase().as_str() {
        "http" => Declared::Http,
        "kubernetes.io/ws" => Declared::Http1,
        "http2" | "h2c" | "kubernetes.io/h2c" => Declared::Http2,
        "grpc" | "grpc-web" => Declared::Grpc,
        "https" | "tls" | "kubernetes.io/wss" => Declared::Tls,
        "tcp" | "mongo" | "redis" | "postgresql" | "postgres" => Declared::Tcp,
        "mysql" | "smtp" | "pop3" | "imap" | "ftp" | "ssh" => Declared::ServerFirst,
        _ => Declared::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_what_it_declares() {
        for (app_protocol, name, port, expected) in [
            (None, "", 8080, Declared::Unknown),
            (None, "http", 8080, Declared::Http),
            (None, "http-admin", 8080, Declared::Http),
            (None, "httpadmin", 8080, Declared::Unknown),
            (None, "http2-api", 8080, Declared::Http2),
            (None, "grpc-web", 8080, Declared::Grpc),
            (None, "tcp", 3306, Declared::Tcp),
            (None, "mysql", 8080, Declared::ServerFirst),
            (None, "data", 3306, Declared::ServerFirst),
            (None, "redis", 6379, Declared::Tcp),
            (Some("HTTP"), "tcp-x", 80, Declared::Http),
            (Some("kubernetes.io/h2c"), "", 80, Declared::Http2),
            (Some("kubernetes.io/ws"), "", 80, Declared::Http1),
            (Some("kubernetes.io/wss"), "", 80, Declared::Tls),
            (Some("https"), "http", 80, Declared::Tls),
            (Some("example.com/own"), "http", 3306, Declared::Unknown),
            (Some(""), "http", 80, Declared::Http),
        ] {
            assert_eq!(Declared::from_parts(app_protocol, name, port), expected, "{app_protocol:?} {name} {port}");
        }
    }
}
