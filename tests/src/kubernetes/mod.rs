//! A Kubernetes API server for tests: real sockets, TLS, tokens, lists, watches and writes, and every way to misbehave
//! that a client must survive.
//!
//! It speaks as the real one does where a client can tell: resource versions and what they mean for lists and watches,
//! selectors, pages, streaming lists, bookmarks, 410 and the other refusals, writes with their conflicts. It does what
//! controllers and kubelet would do only where that is said: it schedules nothing, allots no addresses, validates no
//! `spec`. Who may do what is decided by the roles and bindings among its objects (`rbac`). Events of the two API groups are two kinds here. [`Cluster`]
//! lets a test that needs no faults run against a real cluster as well.
//!
//! One request, in the order of the files: `listen`, `connection`, `answer`, `ask`, then `list`, `watch` or `write` (with
//! `admission` before it) on the `store`. [`ApiServer`] is the test's own hand.

mod admission;
mod answer;
mod api_server;
mod ask;
mod authority;
mod cluster;
mod connection;
mod discovery;
mod failure;
mod fault;
pub(crate) mod fresh;
mod install;
mod journal;
mod kubeconfig;
mod list;
mod listen;
mod open_watches;
mod rbac;
mod resource;
mod selector;
mod server;
mod shape;
mod store;
mod tokens;
mod watch;
mod write;

pub use api_server::ApiServer;
pub use ask::{Asked, Verb};
pub use cluster::Cluster;
pub use fault::Fault;
pub use install::{SYSTEM_NAMESPACE, rights};
pub use journal::Journal;
pub use open_watches::Cut;
pub use resource::Resource;
pub use tokens::TokenUser;
