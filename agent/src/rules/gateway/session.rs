//! SessionPersistence: a client stays with the endpoint that it had first.

use std::time::Duration;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{DURATION, as_optional_duration, header_name, one_of_or, parse_duration};
use crate::config::yaml::MapReader;

/// SessionPersistence of a rule or of a BackendTrafficPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    /// Name of the cookie or header; one is made up where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// How long a session lives.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_duration")]
    pub absolute_timeout: Option<Duration>,
    /// How long a session lives without a request.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_optional_duration")]
    pub idle_timeout: Option<Duration>,
    /// How the client tells its session.
    #[serde(flatten)]
    pub token: SessionToken,
}

/// `type` and `cookieConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionToken {
    /// By a cookie.
    Cookie(CookieLifetime),
    /// By a header.
    Header,
}

/// `cookieConfig.lifetimeType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CookieLifetime {
    /// Until the client's own session ends.
    Session,
    /// For `absoluteTimeout`, which is there.
    Permanent,
}

/// Reads the persistence under a key.
pub(in crate::rules) fn session_persistence(parent: &MapReader<'_>) -> Option<SessionPersistence> {
    let map = parent.map("sessionPersistence")?;
    let allowed = "a name for a cookie or header: 1 to 128 letters, digits and !#$%&'*+-.^_`|~";
    let is_name = |text: &str| text.len() <= 128 && header_name(text).is_some();
    let session_name = map.parsed("sessionName", allowed, |text| is_name(text).then(|| text.to_owned()));
    let absolute_timeout = map.parsed("absoluteTimeout", DURATION, parse_duration);
    let idle_timeout = map.parsed("idleTimeout", DURATION, parse_duration);
    let token = token(&map);
    if token == Some(SessionToken::Cookie(CookieLifetime::Permanent)) && !map.has("absoluteTimeout") {
        map.missing("absoluteTimeout", "the lifetime of a Permanent cookie, such as 24h");
    }
    map.finish();
    Some(SessionPersistence { session_name, absolute_timeout, idle_timeout, token: token? })
}

fn token(map: &MapReader<'_>) -> Option<SessionToken> {
    let lifetimes = [("Session", CookieLifetime::Session), ("Permanent", CookieLifetime::Permanent)];
    let lifetime = map.map("cookieConfig").map_or(Some(CookieLifetime::Session), |cookie| {
        let lifetime = one_of_or(&cookie, "lifetimeType", &lifetimes, CookieLifetime::Session);
        cookie.finish();
        lifetime
    });
    let cookie = SessionToken::Cookie(lifetime.unwrap_or(CookieLifetime::Session));
    let token = one_of_or(map, "type", &[("Cookie", cookie), ("Header", SessionToken::Header)], cookie)?;
    if token == SessionToken::Header && map.has("cookieConfig") {
        map.complain("cookieConfig", "goes with type Cookie, found type Header");
    }
    Some(token)
}

impl Serialize for SessionToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct CookieConfig {
            lifetime_type: CookieLifetime,
        }
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Cookie(lifetime) => {
                map.serialize_entry("type", "Cookie")?;
                map.serialize_entry("cookieConfig", &CookieConfig { lifetime_type: *lifetime })?;
            }
            Self::Header => map.serialize_entry("type", "Header")?,
        }
        map.end()
    }
}
