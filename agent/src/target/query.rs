//! Parameters of a query, as HTML forms write them (WHATWG URL, section 5).

use std::borrow::Cow;

use super::hexadecimal;

/// The value of the first parameter of this name. A parameter without `=` has an empty value.
pub(super) fn first<'a>(query: &'a str, name: &str) -> Option<Cow<'a, [u8]>> {
    let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
    let mut pairs = parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    let (_, value) = pairs.find(|(key, _)| *decoded(key) == *name.as_bytes())?;
    Some(decoded(value))
}

/// What is no escape stays as it is.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut offset = 0;
    while let Some(&byte) = bytes.get(offset) {
        let escape = if byte == b'%' { hexadecimal(bytes, offset + 1) } else { None };
        out.push(match (byte, escape) {
            (_, Some(meant)) => meant,
            (b'+', None) => b' ',
            (byte, None) => byte,
        });
        offset += if escape.is_some() { 3 } else { 1 };
    }
    Cow::Owned(out)
}
