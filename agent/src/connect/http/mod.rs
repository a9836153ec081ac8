//! HTTP as it is on the wire: what is refused before it is read, and what is changed between connections and versions.
//!
//! Nothing here routes or authorizes.

pub mod answer;
pub mod forwarded;
pub mod guard;
pub mod head;
