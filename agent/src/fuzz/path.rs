//! What is promised of a path in normal form, and the plain reader to compare with: RFC 3986 by its letter.

use crate::target::{BadTarget, RequestTarget};

/// How a target is read, in few words.
pub(super) fn exercise(target: &str) -> Result<String, String> {
    let read = match RequestTarget::parse(target) {
        Ok(read) => read,
        Err(BadTarget::NoPath) => return Ok("no path".to_owned()),
        Err(BadTarget::Forbidden { .. }) => return Ok("a forbidden byte".to_owned()),
        Err(BadTarget::Escape { .. }) => return Ok("no escape".to_owned()),
    };
    let again = RequestTarget::parse(read.path()).map_err(|bad| format!("{:?} is refused: {bad}", read.path()))?;
    if again.path() != read.path() || !again.is_as_sent() {
        return Err(format!("{:?} is in normal form, and that of it is {:?}", read.path(), again.path()));
    }
    let path = target.split('?').next().unwrap_or_default();
    let plain = plain(path);
    if read.path() != plain {
        return Err(format!("{path:?} is {:?} in normal form, and {plain:?} by RFC 3986", read.path()));
    }
    let sent_on = read.rewritten(target).unwrap_or_else(|| target.to_owned());
    let arrives = RequestTarget::parse(&sent_on).map_err(|bad| format!("{sent_on:?} is refused: {bad}"))?;
    if (arrives.path(), arrives.query()) != (read.path(), read.query()) {
        return Err(format!("{target:?} is sent on as {sent_on:?}"));
    }
    Ok(format!("{}, {}", if read.is_as_sent() { "as sent" } else { "rewritten" }, read.query().is_some()))
}

/// Normal form as the RFC has it: escapes in capitals, those of unreserved characters decoded, dots removed. For what is taken.
fn plain(path: &str) -> String {
    match path {
        "" => "/".to_owned(),
        "*" => "*".to_owned(),
        path => without_dots(&unescaped(path)),
    }
}

/// Section 6.2.2.1 and 6.2.2.2.
fn unescaped(path: &str) -> String {
    let mut parts = path.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or(("", part));
        match u8::from_str_radix(digits, 16).map(char::from) {
            Ok(meant) if meant.is_ascii_alphanumeric() || "-._~".contains(meant) => text.push(meant),
            _ => text = text + "%" + &digits.to_uppercase(),
        }
        text += rest;
    }
    text
}

/// Section 5.2.4, step by step.
fn without_dots(path: &str) -> String {
    let (mut input, mut output) = (path.to_owned(), String::new());
    while !input.is_empty() {
        if input.starts_with("/./") || input == "/." {
            input = format!("/{}", input.get(3..).unwrap_or_default());
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or_default());
            output.truncate(output.rfind('/').unwrap_or_default());
        } else {
            let end = input.match_indices('/').map(|(at, _)| at).find(|at| *at > 0).unwrap_or(input.len());
            output += &input[..end];
            input = input.split_off(end);
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_reader_reads_the_examples_of_the_rfc() {
        for (path, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/mid/content=5/../6", "/mid/6"),
            ("/..", "/"),
            ("/a/.", "/a/"),
            ("/%7euser/%2fx%c3", "/~user/%2Fx%C3"),
            ("/a%2e%2E/%2e/b//c", "/a../b//c"),
        ] {
            assert_eq!(plain(path), expected, "{path}");
        }
    }
}
