//! `jwtRules`: one issuer, its keys, where its tokens are and what becomes of them.

use std::time::Duration;

use http::{HeaderName, Uri};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::Jwks;
use crate::{
    config::yaml::MapReader,
    rules::value::{
        duration, header_name, list, not_both, required, serialize_header, serialize_some_duration,
        serialize_some_header, text,
    },
};

/// One entry of `jwtRules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtRule {
    /// The token's `iss`.
    pub issuer: String,
    /// One of these must be in the token's `aud`; anything may be where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Where the keys come from.
    #[serde(flatten)]
    pub keys: KeySource,
    /// Headers that may have the token. Without any place named, `Authorization: Bearer` and the parameter `access_token`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_headers: Vec<JwtHeader>,
    /// Query parameters that may have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_params: Vec<String>,
    /// Cookies that may have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_cookies: Vec<String>,
    /// The header in which the application gets the verified payload, base64url.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_header")]
    pub output_payload_to_header: Option<HeaderName>,
    /// Whether the application gets the token itself too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forward_original_token: bool,
    /// Claims that the application gets as headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    /// How long fetching the keys may take; 5 s where it is absent.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_duration")]
    pub timeout: Option<Duration>,
    /// Claims whose text is a list with blanks between, like `scope`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub space_delimited_claims: Vec<String>,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The metadata that OpenID Connect has the issuer publish below its own URL.
    Discovered,
    /// `jwksUri`: fetched from there.
    Uri(Uri),
    /// `jwks`: written in the document.
    Inline(Jwks),
}

/// A header that may have a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwtHeader {
    /// Its name.
    #[serde(serialize_with = "serialize_header")]
    pub name: HeaderName,
    /// What stands before the token, such as `"Bearer "`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// A claim that becomes a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimToHeader {
    /// The header. What the client sent under this name is removed.
    #[serde(serialize_with = "serialize_header")]
    pub header: HeaderName,
    /// The claim; `.` leads into nested ones.
    pub claim: String,
}

const TEXT: &str = "text that is not empty";

/// Reads an entry of `jwtRules`.
pub(super) fn read(map: MapReader<'_>) -> Option<JwtRule> {
    let texts = |key| list(&map, key, TEXT, |text| (!text.is_empty()).then(|| text.to_owned()));
    let issuer = required(&map, "issuer", TEXT, text(&map, "issuer"));
    let audiences = texts("audiences");
    let keys = keys(&map);
    let from_headers = map.maps("fromHeaders").into_iter().filter_map(header).collect();
    let (from_params, from_cookies) = (texts("fromParams"), texts("fromCookies"));
    let output_payload_to_header = header_name(&map, "outputPayloadToHeader");
    let forward_original_token = map.boolean("forwardOriginalToken").unwrap_or(false);
    let output_claim_to_headers = map.maps("outputClaimToHeaders").into_iter().filter_map(claim).collect();
    let timeout = duration(&map, "timeout");
    let space_delimited_claims = texts("spaceDelimitedClaims");
    map.not_enforced(&["presence"]);
    map.finish();
    Some(JwtRule {
        issuer: issuer?,
        audiences,
        keys,
        from_headers,
        from_params,
        from_cookies,
        output_payload_to_header,
        forward_original_token,
        output_claim_to_headers,
        timeout,
        space_delimited_claims,
    })
}

fn keys(map: &MapReader<'_>) -> KeySource {
    not_both(map, "jwks", "jwksUri");
    let uri = map.parsed("jwksUri", "a URL such as https://example.com/keys.json", web_address);
    let inline = map.text("jwks").map(Jwks::parse);
    match (inline, uri) {
        (Some(Ok(keys)), _) => KeySource::Inline(keys),
        (Some(Err(problem)), _) => {
            map.complain("jwks", problem);
            KeySource::Discovered
        }
        (None, Some(uri)) => KeySource::Uri(uri),
        (None, None) => KeySource::Discovered,
    }
}

fn web_address(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    (is_web && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

fn header(map: MapReader<'_>) -> Option<JwtHeader> {
    let name = required(&map, "name", "a header's name", header_name(&map, "name"));
    let prefix = map.text("prefix").unwrap_or_default().to_owned();
    map.finish();
    Some(JwtHeader { name: name?, prefix })
}

fn claim(map: MapReader<'_>) -> Option<ClaimToHeader> {
    let header = required(&map, "header", "a header's name", header_name(&map, "header"));
    let claim = required(&map, "claim", TEXT, text(&map, "claim"));
    map.finish();
    Some(ClaimToHeader { header: header?, claim: claim? })
}

impl Serialize for KeySource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Discovered => {}
            Self::Uri(uri) => map.serialize_entry("jwksUri", &uri.to_string())?,
            Self::Inline(keys) => map.serialize_entry("jwks", keys)?,
        }
        map.end()
    }
}
