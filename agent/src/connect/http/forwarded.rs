//! Who asked, as the application is told: `x-forwarded-client-cert` as Envoy writes it, and `x-forwarded-proto`.
//!
//! Whatever the client said of itself is removed: one element is written where the peer's identity is proven, none where it is
//! not. There is no `Hash`: a verified peer keeps no digest of its certificate. `x-forwarded-for` is left as it came: inside
//! the mesh the source address is that of the pod already, and nothing here knows which proxies before it are trusted.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::mesh::SpiffeId;

/// Envoy's header.
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Both ends of a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Proven<'a> {
    /// Who asks.
    pub client: &'a SpiffeId,
    /// Who is asked: the workload whose certificate was shown to the client.
    pub server: &'a SpiffeId,
}

/// Writes who asks, or that nobody knows.
pub fn write_client_cert(headers: &mut HeaderMap, proven: Option<Proven<'_>>) {
    headers.remove(CLIENT_CERT);
    let element = proven.map(|Proven { client, server }| format!("By={server};Subject=\"\";URI={client}"));
    // Identities are visible ASCII without the characters that separate: they were parsed.
    if let Some(value) = element.and_then(|element| HeaderValue::try_from(element).ok()) {
        headers.insert(CLIENT_CERT, value);
    }
}

/// Says that the client spoke plain HTTP, unless somebody before it said what theirs spoke.
pub fn write_proto(headers: &mut HeaderMap) {
    headers.entry(PROTO).or_insert(HeaderValue::from_static("http"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(account: &str) -> SpiffeId {
        SpiffeId::new("cluster.local".parse().unwrap_or_else(|_| unreachable!()), "shop".into(), account.into())
    }

    fn forged() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(
            "X-Forwarded-Client-Cert",
            HeaderValue::from_static("By=x;URI=spiffe://cluster.local/ns/a/sa/admin"),
        );
        headers.append("x-forwarded-client-cert", HeaderValue::from_static("URI=spiffe://cluster.local/ns/a/sa/root"));
        headers
    }

    #[test]
    fn only_the_proven_identity_reaches_the_application() {
        let mut headers = forged();
        write_client_cert(&mut headers, Some(Proven { client: &id("web"), server: &id("cart") }));
        let values: Vec<_> = headers.get_all(CLIENT_CERT).iter().collect();
        let expected =
            "By=spiffe://cluster.local/ns/shop/sa/cart;Subject=\"\";URI=spiffe://cluster.local/ns/shop/sa/web";
        assert_eq!(values, [expected]);
    }

    #[test]
    fn what_a_client_says_of_itself_is_removed_where_nothing_is_proven() {
        let mut headers = forged();
        write_client_cert(&mut headers, None);
        assert!(headers.is_empty());
    }

    #[test]
    fn the_protocol_that_a_proxy_before_told_is_kept() {
        let mut headers = HeaderMap::new();
        write_proto(&mut headers);
        assert_eq!(headers[PROTO], "http");
        headers.insert(PROTO, HeaderValue::from_static("https"));
        write_proto(&mut headers);
        assert_eq!(headers[PROTO], "https");
    }
}
