//! Where a request may have its token: headers, parameters of the query, cookies; found there, and taken out of there.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::PathAndQuery};
use percent_encoding::percent_decode_str;

use super::Request;
use crate::rules::request_authentication::JwtRule;

/// One place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// A header, and what stands before the token there.
    Header(&'a HeaderName, &'a str),
    /// A parameter.
    Parameter(&'a str),
    /// A cookie.
    Cookie(&'a str),
}

/// The same, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PlaceFound {
    Header(HeaderName, String),
    Parameter(String),
    Cookie(String),
}

/// The places of a rule. Without any that it names, those of RFC 6750, sections 2.1 and 2.3.
pub(super) fn places(rule: &JwtRule) -> Vec<Place<'_>> {
    let headers = rule.from_headers.iter().map(|header| Place::Header(&header.name, &header.prefix));
    let parameters = rule.from_params.iter().map(|name| Place::Parameter(name));
    let cookies = rule.from_cookies.iter().map(|name| Place::Cookie(name));
    let named: Vec<_> = headers.chain(parameters).chain(cookies).collect();
    match named.is_empty() {
        true => vec![Place::Header(&header::AUTHORIZATION, "Bearer "), Place::Parameter("access_token")],
        false => named,
    }
}

impl<'a> Place<'a> {
    /// Every token of a request that is there.
    pub(super) fn tokens<'r>(self, request: &Request<'r>) -> Vec<Cow<'r, str>> {
        match self {
            Self::Header(name, prefix) => {
                let values = request.headers.get_all(name).iter();
                values.filter_map(|value| after_prefix(value, prefix)).collect()
            }
            Self::Parameter(name) => {
                let pairs = request.target.query().unwrap_or_default().split('&').map(pair);
                pairs.filter(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value)).collect()
            }
            Self::Cookie(name) => {
                let pairs = request.headers.get_all(header::COOKIE).iter().flat_map(cookies).map(cookie);
                let values = pairs.filter(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value);
                values.map(String::from_utf8_lossy).collect()
            }
        }
    }

    pub(super) fn kept(self) -> PlaceFound {
        match self {
            Self::Header(name, prefix) => PlaceFound::Header(name.clone(), prefix.to_owned()),
            Self::Parameter(name) => PlaceFound::Parameter(name.to_owned()),
            Self::Cookie(name) => PlaceFound::Cookie(name.to_owned()),
        }
    }
}

impl PlaceFound {
    /// Takes the token out. Other values of the same header stay.
    pub(super) fn clear(&self, headers: &mut HeaderMap, target: &mut Uri) {
        match self {
            Self::Header(name, prefix) => retain(headers, name, |value| after_prefix(value, prefix).is_none()),
            Self::Parameter(name) => {
                if let Some(without) = without_parameter(target, name) {
                    *target = without;
                }
            }
            Self::Cookie(name) => {
                let left = headers.get_all(header::COOKIE).iter().filter_map(|value| without_cookie(value, name));
                let left: Vec<HeaderValue> = left.collect();
                put(headers, &header::COOKIE, left);
            }
        }
    }
}

/// The token of a header's value that has the prefix. Its case does not count, nor which blank ends it: a scheme's case never
/// does (RFC 9110, section 11.1), and an application that takes `bearer` must not get a token that was not looked at.
fn after_prefix<'a>(value: &'a HeaderValue, prefix: &str) -> Option<Cow<'a, str>> {
    let value = value.as_bytes().trim_ascii();
    let prefix = prefix.trim_ascii_start();
    let word = prefix.trim_ascii_end();
    let (start, token) = value.split_at_checked(word.len())?;
    let ends = word.len() == prefix.len() || token.first().is_some_and(u8::is_ascii_whitespace);
    if !ends || !start.eq_ignore_ascii_case(word.as_bytes()) {
        return None;
    }
    // What is no text is no token, and is found to be none.
    Some(String::from_utf8_lossy(token.trim_ascii()))
}

fn retain(headers: &mut HeaderMap, name: &HeaderName, keep: impl Fn(&HeaderValue) -> bool) {
    let left: Vec<HeaderValue> = headers.get_all(name).iter().filter(|value| keep(value)).cloned().collect();
    put(headers, name, left);
}

fn put(headers: &mut HeaderMap, name: &HeaderName, values: Vec<HeaderValue>) {
    headers.remove(name);
    for value in values {
        headers.append(name, value);
    }
}

/// What is left is as it was, byte by byte. None where nothing has the name.
fn without_parameter(target: &Uri, name: &str) -> Option<Uri> {
    let query = target.query()?;
    let left: Vec<&str> = query.split('&').filter(|text| decoded(pair(text).0) != name).collect();
    let path = target.path();
    let text = if left.is_empty() { path.to_owned() } else { format!("{path}?{}", left.join("&")) };
    let mut parts = target.clone().into_parts();
    parts.path_and_query = Some(text.parse::<PathAndQuery>().ok()?);
    Uri::from_parts(parts).ok()
}

fn without_cookie(value: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let left: Vec<&[u8]> = cookies(value).filter(|text| cookie(text).0 != name.as_bytes()).collect();
    match left.is_empty() {
        true => None,
        false => HeaderValue::from_bytes(&left.join(&b"; "[..])).ok(),
    }
}

/// Each `name=value` of a header. Other cookies beside the token's may have bytes that are no text.
fn cookies(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

fn pair(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}

/// RFC 6265, section 4.1.1: a value may stand in quotation marks.
fn cookie(text: &[u8]) -> (&[u8], &[u8]) {
    let middle = text.iter().position(|byte| *byte == b'=').unwrap_or(text.len());
    let (name, value) = (text[..middle].trim_ascii(), text.get(middle + 1..).unwrap_or_default().trim_ascii());
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    (name, bare.unwrap_or(value))
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}
