//! What requests that go to one endpoint have in common, as a hash that all nodes compute alike.

use std::{hash::BuildHasher, net::IpAddr};

use foldhash::quality::FixedState;
use http::HeaderValue;

use super::cookies;
use crate::{
    route::http::Request,
    rules::destination_rule::{HashCookie, HashKey},
};

/// A cookie that the mesh gives to a client that has none.
#[derive(Clone, Debug)]
pub struct NewCookie {
    /// The `Set-Cookie` of the answer.
    pub header: HeaderValue,
    /// What the cookie's value hashes to, so that this request already goes where the next ones will.
    pub hash: u64,
}

/// The hash of a request's key; `None` if it has none. An empty value is one.
pub fn hash_key(key: &HashKey, request: &Request<'_>, client: IpAddr) -> Option<u64> {
    match key {
        HashKey::Header(name) => request.header(name).map(|value| hash(&value)),
        HashKey::Cookie(cookie) => cookies::values(request.headers, &cookie.name).next().map(hash),
        HashKey::QueryParameter(name) => request.target.parameter(name).map(|value| hash(&value)),
        HashKey::SourceIp => Some(match client {
            IpAddr::V4(address) => hash(&address.octets()),
            IpAddr::V6(address) => hash(&address.octets()),
        }),
    }
}

/// The cookie for a client that has none; `None` if its time to live is not said, which means that the application makes
/// it, or if its name or path cannot be those of a cookie.
pub fn new_cookie(cookie: &HashCookie) -> Option<NewCookie> {
    let ttl = cookie.ttl?;
    let path = cookie.path.as_deref();
    if !cookies::is_name(&cookie.name) || path.is_some_and(|path| !cookies::is_path(path)) {
        return None;
    }
    let value = format!("{:032x}", fastrand::u128(..));
    let mut text = format!("{}={value}; HttpOnly", cookie.name);
    if !ttl.is_zero() {
        // A part of a second would be none, and remove the cookie.
        text += &format!("; Max-Age={}", ttl.as_secs().max(1));
    }
    if let Some(path) = path {
        text += &format!("; Path={path}");
    }
    Some(NewCookie { header: HeaderValue::try_from(text).ok()?, hash: hash(value.as_bytes()) })
}

fn hash(bytes: &[u8]) -> u64 {
    // The same on every node and in every run.
    FixedState::with_seed(0).hash_one(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use http::{HeaderMap, HeaderName, Method, header};

    use super::*;
    use crate::{rules::http_route::Scheme, target::RequestTarget};

    fn hashed(key: &HashKey, target: &str, headers: &[(HeaderName, &'static str)], client: &str) -> Option<u64> {
        let lines = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, value);
        }
        let target = RequestTarget::parse(target).unwrap();
        let request =
            Request { method: &Method::GET, target: &target, headers: &map, scheme: Scheme::Http, authority: "a" };
        hash_key(key, &request, client.parse().unwrap())
    }

    fn cookie(ttl: Option<u64>, path: Option<&str>) -> HashCookie {
        HashCookie { name: "where".to_owned(), path: path.map(str::to_owned), ttl: ttl.map(Duration::from_secs) }
    }

    #[test]
    fn only_the_key_decides() {
        let user = HeaderName::from_static("x-user");
        let client = "10.0.0.1";
        let header = HashKey::Header(user.clone());
        assert_eq!(
            hashed(&header, "/a", &[(user.clone(), "1")], client),
            hashed(&header, "/b", &[(user.clone(), "1")], "10.0.0.2")
        );
        assert_ne!(
            hashed(&header, "/", &[(user.clone(), "1")], client),
            hashed(&header, "/", &[(user.clone(), "2")], client)
        );
        assert_eq!(hashed(&header, "/", &[], client), None);
        assert!(hashed(&header, "/", &[(user, "")], client).is_some());

        let parameter = HashKey::QueryParameter("k".to_owned());
        assert_eq!(hashed(&parameter, "/a?k=x%31", &[], client), hashed(&parameter, "/b?l=2&k=x1", &[], client));
        assert_ne!(hashed(&parameter, "/?k=1", &[], client), hashed(&parameter, "/?k=2", &[], client));
        assert_eq!(hashed(&parameter, "/?l=2", &[], client), None);

        let key = HashKey::Cookie(cookie(None, None));
        let one = |value| hashed(&key, "/", &[(header::COOKIE, value)], client);
        assert_eq!(one("where=1"), one("a=b; where=1"));
        assert_ne!(one("where=1"), one("where=2"));
        assert_eq!(one("elsewhere=1"), None);

        assert_eq!(hashed(&HashKey::SourceIp, "/a", &[], client), hashed(&HashKey::SourceIp, "/b", &[], client));
        assert_ne!(hashed(&HashKey::SourceIp, "/", &[], client), hashed(&HashKey::SourceIp, "/", &[], "10.0.0.2"));
        assert!(hashed(&HashKey::SourceIp, "/", &[], "fd00::1").is_some());
    }

    #[test]
    fn hashes_are_those_of_every_other_node_and_version() {
        // A changed hash would send every client elsewhere while nodes are upgraded one after the other.
        assert_eq!(hashed(&HashKey::SourceIp, "/", &[], "10.0.0.1"), Some(KNOWN));
    }

    const KNOWN: u64 = 2_818_274_280_076_557_794;

    #[test]
    fn a_cookie_is_made_only_where_its_time_is_said() {
        assert!(new_cookie(&cookie(None, Some("/"))).is_none());
        let session = new_cookie(&cookie(Some(0), None)).unwrap();
        assert!(!session.header.to_str().unwrap().contains("Max-Age"));
        let lasting = new_cookie(&cookie(Some(60), Some("/shop"))).unwrap();
        let text = lasting.header.to_str().unwrap();
        assert!(text.ends_with("; HttpOnly; Max-Age=60; Path=/shop"), "{text}");
        assert!(new_cookie(&cookie(Some(60), Some("/; Domain=example.org"))).is_none());
        // What the client sends back finds the same.
        let value: &'static str = Box::leak(text.split(';').next().unwrap().to_owned().into_boxed_str());
        let key = HashKey::Cookie(cookie(Some(60), None));
        assert_eq!(hashed(&key, "/", &[(header::COOKIE, value)], "10.0.0.1"), Some(lasting.hash));
        assert_ne!(session.hash, lasting.hash);
    }
}
