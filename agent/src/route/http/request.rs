//! What a decision reads of a request. All of it is borrowed.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::{rules::http_route::Scheme, target::RequestTarget};

/// A request, before anything was changed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path and query.
    pub target: &'a RequestTarget<'a>,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What it came by.
    pub scheme: Scheme,
    /// `:authority`, or the `Host` header, with its port where it has one; empty if there is neither.
    pub authority: &'a str,
}

impl Request<'_> {
    /// Whether it is a gRPC call.
    pub fn is_grpc(&self) -> bool {
        is_grpc(self.headers)
    }

    /// The value of a header. Several lines of one name are one value with commas between (RFC 9110, section 5.3); those
    /// of a cookie are crumbs, with semicolons (RFC 9113, section 8.2.3). HTTP/2 has the host elsewhere.
    pub fn header(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        let mut values = self.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let Some(first) = values.next() else {
            let is_elsewhere = *name == header::HOST && !self.authority.is_empty();
            return is_elsewhere.then_some(Cow::Borrowed(self.authority.as_bytes()));
        };
        let separator: &[u8] = if *name == header::COOKIE { b"; " } else { b"," };
        Some(values.fold(Cow::Borrowed(first), |value, more| Cow::Owned([&value, separator, more].concat())))
    }

    /// The host without its port. `None` where there is none that could be repeated in an answer.
    pub(super) fn host(&self) -> Option<&str> {
        let host = match self.authority.strip_prefix('[') {
            // The brackets stay: so addresses are written in URLs.
            Some(address) => self.authority.get(..address.find(']')? + 2)?,
            None => self.authority.split(':').next()?,
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%[]:".contains(&byte);
        (!host.is_empty() && host.bytes().all(is_host)).then_some(host)
    }
}

/// Whether a request is a gRPC call, by its content type: `application/grpc`, which may have a format or parameters after it.
/// gRPC-Web is HTTP like any other.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let Some((name, rest)) = content_type.split_at_checked(b"application/grpc".len()) else { return false };
    name.eq_ignore_ascii_case(b"application/grpc") && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("Application/GRPC+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
