//! The test's own hand on the server: start it, put objects in, order faults, read what it was asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use serde_json::Value;

use super::failure::Failure;
use super::fault::Fault;
use super::fresh;
use super::journal::Journal;
use super::kubeconfig::kubeconfig;
use super::listen::Place;
use super::open_watches::{Cut, Order};
use super::resource::Resource;
use super::server::{Engine, Shared};
use super::tokens::TokenUser;
use super::write::{self, Target};
use crate::bed::NetNs;

/// A running server; it ends when dropped, and with it every socket of it.
///
/// All methods may be called from any thread, asynchronous tests included.
pub struct ApiServer {
    shared: Arc<Shared>,
    engine: Mutex<Engine>,
    token: String,
}

impl ApiServer {
    /// Starts it; it is reachable once it listens somewhere.
    pub fn start() -> Result<Self> {
        let shared = Arc::new(Shared::new().context("starting an API server")?);
        let token = fresh::secret();
        let admin = TokenUser { username: "admin".to_owned(), uid: fresh::uid(), ..TokenUser::default() };
        shared.tokens.add(&token, admin.group("system:masters"));
        Ok(Self { shared, engine: Mutex::new(Engine::start()?), token })
    }

    /// Listens on a free port of the host's loopback.
    pub fn listen(&self) -> Result<SocketAddr> {
        self.engine.lock().listen(Place::Host, &self.shared)
    }

    /// Listens on a free port of the loopback of a network namespace.
    pub fn listen_in(&self, netns: &NetNs) -> Result<SocketAddr> {
        self.engine.lock().listen(Place::NetNs(netns.clone()), &self.shared)
    }

    /// A kubeconfig, as YAML, for one of its addresses.
    pub fn kubeconfig(&self, address: SocketAddr) -> Result<String> {
        self.kubeconfig_as(address, &self.token)
    }

    /// The same with another token.
    pub fn kubeconfig_as(&self, address: SocketAddr, token: &str) -> Result<String> {
        kubeconfig(address, self.ca_pem(), token)
    }

