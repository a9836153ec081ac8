//! Below which path the cookie of a rule's sessions is of use (GEP-1619, "Path"): a client that keeps cookies then has one
//! for each path that leads to sessions of its own.

use crate::{
    mesh::Condition,
    rules::{grpc_route::GrpcMethodMatch, http_route::PathMatch},
};

/// For the match that decided. Cookies, as prefixes, go by whole segments (RFC 6265, 5.1.4).
pub(super) fn cookie_path(condition: Condition<'_>) -> String {
    let path = match condition {
        Condition::Http(one, ..) => match &one.path {
            PathMatch::Exact(path) => path.clone(),
            PathMatch::PathPrefix(prefix) => prefix.trim_end_matches('/').to_owned(),
            PathMatch::RegularExpression(pattern) => written_out(pattern.as_str()).to_owned(),
        },
        Condition::Grpc(one, _) => match &one.method {
            Some(GrpcMethodMatch::Exact { service: Some(service), method: Some(method) }) => {
                format!("/{service}/{method}")
            }
            Some(GrpcMethodMatch::Exact { service: Some(service), method: None }) => format!("/{service}"),
            _ => String::new(),
        },
    };
    if path.is_empty() { "/".to_owned() } else { path }
}

/// The segments at an expression's begin that every path which it matches has.
fn written_out(expression: &str) -> &str {
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    if has_choice(expression) {
        return "";
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_~%!&',;=:@".contains(&byte);
    let plain = expression.bytes().take_while(|byte| is_plain(*byte)).count();
    let (path, rest) = expression.split_at(plain);
    let path = match rest {
        "" | "$" => return path,
        // What comes before one of these may be there or not.
        _ if rest.starts_with(['?', '*', '{']) => path.get(..plain.saturating_sub(1)).unwrap_or(path),
        _ => path,
    };
    path.rfind('/').and_then(|slash| path.get(..slash)).unwrap_or_default()
}

/// Whether there is a `|` outside of groups and classes, so that nothing has to be at the begin.
fn has_choice(expression: &str) -> bool {
    let (mut depth, mut in_class, mut escaped) = (0_usize, false, false);
    expression.bytes().any(|byte| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match byte {
            b'\\' => escaped = true,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'(' if !in_class => depth += 1,
            b')' if !in_class => depth = depth.saturating_sub(1),
            b'|' => return depth == 0 && !in_class,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_expression_the_segments_that_are_written_out() {
        let cases = [
            ("/p1/p2/.*/p3", "/p1/p2"),
            ("/p1/p2/[^/]+/p3", "/p1/p2"),
            ("^/v[0-9]+$", ""),
            ("/shop", "/shop"),
            ("^/shop$", "/shop"),
            ("/shop/cart/?", "/shop"),
            ("/shop/?x", ""),
            ("/shop(/.*)?", ""),
            ("/shop/(a|b)", "/shop"),
            ("/a/b|/c", ""),
            (r"/a\|/b|/c", ""),
            ("/a/[|]/b", "/a"),
            ("(?i)/a", ""),
            (".*", ""),
            ("", ""),
        ];
        for (expression, expected) in cases {
            assert_eq!(written_out(expression), expected, "{expression}");
        }
    }
}
