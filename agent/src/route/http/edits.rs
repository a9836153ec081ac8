//! What is changed in a request on its way to a backend, and in the answer on its way back.
//!
//! Nothing of a message is copied here: an edit names what the rules say, and is applied in place.

use http::{HeaderMap, HeaderValue, header};

use super::cors::CorsAnswer;
use crate::rules::gateway::HeaderModifier;

/// What is changed in a request.
#[derive(Clone, Debug, Default)]
pub struct RequestEdits<'t> {
    pub(super) target: Option<String>,
    pub(super) authority: Option<&'t str>,
    /// Those of the rule, then those of the backend.
    pub(super) modifiers: Vec<&'t HeaderModifier>,
}

impl<'t> RequestEdits<'t> {
    /// The path and query that the backend sees, where they are not as they were sent.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// The host that the backend sees, where it is another one than the client's: for `:authority` of HTTP/2, while
    /// [`Self::apply`] changes a `Host` header.
    pub fn authority(&self) -> Option<&'t str> {
        self.authority
    }

    /// Changes the headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if let Some(host) = self.authority.and_then(|host| HeaderValue::from_str(host).ok())
            && headers.contains_key(header::HOST)
        {
            headers.insert(header::HOST, host);
        }
        self.modifiers.iter().for_each(|modifier| modify(headers, modifier));
    }
}

/// What is changed in a response.
#[derive(Clone, Debug, Default)]
pub struct ResponseEdits<'t> {
    pub(super) cors: Option<CorsAnswer<'t>>,
    /// Those of the backend, then those of the rule: the way back.
    pub(super) modifiers: Vec<&'t HeaderModifier>,
}

impl ResponseEdits<'_> {
    /// Changes the headers. What a modifier says of CORS headers is meant, so it comes after the CORS filter.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if let Some(cors) = &self.cors {
            cors.apply(headers);
        }
        self.modifiers.iter().for_each(|modifier| modify(headers, modifier));
    }
}

/// Set, then add, then remove; no name is in a modifier twice.
fn modify(headers: &mut HeaderMap, modifier: &HeaderModifier) {
    for header in &modifier.set {
        headers.insert(&header.name, header.value.clone());
    }
    for header in &modifier.add {
        headers.append(&header.name, header.value.clone());
    }
    for name in &modifier.remove {
        headers.remove(name);
    }
}
