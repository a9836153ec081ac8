//! Where one HTTP request goes: a pure decision over the routes of the port that was dialled.
//!
//! In: a [`RouteTable`], a [`Request`], and one random number. Out: first which rule the request matches ([`decide`]), then
//! what that rule does with it ([`Matched::outcome`]): forward it to a backend with these changes, or answer it. Nothing
//! here waits, keeps or counts anything; a request is decided on one snapshot.
//!
//! The address and port that were dialled choose the table, never the `Host` header. Faults and limits that a rule refers
//! to are names here ([`Matched::extensions`]): they come before its outcome.

mod cookie_path;
mod cors;
mod edits;
mod explain;
mod failure;
mod matched;
mod matching;
mod outcome;
mod redirect;
mod request;
#[cfg(test)]
pub(crate) mod suite;
#[cfg(test)]
mod tests;

use crate::mesh::{RouteKind, RouteTable};

pub use edits::{RequestEdits, ResponseEdits};
pub use explain::{Explanation, Tried, Unmet, explain};
pub use failure::Failure;
pub use matched::Matched;
pub use matching::{Mismatch, Name};
pub use outcome::{Answer, Forward, Mirror, Outcome, Scene};
pub use request::{Request, is_grpc};

/// Which rule a request matches.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'t> {
    /// No route is for this port and client: the endpoints of the Service itself serve.
    Implicit,
    /// The routes of this port decide over connections and not over requests.
    OfConnections,
    /// There are routes and none matches: 404, of gRPC UNIMPLEMENTED, and never the endpoints of the Service.
    NoRule,
    /// This one.
    Rule(Matched<'t>),
}

/// Finds the rule. `table` is what [`Routes::table`](crate::mesh::Routes::table) has for the port that was dialled and the
/// client's namespace.
pub fn decide<'t>(table: Option<&'t RouteTable>, request: &Request<'_>) -> Decision<'t> {
    let Some(table) = table else { return Decision::Implicit };
    if matches!(table.kind(), RouteKind::Tls | RouteKind::Tcp) {
        return Decision::OfConnections;
    }
    let mut candidates = table.candidates(request.target.path());
    match candidates.find(|one| matching::check(one.condition, request).is_ok()) {
        Some(one) => Decision::Rule(Matched::new(one)),
        None => Decision::NoRule,
    }
}
