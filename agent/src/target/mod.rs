//! The target of a request in the one form in which everything reads it: routes, authorization, and the application.
//!
//! In: the path and query as the client sent them. Out: the same resource in normal form, or why there is none. Where two
//! readers saw one path in two ways, a request could go around a rule of one of them; so the path is brought into normal
//! form once, before anybody looks at it, and in that form it is also sent on. Paths of routes go through the same
//! function when they are compiled.
//!
//! Normal form is that of RFC 3986, section 6.2.2, which changes no meaning: escapes of letters, digits and `-._~` are
//! decoded, other escapes are in capitals, and the segments `.` and `..` are followed. What could mean two things is
//! refused: a backslash, a control character, `#`, an escape that is none or that stands for one of these. An escaped
//! slash is no slash. A doubled slash stays, since an empty segment is a segment: nothing is made of it here, because
//! applications that have whole URLs in their paths would break. An application that takes `//admin` for `/admin` needs
//! ALLOW rules and not DENY rules, as everywhere.
//!
//! The query is taken as it is, without blanks and control characters, and decoded for comparison only.

mod query;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// A path in normal form, and a query as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    path: Cow<'a, str>,
    query: Option<&'a str>,
}

/// Why a request must be answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Neither a path nor `*`.
    #[error("the request target begins with neither a slash nor is it \"*\"")]
    NoPath,
    /// A character that readers take for different things.
    #[error("the request target has the byte {byte:#04x} at {offset}, which no target may have")]
    Forbidden {
        /// The byte, as it is or as it was escaped.
        byte: u8,
        /// Where in the target.
        offset: usize,
    },
    /// `%` without two hexadecimal digits.
    #[error("the path has a % at {offset} without two hexadecimal digits after it; the client has to write %25")]
    Escape {
        /// Where in the path.
        offset: usize,
    },
}

impl<'a> RequestTarget<'a> {
    /// Reads a path with its query, if any. An empty path means `/` (RFC 9110, section 4.2.3), and `*` is itself.
    ///
    /// # Errors
    /// The request must be answered with 400.
    pub fn parse(target: &'a str) -> Result<Self, BadTarget> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let path = normal_path(path)?;
        if let Some(query) = query {
            printable(query, target.len() - query.len())?;
        }
        Ok(Self { path, query })
    }

    /// The path in normal form.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is after the question mark, as it was sent.
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// Whether the path was sent in normal form, so that what is sent on need not be written anew.
    pub fn is_as_sent(&self) -> bool {
        matches!(self.path, Cow::Borrowed(_))
    }

    /// The whole target as it is to be sent on, where that is not `sent`, of which this was read.
    pub fn rewritten(&self, sent: &str) -> Option<String> {
        // An empty path is read as the root, and is to be sent as it.
        (!self.is_as_sent() || !sent.starts_with(self.path())).then(|| match self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_string(),
        })
    }

    /// The decoded value of the first parameter of a name, as HTML forms encode them: `+` is a blank.
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        query::first(self.query?, name)
    }
}

/// The normal form of a path.
pub(crate) fn normal_path(path: &str) -> Result<Cow<'_, str>, BadTarget> {
    match path {
        "*" => return Ok(Cow::Borrowed("*")),
        "" => return Ok(Cow::Borrowed("/")),
        _ if !path.starts_with('/') => return Err(BadTarget::NoPath),
        _ => {}
    }
    let unescaped = unescape(path)?;
    // Dots only after escapes: `%2e%2e` is `..`.
    match has_dots(&unescaped) {
        true => Ok(Cow::Owned(without_dots(&unescaped))),
        false => Ok(unescaped),
    }
}

fn unescape(path: &str) -> Result<Cow<'_, str>, BadTarget> {
    let bytes = path.as_bytes();
    let mut out: Option<Vec<u8>> = None;
    let mut offset = 0;
    while let Some(&byte) = bytes.get(offset) {
        let (meant, length) = match byte {
            b'%' => (escaped(bytes, offset)?, 3),
            byte => (byte, 1),
        };
        // Before 0x21 are the control characters and the blank. An escaped blank or # is common, and plain text.
        let is_control = meant < 0x20 || meant == 0x7f;
        if is_control || meant == b'\\' || length == 1 && matches!(meant, b' ' | b'#') {
            return Err(BadTarget::Forbidden { byte: meant, offset });
        }
        let sent = &bytes[offset..offset + length];
        let is_normal = length == 1 || !is_unreserved(meant) && !sent.iter().any(u8::is_ascii_lowercase);
        if !is_normal && out.is_none() {
            out = Some(bytes[..offset].to_vec());
        }
        match &mut out {
            None => {}
            Some(out) if length == 3 && is_unreserved(meant) => out.push(meant),
            Some(out) => {
                out.extend(sent.iter().map(|byte| if length == 3 { byte.to_ascii_uppercase() } else { *byte }));
            }
        }
        offset += length;
    }
    Ok(match out {
        None => Cow::Borrowed(path),
        // Whole characters were replaced by ASCII, so this is UTF-8 as the path was.
        Some(out) => Cow::Owned(String::from_utf8_lossy(&out).into_owned()),
    })
}

/// A query goes into headers such as `Location`.
fn printable(query: &str, start: usize) -> Result<(), BadTarget> {
    let bad = query.bytes().position(|byte| byte <= b' ' || byte == 0x7f);
    let found = bad.and_then(|offset| Some((start + offset, *query.as_bytes().get(offset)?)));
    found.map_or(Ok(()), |(offset, byte)| Err(BadTarget::Forbidden { byte, offset }))
}

fn escaped(bytes: &[u8], offset: usize) -> Result<u8, BadTarget> {
    hexadecimal(bytes, offset + 1).ok_or(BadTarget::Escape { offset })
}

/// The byte that two hexadecimal digits stand for.
fn hexadecimal(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |index: usize| char::from(*bytes.get(index)?).to_digit(16);
    u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok()
}

/// RFC 3986, section 2.3: what never needs an escape.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn has_dots(path: &str) -> bool {
    path.contains("/.") && path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// RFC 3986, section 5.2.4: `..` above the root stays at the root.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
        // The path of a folder ends with a slash.
        if matches!(segment, "." | "..") && segments.peek().is_none() {
            kept.push("");
        }
    }
    kept.iter().fold(String::with_capacity(path.len()), |path, segment| path + "/" + segment)
}
