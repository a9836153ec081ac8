//! Session persistence (GEP-1619): the token by which a client comes back to the endpoint that it had first.
//!
//! The token is a cookie or a header. It has the endpoint's address and the session's times in it, sealed with a key that
//! all nodes have and clients do not: nothing is kept on any node, a client learns no address from it, and cannot make one
//! up. Where it leads is still only a wish: `Balancer::pick` takes it if it is among the endpoints in use.

use std::{
    borrow::Cow,
    hash::BuildHasher,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{SHA256, digest},
    error::Unspecified,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use foldhash::quality::FixedState;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::cookies;
use crate::{
    mesh::TrustDomain,
    rules::gateway::{CookieLifetime, SessionPersistence, SessionToken},
};

/// What tokens are sealed with. Nonces are random, and AES-GCM-SIV (RFC 8452) bears it if two should be the same.
#[derive(Debug)]
pub struct SessionKey(RandomizedNonceKey);

/// How one rule's sessions are told.
#[derive(Clone, Debug)]
pub struct Sessions<'a> {
    key: &'a SessionKey,
    persistence: &'a SessionPersistence,
    name: Cow<'a, str>,
    place: Cow<'a, str>,
}

/// A session that a client came with. It has not run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    endpoint: SocketAddr,
    begun: Seconds,
    used: Seconds,
}

/// For which requests a client sends the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieScope<'a> {
    /// Below this path. None, or one that no cookie can have, makes it the folder of the request's path.
    pub path: Option<&'a str>,
    /// Over TLS only. The request has to have come by TLS itself, or its client never sends the cookie back.
    pub secure: bool,
}

/// Seconds since 1970, as all nodes have them.
type Seconds = u64;

/// The layout of tokens. One of another version begins a new session.
const VERSION: u8 = 1;

/// Version, address, port, and the two times.
const LENGTH: usize = 1 + 16 + 2 + 8 + 8;

/// A client is told again when the session's last use is older than this part of the idle timeout.
const REFRESH: u64 = 10;

impl SessionKey {
    /// That of a mesh: sessions are read by every node of it, so the key follows from what all nodes have. It keeps addresses
    /// out of sight and tokens from being made up by accident; where a session may lead is decided by the endpoints in use.
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub fn of_mesh(trust_domain: &TrustDomain, root_namespace: &str) -> Result<Self, Unspecified> {
        Self::new(format!("{trust_domain} {root_namespace}").as_bytes())
    }

    /// The key that follows from a secret which all nodes have.
    ///
    /// # Errors
    /// None that is known: the cryptographic library may refuse a key, and takes all of this length.
    pub fn new(secret: &[u8]) -> Result<Self, Unspecified> {
        let mut labelled = b"heddle session persistence 1\0".to_vec();
        labelled.extend_from_slice(secret);
        Ok(Self(RandomizedNonceKey::new(&AES_256_GCM_SIV, digest(&SHA256, &labelled).as_ref())?))
    }
}

impl Session {
    /// The endpoint that it asks for, which may be gone.
    pub fn endpoint(&self) -> SocketAddr {
        self.endpoint
    }
}

impl<'a> Sessions<'a> {
    /// The sessions of one rule, whose place is a name that no other rule has, the same on all nodes.
    pub fn new(key: &'a SessionKey, persistence: &'a SessionPersistence, place: impl Into<Cow<'a, str>>) -> Self {
        let place = place.into();
        let made_up = || Cow::Owned(format!("heddle-session-{:016x}", FixedState::with_seed(0).hash_one(&*place)));
        let name = persistence.session_name.as_deref().map_or_else(made_up, Cow::Borrowed);
        Self { key, persistence, name, place }
    }

    /// The session that a request belongs to.
    pub fn read(&self, headers: &HeaderMap, now: SystemTime) -> Option<Session> {
        let opened = |token: &[u8]| self.open(token).filter(|session| self.is_alive(session, seconds(now)));
        match self.persistence.token {
            SessionToken::Cookie(_) => cookies::values(headers, &self.name).find_map(opened),
            SessionToken::Header => {
                headers.get_all(&*self.name).into_iter().map(HeaderValue::as_bytes).find_map(opened)
            }
        }
    }

