//! JSON Web Tokens of requests: which rules of RequestAuthentication look at a workload's requests, and what they find.
//!
//! In: the rules that select the workload, a request's headers and target, the keys that are known, the time. Out: an
//! [`Outcome`]. A request without a token passes, as nobody; one with a token that is not believed is refused with 401;
//! of a believed token policies read who it is, and [`forward`] writes what the application gets. Pure: keys are fetched
//! ahead, by `keys/`, and never while a request waits. Nothing of a token is believed before its signature is checked.
//!
//! Where this differs from Istio's proxies: a request with two different tokens is refused, since Istio says of it that
//! anyone of them may be its principal; a wrong audience is 401 as everything else (RFC 6750, section 3.1), not 403;
//! audiences are compared as they are; a token in a cookie is removed too.

mod claims;
mod compact;
mod forward;
pub mod keys;
mod outcome;
mod places;
mod verify;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use http::{HeaderMap, Uri};

pub use forward::{Forwarded, forward};
pub use outcome::{Outcome, Reason, Refusal, VerifiedToken};
pub use verify::authenticate;

/// What of a request may carry a token.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its target, of which the query is read.
    pub target: &'a Uri,
    /// When it came.
    pub at: SystemTime,
}

/// The longest token that is looked at. Most servers take no more than 8 to 16 KiB of headers in all.
pub const LONGEST_TOKEN: usize = 16 * 1024;
