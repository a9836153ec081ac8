//! The query of a request to an endpoint.

use percent_encoding::percent_decode_str;

/// Its pairs, decoded.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key), decoded(value))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let owned = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            pairs("path=%2Fa%20b&&source=x+y&failed"),
            [owned("path", "/a b"), owned("source", "x y"), owned("failed", "")]
        );
        assert_eq!(pairs(""), []);
    }
}
