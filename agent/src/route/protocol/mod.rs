//! What is spoken over a connection: as its Service port declares it, as was learned there, or as its first bytes show.
//!
//! Nothing here reads from a connection; the waiting is its caller's.

mod declared;
mod learned;
mod sniff;

pub use declared::Declared;
pub use learned::{Learned, Spoken, SpokenAt};
pub use sniff::{MOST_UNDECIDED, MOST_UNNAMED, NeedMore, Sniffed, server_name, sniff};
