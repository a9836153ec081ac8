//! Stand-in until the branch `http` lands.
#![expect(missing_docs, reason = "stand-in")]
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, request::Parts};
#[derive(Debug, thiserror::Error)]
pub enum BadHead {
    #[error("no host")]
    NoHost,
    #[error("bad")]
    Bad,
}
pub fn normalize_request(parts: &mut Parts) -> Result<String, BadHead> {
    let authority = match parts.uri.authority() {
        Some(authority) => authority.as_str().to_owned(),
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned(),
    };
    if authority.is_empty() && parts.version != Version::HTTP_10 {
        return Err(BadHead::NoHost);
    }
    Ok(authority)
}
pub fn is_upgrade(parts: &Parts) -> bool {
    parts.method == Method::CONNECT || parts.headers.contains_key(header::UPGRADE)
}
pub fn remove_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    for name in ["keep-alive", "proxy-connection", "te", "transfer-encoding"] {
        headers.remove(name);
    }
    if keep_upgrade {
        return;
    }
    headers.remove(header::CONNECTION);
    headers.remove(header::UPGRADE);
}
pub fn to_http1(parts: &mut Parts, authority: &str, target: &str) {
    parts.version = Version::HTTP_11;
    if let Ok(host) = HeaderValue::from_str(authority) {
        parts.headers.insert(header::HOST, host);
    }
    if let Ok(uri) = target.parse::<Uri>() {
        parts.uri = uri;
    }
}
pub fn to_http2(parts: &mut Parts, authority: &str, target: &str) {
    parts.version = Version::HTTP_2;
    parts.headers.remove(header::HOST);
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(target).build();
    if let Ok(uri) = uri {
        parts.uri = uri;
    }
}
