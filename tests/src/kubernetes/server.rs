//! What all requests share, and the thread with the runtime that serves them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::authority::Authority;
use super::connection::Connections;
use super::fault::Faults;
use super::journal;
use super::listen::{Place, accept};
use super::open_watches::OpenWatches;
use super::resource::Registry;
use super::store::Store;
use super::tokens::Tokens;
use super::write;

/// The namespaces of a new cluster.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// The real server sends a bookmark about once a minute.
const BOOKMARKS_EVERY: Duration = Duration::from_secs(60);

/// What all requests share.
pub(super) struct Shared {
    pub(super) registry: Registry,
    pub(super) store: Mutex<Store>,
    pub(super) tokens: Tokens,
    pub(super) journal: journal::Writer,
    pub(super) faults: Faults,
    pub(super) watches: OpenWatches,
    pub(super) connections: Connections,
    pub(super) authority: Authority,
    changed: watch::Sender<u64>,
    silent: watch::Sender<bool>,
    settings: Mutex<Settings>,
}

#[derive(Clone, Copy)]
struct Settings {
    bookmarks_every: Duration,
    expires_by_status: bool,
}

impl Shared {
    pub(super) fn new() -> Result<Self> {
        let shared = Self {
            registry: Registry::built_in(),
            store: Mutex::new(Store::new()),
            tokens: Tokens::default(),
            journal: journal::Writer::default(),
            faults: Faults::default(),
            watches: OpenWatches::default(),
            connections: Connections::default(),
            authority: Authority::make()?,
            changed: watch::Sender::new(0),
            silent: watch::Sender::new(false),
            settings: Mutex::new(Settings { bookmarks_every: BOOKMARKS_EVERY, expires_by_status: false }),
        };
        shared.make_namespaces().context("making the first namespaces")?;
        Ok(shared)
    }

    fn make_namespaces(&self) -> Result<()> {
        let resource = self.registry.called("Namespace").context("namespaces are not registered")?;
        for name in NAMESPACES {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let put = write::put(&mut self.store.lock(), &resource, &object);
            put.map_err(|failure| anyhow::anyhow!("{}", failure.status()["message"]))?;
        }
        Ok(())
    }

    /// Wakes the watches, which then look what happened.
    pub(super) fn tell_changes(&self, version: u64) {
        self.changed.send_if_modified(|known| std::mem::replace(known, version) != version);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn silence(&self) -> watch::Receiver<bool> {
        self.silent.subscribe()
    }

    pub(super) fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    pub(super) fn set_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    pub(super) async fn until_not_silent(&self) {
        // The sender lives as long as `self`.
        let _ = self.silent.subscribe().wait_for(|silent| !silent).await;
    }

    pub(super) fn bookmark_interval(&self) -> Duration {
        self.settings.lock().bookmarks_every
    }

    pub(super) fn set_bookmark_interval(&self, interval: Duration) {
        self.settings.lock().bookmarks_every = interval;
    }

    /// Whether an outdated watch is refused with 410, and not told so by its first event.
    pub(super) fn expires_by_status(&self) -> bool {
        self.settings.lock().expires_by_status
    }

    pub(super) fn set_expires_by_status(&self, by_status: bool) {
        self.settings.lock().expires_by_status = by_status;
    }
}

/// The thread that serves, and its listeners.
pub(super) struct Engine {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    listeners: Vec<Listener>,
}

struct Listener {
    place: Place,
    address: SocketAddr,
    /// Closes it; `None` while it is closed.
    close: Option<oneshot::Sender<std::sync::mpsc::Sender<()>>>,
}

impl Engine {
    pub(super) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("api-server".to_owned()).spawn(move || {
            // Ends with the word or with whoever could give it.
            let _ = runtime.block_on(ended);
        });
        let thread = thread.context("starting the API server's thread")?;
        Ok(Self { handle, end: Some(end), thread: Some(thread), listeners: Vec::new() })
    }

    pub(super) fn listen(&mut self, place: Place, shared: &Arc<Shared>) -> Result<SocketAddr> {
        anyhow::ensure!(self.thread.is_some(), "the API server was stopped");
        let socket = place.bind(0)?;
        let address = socket.local_addr()?;
        let close = Some(self.accept(socket, shared));
        self.listeners.push(Listener { place, address, close });
        Ok(address)
    }

    /// Closes the listeners and resets all connections; returns when clients are refused.
    pub(super) fn go_down(&mut self, shared: &Shared) {
        self.close_listeners();
        shared.connections.reset_all();
    }

    /// Opens the listeners again, where they were.
    pub(super) fn come_back(&mut self, shared: &Arc<Shared>) -> Result<()> {
        anyhow::ensure!(self.thread.is_some(), "the API server was stopped");
        for index in 0..self.listeners.len() {
            let Listener { place, address, close } = &self.listeners[index];
            if close.is_some() {
                continue;
            }
            let socket = place.bind(address.port())?;
            self.listeners[index].close = Some(self.accept(socket, shared));
        }
        Ok(())
    }

    /// Ends everything; returns when all sockets are closed.
    pub(super) fn stop(&mut self) {
        self.close_listeners();
        // The runtime ends with its thread, and takes every task and socket along.
        self.end = None;
        self.listeners.clear();
        if let Some(thread) = self.thread.take() {
            // A panic there is reported by its own message.
            let _ = thread.join();
        }
    }

    fn close_listeners(&mut self) {
        for listener in &mut self.listeners {
            let Some(close) = listener.close.take() else { continue };
            let (confirm, confirmed) = channel();
            if close.send(confirm).is_ok() {
                // An error is the end of the task, and with it of the socket.
                let _ = confirmed.recv();
            }
        }
    }

    fn accept(
        &self,
        socket: std::net::TcpListener,
        shared: &Arc<Shared>,
    ) -> oneshot::Sender<std::sync::mpsc::Sender<()>> {
        let (close, closed) = oneshot::channel();
        self.handle.spawn(accept(socket, Arc::clone(shared), closed));
        close
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