    /// A token that may do everything.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The certificate that clients have to trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.shared.authority.pem
    }

    /// Makes one more token valid, for calls and for TokenReviews.
    pub fn add_token(&self, token: &str, user: TokenUser) {
        self.shared.tokens.add(token, user);
    }

    /// Makes a token invalid.
    pub fn revoke_token(&self, token: &str) {
        self.shared.tokens.revoke(token);
    }

    /// Serves one more kind of object.
    pub fn register(&self, resource: Resource) {
        self.shared.registry.register(resource);
    }

    /// Creates or replaces an object exactly as it is given, status included; gives back what is stored.
    ///
    /// A uid that it brings along is kept. Its namespace must exist.
    pub fn put(&self, object: &Value) -> Result<Value> {
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let resource = self.shared.registry.of(api_version, kind);
        let resource = resource.with_context(|| format!("{api_version} {kind} is not registered: call register()"))?;
        let mut store = self.shared.store.lock();
        let stored = write::put(&mut store, &resource, object);
        let version = store.version();
        drop(store);
        self.shared.tell_changes(version);
        Ok(Value::clone(&*stored.map_err(|failure| explain(&failure))?))
    }

    /// Deletes an object, or marks it if finalizers hold it; one that is not there is an error. Cluster-wide kinds have the namespace "".
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let resource = self.kind(kind)?;
        let target = Target { resource: &resource, namespace, name, status: false };
        let mut store = self.shared.store.lock();
        let deleted = write::delete(&mut store, target, &Value::Null);
        let version = store.version();
        drop(store);
        self.shared.tell_changes(version);
        deleted.map(drop).map_err(|failure| explain(&failure))
    }

    /// An object as it is stored.
    #[must_use]
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = self.kind(kind).ok()?;
        let found = self.shared.store.lock().get(&write::key_of(&resource, namespace, name)).cloned();
        found.map(|object| Value::clone(&object))
    }

    /// All objects of a kind, of one namespace or of all ("").
    pub fn list(&self, kind: &str, namespace: &str) -> Result<Vec<Value>> {
        Ok(self.stored(&*self.kind(kind)?, namespace))
    }

    /// All Events, of both API groups.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let kinds = self.shared.registry.all().into_iter().filter(|resource| resource.kind == "Event");
        kinds.flat_map(|resource| self.stored(&resource, "")).collect()
    }

    /// The number of the latest change.
    #[must_use]
    pub fn resource_version(&self) -> u64 {
        self.shared.store.lock().version()
    }

    /// Orders a fault; several are struck in the order in which they came.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Refuses connections and resets those that there are. Objects, tokens and the journal stay.
    pub fn go_down(&self) {
        self.engine.lock().go_down(&self.shared);
    }

    /// Listens again where it did.
    pub fn come_back(&self) -> Result<()> {
        self.engine.lock().come_back(&self.shared)
    }

    /// Sends nothing any more, on no connection, and keeps all of them open; or goes on where it was.
    ///
    /// Meanwhile garbage and bookmarks are not sent either, later neither; cuts are made.
    pub fn go_silent(&self, silent: bool) {
        self.shared.set_silent(silent);
    }

    /// How many watches are open for a resource, given by its plural, or for all ("").
    #[must_use]
    pub fn open_watches(&self, plural: &str) -> usize {
        self.shared.watches.count(plural)
    }

    /// Cuts the open watches for a resource, given by its plural, or all (""); says how many.
    pub fn cut_watches(&self, plural: &str, how: Cut) -> usize {
        self.shared.watches.tell(plural, Order::Cut(how))
    }

    /// Sends a line that is no event into open watches; says into how many.
    pub fn send_garbage(&self, plural: &str) -> usize {
        self.shared.watches.tell(plural, Order::Garbage)
    }

    /// Sends a bookmark into open watches whose clients allow any; says how many were told to.
    pub fn send_bookmarks(&self, plural: &str) -> usize {
        self.shared.watches.tell(plural, Order::Bookmark)
    }

    /// Ends open watches with an ERROR event that says 410; says how many.
    pub fn expire_watches(&self, plural: &str) -> usize {
        self.shared.watches.tell(plural, Order::Expire)
    }

    /// Sends bookmarks at this interval instead of every minute, from the next one of each watch on.
    pub fn bookmarks_every(&self, interval: Duration) {
        self.shared.set_bookmark_interval(interval);
    }

    /// Forgets all history up to now: who resumes from any version seen so far gets 410.
    pub fn compact(&self) {
        let mut store = self.shared.store.lock();
        store.tick();
        store.compact(None);
        let version = store.version();
        drop(store);
        self.shared.tell_changes(version);
    }

    /// Moves the compaction point to a version: who resumes from an older one gets 410.
    pub fn compact_to(&self, version: u64) {
        self.shared.store.lock().compact(Some(version));
    }

    /// Whether an outdated watch gets 410 as its HTTP status, instead of 200 and an ERROR event.
    pub fn expire_by_status(&self, by_status: bool) {
        self.shared.set_expires_by_status(by_status);
    }

    /// What it was asked so far.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.shared.journal.copy()
    }

    /// Begins a new journal.
    pub fn forget_journal(&self) {
        self.shared.journal.forget();
    }

    /// Waits until the journal satisfies `wanted`; `what` and the journal are in the failure message.
    pub fn wait_journal(&self, what: &str, within: Duration, wanted: impl Fn(&Journal) -> bool) -> Result<Journal> {
        let (holds, journal) = self.shared.journal.wait(within, &wanted);
        if !holds {
            bail!("the API server did not see within {within:?} that {what}; it was asked:\n{}", journal.describe());
        }
        Ok(journal)
    }

    /// Ends it now, for holders of shared handles; afterwards nothing listens and nothing can.
    pub fn stop(&self) {
        self.engine.lock().stop();
    }

    fn kind(&self, kind: &str) -> Result<Arc<Resource>> {
        self.shared.registry.called(kind).with_context(|| format!("{kind} is not registered: call register()"))
    }

    fn stored(&self, resource: &Resource, namespace: &str) -> Vec<Value> {
        let path = write::key_of(resource, "", "").resource;
        let objects = self.shared.store.lock().list(&path, namespace);
        objects.into_values().map(|object| Value::clone(&object)).collect()
    }
}

fn explain(failure: &Failure) -> anyhow::Error {
    let status = failure.status();
    anyhow::anyhow!("{}", status["message"].as_str().unwrap_or_default())
}
