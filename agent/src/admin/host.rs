//! The guard of the admin address against pages that a browser on the node is lured to.
//!
//! A page whose name resolves to 127.0.0.1 has its browser send that name as `Host`: only the machine's own names are
//! answered. Any other page cannot read what it has its browser ask for here, but asking costs, and ends where a browser says
//! that another site asks. The unix socket needs no guard, its file mode is one.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::Response,
};

use super::answer::refused;

/// Answers 403 unless the request was made to `localhost` or a loopback address, and by no page of another site.
pub(super) async fn require_local(request: Request, next: Next) -> Response {
    let why = if !names_this_machine(request.headers()) {
        "the Host header of a request to the admin address must be localhost or a loopback address"
    } else if is_of_another_site(request.headers()) {
        "a page of another site asks; open the admin address itself"
    } else {
        return next.run(request).await;
    };
    refused(StatusCode::FORBIDDEN, why)
}

/// As browsers say it (Fetch Metadata): of a link that is followed, `navigate` is said, too, and that is somebody's wish.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &[u8]| headers.get(name).is_some_and(|found| found.as_bytes() == value);
    let elsewhere = is("sec-fetch-site", b"cross-site") || is("sec-fetch-site", b"same-site");
    elsewhere && !(is("sec-fetch-mode", b"navigate") && is("sec-fetch-dest", b"document"))
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next().map(|host| host.to_str()), hosts.next()) {
        (Some(Ok(host)), None) => is_local(host),
        _ => false,
    }
}

/// `NAME[:PORT]` or `[V6][:PORT]`.
pub(crate) fn is_local(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some(address_and_port) => address_and_port,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    // What follows is a port or nothing: `[::1].evil.example` is somebody else.
    let is_port = |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let address_is_loopback = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    port_fits && (name.eq_ignore_ascii_case("localhost") || address_is_loopback)
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
            "[::1].evil.example",
            "[::1]evil.example:15000",
            "localhost:+80",
            "127.0.0.1.evil.example:15000",
            "10.0.0.1",
            "localhost:x@evil",
            "[::2]",
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused_and_links_are_not() {
        let cases: [(&[(&str, &str)], bool); 6] = [
            (&[], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")], false),
            (&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], false),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], true),
            (&[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], true),
            (
                &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
                false,
            ),
        ];
        for (said, refused) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in said {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_of_another_site(&headers), refused, "{said:?}");
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