    /// What the answer tells the client, if there is anything to tell: which endpoint it has now, or that its session is
    /// in use. `came_with` is what [`Self::read`] found in the request.
    pub fn write(
        &self,
        endpoint: SocketAddr,
        came_with: Option<Session>,
        scope: CookieScope<'_>,
        now: SystemTime,
    ) -> Option<(HeaderName, HeaderValue)> {
        let now = seconds(now);
        let session = match came_with.filter(|session| session.endpoint == endpoint) {
            Some(session) if !self.is_to_be_refreshed(&session, now) => return None,
            Some(session) => Session { used: now, ..session },
            None => Session { endpoint, begun: now, used: now },
        };
        let token = self.seal(&session)?;
        match self.persistence.token {
            SessionToken::Cookie(lifetime) => {
                let cookie = self.cookie(&token, lifetime, &session, scope, now);
                Some((header::SET_COOKIE, HeaderValue::try_from(cookie).ok()?))
            }
            SessionToken::Header => Some((HeaderName::try_from(&*self.name).ok()?, HeaderValue::try_from(token).ok()?)),
        }
    }

    fn is_alive(&self, session: &Session, now: Seconds) -> bool {
        // Clocks of nodes differ a little: what was just begun elsewhere may be from the future.
        let within = |since: Seconds, timeout: Option<Duration>| {
            timeout.is_none_or(|timeout| timeout.is_zero() || now.saturating_sub(since) < timeout.as_secs().max(1))
        };
        within(session.begun, self.persistence.absolute_timeout) && within(session.used, self.persistence.idle_timeout)
    }

    fn is_to_be_refreshed(&self, session: &Session, now: Seconds) -> bool {
        let idle = self.persistence.idle_timeout.filter(|idle| !idle.is_zero());
        idle.is_some_and(|idle| now.saturating_sub(session.used) >= (idle.as_secs() / REFRESH).max(1))
    }

    fn cookie(
        &self,
        token: &str,
        lifetime: CookieLifetime,
        session: &Session,
        scope: CookieScope<'_>,
        now: Seconds,
    ) -> String {
        let mut text = format!("{}={token}; HttpOnly; SameSite=Strict", self.name);
        if let Some(path) = scope.path.filter(|path| cookies::is_path(path)) {
            text += &format!("; Path={path}");
        }
        if scope.secure {
            text += "; Secure";
        }
        let timeout = self.persistence.absolute_timeout.filter(|timeout| !timeout.is_zero());
        if let (CookieLifetime::Permanent, Some(timeout)) = (lifetime, timeout) {
            let left = timeout.as_secs().saturating_sub(now.saturating_sub(session.begun));
            text += &format!("; Max-Age={}", left.max(1));
        }
        text
    }

