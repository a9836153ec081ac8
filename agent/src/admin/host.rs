//! The guard of the admin address against DNS rebinding.
//!
//! A browser on the node that is lured to a page whose name resolves to 127.0.0.1 sends that name as `Host`: only the
//! machine's own names are answered. The unix socket needs no guard, its file mode is one.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Answers 403 unless the request was made to `localhost` or a loopback address.
pub(super) async fn require_local(request: Request, next: Next) -> Response {
    if names_this_machine(request.headers()) {
        return next.run(request).await;
    }
    let why = "the Host header of a request to the admin address must be localhost or a loopback address\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next().map(|host| host.to_str()), hosts.next()) {
        (Some(Ok(host)), None) => is_local(host),
        _ => false,
    }
}

/// `NAME[:PORT]` or `[V6][:PORT]`.
fn is_local(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':')),
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let port_is_number = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let address_is_loopback = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    port_is_number && (name.eq_ignore_ascii_case("localhost") || address_is_loopback)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_machines_own_names_are_local() {
        for local in
            ["localhost", "LOCALHOST:15000", "127.0.0.1", "127.0.0.1:15000", "[::1]", "[::1]:15000", "127.0.0.2"]
        {
            assert!(is_local(local), "{local}");
        }
        for foreign in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:15000",
            "10.0.0.1",
            "localhost:x@evil",
            "[::2]",
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_missing_or_doubled_host_is_not_local() {
        let mut headers = HeaderMap::new();
        assert!(!names_this_machine(&headers));
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(names_this_machine(&headers));
        headers.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!names_this_machine(&headers));
    }
}
