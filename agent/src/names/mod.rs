//! What the names of ServiceEntries resolve to: asked of the node's name servers, ahead of any connection.
//!
//! In: the names that the mesh wants, and the resolver configuration of the machine. Out: the addresses of each name, in
//! a watch channel that `mesh::run` reads. Connections never wait for a name, and what an application asks a name server
//! itself is none of this module's business.
//!
//! `resolution.rs` decides when to ask and what an answer or its absence means; `system.rs` asks.

mod resolution;
mod system;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub use resolution::Resolution;
pub use system::SystemResolver;

use crate::mesh::AddressFamily;

/// One question: the addresses of one family that a name has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name, in full whether or not it ends with a dot: search domains are not applied to it, since an entry means the
    /// same on every node.
    pub name: Arc<str>,
    /// A or AAAA.
    pub family: AddressFamily,
}

/// What a name server answered. No addresses is an answer: the name has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// All of the family asked for.
    pub addresses: BTreeSet<IpAddr>,
    /// How long the answer is good.
    pub time_to_live: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The machine's configuration could not be read.
    #[error("read the resolver configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was read, and nothing can be asked with it.
    #[error("use the resolver configuration {}: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: hickory_resolver::net::NetError,
    },
    /// No name server gave an answer.
    #[error("{0}")]
    Unanswered(#[from] hickory_resolver::net::NetError),
    /// None came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Whoever can be asked.
pub trait Lookup: Send + Sync {
    /// Asks, once.
    fn lookup(&self, question: &Question) -> BoxFuture<'static, Result<Answer, LookupError>>;
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = match self.family {
            AddressFamily::V4 => "A",
            AddressFamily::V6 => "AAAA",
        };
        write!(f, "{} {record}", self.name)
    }
}
