//! What a server's agent says with an answer of its own: the application has seen nothing of the request.
//!
//! The client's agent may then send it to another endpoint, whatever its method. Between agents only: it is believed from a
//! tunnel, since an agent takes it away from what applications answer, and it never reaches a client.

use http::{HeaderMap, HeaderName, HeaderValue};

const UNDELIVERED: HeaderName = HeaderName::from_static("x-heddle-undelivered");

/// Says it.
pub fn mark(headers: &mut HeaderMap) {
    headers.insert(UNDELIVERED, HeaderValue::from_static("1"));
}

/// Takes it away; whether it was said.
pub fn take(headers: &mut HeaderMap) -> bool {
    headers.remove(UNDELIVERED).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_taken_away_whole() {
        let mut headers = HeaderMap::new();
        assert!(!take(&mut headers));
        headers.append("X-Heddle-Undelivered", HeaderValue::from_static("a"));
        headers.append("X-Heddle-Undelivered", HeaderValue::from_static("b"));
        mark(&mut headers);
        assert_eq!(headers.len(), 1);
        assert!(take(&mut headers) && headers.is_empty());
    }
}
