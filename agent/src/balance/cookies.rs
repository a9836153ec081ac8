//! Cookies of a request, and what a cookie of an answer may have in it (RFC 6265).

use http::{HeaderMap, HeaderValue, header};

/// The values of all cookies of a name, as they were sent but for quotes around them.
pub(super) fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes);
    let crumbs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    crumbs.filter_map(move |crumb| {
        let value = crumb.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// Whether this is a name that a cookie can have: a token of RFC 9110.
pub(super) fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// Whether this is a path that a cookie can have, and not the begin of another attribute.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_in_every_line_and_crumb() {
        let mut headers = HeaderMap::new();
        for line in ["a=1; b=2;c=\"3\"", "aa=4", " b = 5 ", "b=6=7", "b", ""] {
            headers.append(header::COOKIE, HeaderValue::from_static(line));
        }
        let all = |name| values(&headers, name).map(String::from_utf8_lossy).collect::<Vec<_>>();
        assert_eq!(all("a"), ["1"]);
        assert_eq!(all("b"), ["2", "6=7"]);
        assert_eq!(all("c"), ["3"]);
        assert_eq!(all("d"), Vec::<String>::new());
    }

    #[test]
    fn no_name_or_path_adds_an_attribute() {
        assert!(is_name("a-b_c") && is_path("/a/b"));
        for name in ["", "a b", "a;b", "a=b", "\u{e4}"] {
            assert!(!is_name(name), "{name}");
        }
        for path in ["", "a", "/a; Domain=b", "/a\r\n", "/\u{e4}"] {
            assert!(!is_path(path), "{path}");
        }
    }
}
