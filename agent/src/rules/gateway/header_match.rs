//! Matches of header and parameter values: exact, or by regular expression.

use http::HeaderName;
use serde::Serialize;

use super::{
    HEADER_NAME, Pattern, as_name,
    header_modifier::{HEADER_VALUE, is_header_text},
    header_name, limited, one_of_or, required,
};
use crate::config::yaml::MapReader;

/// Entries of one list, by upstream's schema.
const MAX_HEADERS: usize = 16;

/// What a value is compared with. Written as `type` and `value`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "value")]
pub enum TextMatch {
    /// Equal, with case.
    Exact(String),
    /// The whole value matches an expression.
    RegularExpression(Pattern),
}

/// HTTPHeaderMatch and GRPCHeaderMatch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderMatch {
    /// Name of the header; its case means nothing, and is not kept.
    #[serde(serialize_with = "as_name")]
    pub name: HeaderName,
    /// What its value must be.
    #[serde(flatten)]
    pub value: TextMatch,
}

impl TextMatch {
    /// Whether a value matches.
    pub fn is_match(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_bytes() == value,
            Self::RegularExpression(pattern) => pattern.is_match(value),
        }
    }
}

#[derive(Clone, Copy)]
enum MatchType {
    Exact,
    RegularExpression,
}

/// Reads `headers`. Of entries whose names differ only in case the first one counts, as upstream says; the same
/// spelling twice is refused, as the API server would.
pub(in crate::rules) fn header_matches(map: &MapReader<'_>) -> Vec<HeaderMatch> {
    let mut matches: Vec<HeaderMatch> = Vec::new();
    let mut spellings = Vec::new();
    for entry in limited(map, "headers", MAX_HEADERS) {
        let name = required(&entry, "name", HEADER_NAME, |text| Some((header_name(text)?, text.to_owned())));
        let value = text_match(&entry, HEADER_VALUE, is_header_text);
        if let Some((name, spelling)) = name {
            if spellings.contains(&spelling) {
                entry.complain(
                    "name",
                    format!("comes a second time in this list: {spelling:?}, allowed: each header once"),
                );
            }
            spellings.push(spelling);
            if let Some(value) = value.filter(|_| !matches.iter().any(|earlier| earlier.name == name)) {
                matches.push(HeaderMatch { name, value });
            }
        }
        entry.finish();
    }
    matches
}

/// Reads `type` and `value`; the function says whether a text can be the value of what is matched.
pub(in crate::rules) fn text_match(map: &MapReader<'_>, allowed: &str, is_text: fn(&str) -> bool) -> Option<TextMatch> {
    let types = [("Exact", MatchType::Exact), ("RegularExpression", MatchType::RegularExpression)];
    let kind = one_of_or(map, "type", &types, MatchType::Exact);
    let value = required(map, "value", allowed, |text| is_text(text).then(|| text.to_owned()))?;
    match kind? {
        MatchType::Exact => Some(TextMatch::Exact(value)),
        MatchType::RegularExpression => pattern(map, "value", &value).map(TextMatch::RegularExpression),
    }
}

/// Compiles the text of a key.
pub(in crate::rules) fn pattern(map: &MapReader<'_>, key: &str, source: &str) -> Option<Pattern> {
    Pattern::new(source)
        .map_err(|reason| map.complain(key, format!("{source:?} is no regular expression of this build: {reason}")))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_compared_as_a_whole_and_with_case() {
        let exact = TextMatch::Exact("v1".to_owned());
        let expression = Pattern::new("v[0-9]").map(TextMatch::RegularExpression);
        for (value, is_exact, is_expressed) in
            [("v1", true, true), ("v2", false, true), ("V1", false, false), ("v12", false, false), ("", false, false)]
        {
            assert_eq!(exact.is_match(value.as_bytes()), is_exact, "{value}");
            assert_eq!(expression.as_ref().map(|e| e.is_match(value.as_bytes())), Ok(is_expressed), "{value}");
        }
    }
}