    fn seal(&self, session: &Session) -> Option<String> {
        let mut bytes = Vec::with_capacity(NONCE_LEN + LENGTH + 16);
        bytes.push(VERSION);
        bytes.extend(as_v6(session.endpoint.ip()).octets());
        bytes.extend(session.endpoint.port().to_be_bytes());
        bytes.extend(session.begun.to_be_bytes());
        bytes.extend(session.used.to_be_bytes());
        let nonce = self.key.0.seal_in_place_append_tag(self.bound_to(), &mut bytes).ok()?;
        Some(URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat()))
    }

    fn open(&self, token: &[u8]) -> Option<Session> {
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.key.0.open_in_place(nonce, self.bound_to(), sealed).ok()?;
        let (version, rest) = opened.split_first()?;
        let (address, rest) = rest.split_first_chunk::<16>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (begun, rest) = rest.split_first_chunk::<8>()?;
        let (used, rest) = rest.split_first_chunk::<8>()?;
        let endpoint = SocketAddr::new(Ipv6Addr::from(*address).to_canonical(), u16::from_be_bytes(*port));
        let session = Session { endpoint, begun: u64::from_be_bytes(*begun), used: u64::from_be_bytes(*used) };
        (*version == VERSION && rest.is_empty()).then_some(session)
    }

    /// A token is of use for the rule that made it only.
    fn bound_to(&self) -> Aad<&[u8]> {
        Aad::from(self.place.as_bytes())
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn seconds(time: SystemTime) -> Seconds {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    const SCOPE: CookieScope<'static> = CookieScope { path: Some("/"), secure: false };

    fn key() -> SessionKey {
        SessionKey::new(b"a secret").unwrap()
    }

    fn persistence(token: SessionToken, absolute: Option<u64>, idle: Option<u64>) -> SessionPersistence {
        SessionPersistence {
            session_name: Some("where".to_owned()),
            absolute_timeout: absolute.map(Duration::from_secs),
            idle_timeout: idle.map(Duration::from_secs),
            token,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn endpoint() -> SocketAddr {
        "10.0.0.7:8080".parse().unwrap()
    }

    /// What a client sends that was told this.
    fn sent_back((name, value): &(HeaderName, HeaderValue)) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match *name == header::SET_COOKIE {
            true => {
                let pair = value.to_str().unwrap().split(';').next().unwrap();
                headers.insert(header::COOKIE, HeaderValue::try_from(format!("a=b; {pair}; c=d")).unwrap());
            }
            false => drop(headers.insert(name.clone(), value.clone())),
        }
        headers
    }

    #[test]
    fn a_client_comes_back_and_is_told_nothing_more() {
        let key = key();
        for token in [SessionToken::Cookie(CookieLifetime::Session), SessionToken::Header] {
            let persistence = persistence(token, None, None);
            let sessions = Sessions::new(&key, &persistence, "shop/web/0");
            let told = sessions.write(endpoint(), None, SCOPE, at(0)).unwrap();
            let session = sessions.read(&sent_back(&told), at(1_000_000)).unwrap();
            assert_eq!(session.endpoint(), endpoint());
            assert_eq!(sessions.write(endpoint(), Some(session), SCOPE, at(1_000_000)), None);
            let other = "10.0.0.8:8080".parse().unwrap();
            let told = sessions.write(other, Some(session), SCOPE, at(1)).unwrap();
            assert_eq!(sessions.read(&sent_back(&told), at(1)).unwrap().endpoint(), other);
        }
    }

    #[test]
    fn sessions_run_out_by_age_and_without_use() {
        let key = key();
        let persistence = persistence(SessionToken::Header, Some(1_000), Some(100));
        let sessions = Sessions::new(&key, &persistence, "shop/web/0");
        let mut told = sessions.write(endpoint(), None, SCOPE, at(0)).unwrap();
        assert_eq!(sessions.read(&sent_back(&told), at(100)), None, "without use");
        let mut now = 0;
        while let Some(session) = sessions.read(&sent_back(&told), at(now)) {
            told = sessions.write(endpoint(), Some(session), SCOPE, at(now)).unwrap_or(told);
            now += 50;
        }
        assert_eq!(now, 1_000, "by age, however much it is used");
    }

    #[test]
    fn use_is_told_now_and_then_only() {
        let key = key();
        let persistence = persistence(SessionToken::Header, None, Some(100));
        let sessions = Sessions::new(&key, &persistence, "shop/web/0");
        let told = sessions.write(endpoint(), None, SCOPE, at(0)).unwrap();
        let session = sessions.read(&sent_back(&told), at(9)).unwrap();
        assert_eq!(sessions.write(endpoint(), Some(session), SCOPE, at(9)), None);
        assert!(sessions.write(endpoint(), Some(session), SCOPE, at(10)).is_some());
    }

    #[test]
    fn cookies_have_the_attributes_that_are_asked_for() {
        let key = key();
        let cookie = |lifetime, scope, name: Option<&str>| {
            let persistence = SessionPersistence {
                session_name: name.map(str::to_owned),
                ..persistence(SessionToken::Cookie(lifetime), Some(3_600), Some(10))
            };
            let sessions = Sessions::new(&key, &persistence, "shop/web/0");
            let begun = Session { endpoint: endpoint(), begun: seconds(at(0)), used: seconds(at(0)) };
            let (name, value) = sessions.write(endpoint(), Some(begun), scope, at(600)).unwrap();
            assert_eq!(name, header::SET_COOKIE);
            let text = value.to_str().unwrap().to_owned();
            let (name, rest) = text.split_once('=').unwrap();
            (name.to_owned(), rest.split_once("; ").unwrap().1.to_owned())
        };
        let secure = CookieScope { path: Some("/shop"), secure: true };
        let hostile = CookieScope { path: Some("/; Domain=example.org"), secure: false };
        let (session, permanent) = (CookieLifetime::Session, CookieLifetime::Permanent);
        assert_eq!(
            cookie(session, SCOPE, Some("where")),
            ("where".to_owned(), "HttpOnly; SameSite=Strict; Path=/".to_owned())
        );
        assert_eq!(
            cookie(permanent, secure, Some("where")).1,
            "HttpOnly; SameSite=Strict; Path=/shop; Secure; Max-Age=3000"
        );
        let none = CookieScope { path: None, secure: false };
        for scope in [hostile, none] {
            assert_eq!(cookie(session, scope, Some("where")).1, "HttpOnly; SameSite=Strict");
        }
        let (made_up, _) = cookie(session, SCOPE, None);
        assert!(made_up.starts_with("heddle-session-") && made_up.len() == 31, "{made_up}");
    }

    #[test]
    fn tokens_tell_no_address_and_are_of_use_in_one_place_and_mesh_only() {
        let key = key();
        let persistence = persistence(SessionToken::Header, None, None);
        let sessions = Sessions::new(&key, &persistence, "shop/web/0");
        let told = sessions.write(endpoint(), None, SCOPE, at(0)).unwrap();
        let again = sessions.write(endpoint(), None, SCOPE, at(0)).unwrap();
        assert_ne!(told, again, "one endpoint looks different each time");
        let bytes = URL_SAFE_NO_PAD.decode(told.1.as_bytes()).unwrap();
        assert!(!bytes.windows(4).any(|window| window == [10, 0, 0, 7]));
        assert!(sessions.read(&sent_back(&told), at(0)).is_some());
        let elsewhere = Sessions::new(&key, &persistence, "shop/web/1");
        assert_eq!(elsewhere.read(&sent_back(&told), at(0)), None);
        let other_key = SessionKey::new(b"another secret").unwrap();
        assert_eq!(Sessions::new(&other_key, &persistence, "shop/web/0").read(&sent_back(&told), at(0)), None);
    }

    proptest! {
        #[test]
        fn no_damaged_token_is_a_session(byte in 0_usize..84, flip in 1_u8..=255, cut in 0_usize..84) {
            let key = key();
            let persistence = persistence(SessionToken::Header, None, None);
            let sessions = Sessions::new(&key, &persistence, "shop/web/0");
            let (_, value) = sessions.write("[fd00::1]:80".parse().unwrap(), None, SCOPE, at(0)).unwrap();
            let whole = value.as_bytes().to_vec();
            prop_assert_eq!(whole.len(), 84);
            prop_assert!(sessions.open(&whole).is_some());
            let mut damaged = whole.clone();
            damaged[byte] ^= flip;
            prop_assert_eq!(sessions.open(&damaged), None);
            prop_assert_eq!(sessions.open(&whole[..cut]), None);
        }

        #[test]
        fn every_address_comes_back(v6 in any::<bool>(), bits in any::<u128>(), port in any::<u16>()) {
            let key = key();
            let persistence = persistence(SessionToken::Header, None, None);
            let sessions = Sessions::new(&key, &persistence, "p");
            let address = if v6 { IpAddr::V6(Ipv6Addr::from(bits | 1 << 127)) } else { IpAddr::from((bits as u32).to_be_bytes()) };
            let endpoint = SocketAddr::new(address, port);
            let told = sessions.write(endpoint, None, SCOPE, at(0)).unwrap();
            prop_assert_eq!(sessions.read(&sent_back(&told), at(0)).unwrap().endpoint(), endpoint);
        }
    }
}
