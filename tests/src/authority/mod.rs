//! A certificate authority for tests, as `heddle ca`, istio-csr or istiod are to an agent: real sockets, TLS and HTTP/2, the
//! signing protocol of Istio, tokens, and every way to misbehave that a client must survive.
//!
//! It signs for whoever has a token that it knows, and for whom the request says; which pods run where it does not know. One
//! call, in the order of the files: `serve`, `call`, `sign`. [`Authority`] is the test's own hand.

mod call;
mod fault;
mod serve;
mod server_certificate;
mod sign;

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use call::Call;
pub use fault::{Fault, Spoiled};
pub use server_certificate::Flaw;

use crate::bed::NetNs;
use server_certificate::ServerRoot;
use sign::Signer;

/// A running authority; it ends when dropped, and with it every socket of it.
pub struct Authority {
    shared: Arc<Shared>,
    places: Mutex<Vec<Place>>,
    runtime: Option<Runtime>,
}

/// Where it listens.
struct Place {
    netns: Option<NetNs>,
    address: SocketAddr,
}

/// What all calls share.
struct Shared {
    signer: Mutex<Signer>,
    tokens: Mutex<BTreeSet<String>>,
    faults: Mutex<VecDeque<Fault>>,
    calls: Mutex<Vec<Call>>,
    server_root: ServerRoot,
    tls: Mutex<Arc<ServerConfig>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    /// How often it went down; what belongs to an earlier time ends.
    downs: watch::Sender<usize>,
}

impl Authority {
    /// Starts it; it is reachable once it listens somewhere.
    pub fn start() -> Result<Self> {
        let server_root = ServerRoot::make()?;
        let shared = Shared {
            signer: Mutex::new(Signer::make()?),
            tokens: Mutex::default(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            tls: Mutex::new(server_root.serve_with(None)?),
            server_root,
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            downs: watch::Sender::new(0),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { shared: Arc::new(shared), places: Mutex::default(), runtime: Some(runtime) })
    }

    /// Listens on a free port of the host's loopback.
    pub fn listen(&self) -> Result<SocketAddr> {
        self.listen_at(None)
    }

    /// Listens on a free port of the loopback of a network namespace.
    pub fn listen_in(&self, netns: &NetNs) -> Result<SocketAddr> {
        self.listen_at(Some(netns.clone()))
    }

    /// The root that vouches for its own certificate, in PEM.
    #[must_use]
    pub fn server_root_pem(&self) -> &str {
        &self.shared.server_root.pem
    }

    /// New connections are served with another certificate.
    pub fn serve_with(&self, flaw: Option<Flaw>) -> Result<()> {
        *self.shared.tls.lock() = self.shared.server_root.serve_with(flaw)?;
        Ok(())
    }

    /// Makes one more token valid.
    pub fn accept_token(&self, token: &str) {
        self.shared.tokens.lock().insert(token.to_owned());
    }

    /// Makes a token invalid.
    pub fn revoke_token(&self, token: &str) {
        self.shared.tokens.lock().remove(token);
    }

    /// The next call without an order yet meets this.
    pub fn order(&self, fault: Fault) {
        self.shared.faults.lock().push_back(fault);
    }

    /// The next calls meet this.
    pub fn order_many(&self, fault: &Fault, times: usize) {
        self.shared.faults.lock().extend(std::iter::repeat_n(fault, times).cloned());
    }

    /// Orders that no call has met yet are taken back.
    pub fn behave(&self) {
        self.shared.faults.lock().clear();
    }

    /// Hands out one more root, which signs nothing; its certificate in PEM.
    pub fn add_root(&self) -> Result<String> {
        self.shared.signer.lock().add_root()
    }

    /// Every call up to now.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().clone()
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many of them are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Closes its listeners and cuts all connections: clients are refused.
    pub fn go_down(&self) -> Result<()> {
        self.shared.downs.send_modify(|downs| *downs += 1);
        // The sockets are closed by their tasks, a moment later.
        let gone = |place: &Place| match &place.netns {
            None => std::net::TcpStream::connect(place.address).is_err(),
            Some(netns) => netns.run(|| Ok(std::net::TcpStream::connect(place.address).is_err())).unwrap_or(false),
        };
        for _ in 0..500 {
            if self.places.lock().iter().all(gone) {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        anyhow::bail!("the authority still listens five seconds after it was to go down")
    }

    /// Listens again where it did.
    pub fn come_back(&self) -> Result<()> {
        for place in self.places.lock().iter() {
            self.accept(bind(place.netns.as_ref(), place.address)?);
        }
        Ok(())
    }

    fn listen_at(&self, netns: Option<NetNs>) -> Result<SocketAddr> {
        let listener = bind(netns.as_ref(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        self.accept(listener);
        self.places.lock().push(Place { netns, address });
        Ok(address)
    }

    fn accept(&self, listener: TcpListener) {
        if let Some(runtime) = &self.runtime {
            // Asked for here: it may have to go down before the task has begun.
            let downs = self.shared.downs.subscribe();
            runtime.spawn(serve::accept(listener, downs, Arc::clone(&self.shared)));
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Dropping it would wait, which an asynchronous test may not.
            runtime.shutdown_background();
        }
    }
}

fn bind(netns: Option<&NetNs>, address: SocketAddr) -> Result<TcpListener> {
    let open = || -> Result<TcpListener> {
        let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
        ensure!(listener.local_addr()?.port() != 0, "no port was given");
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    match netns {
        None => open(),
        Some(netns) => netns.run(open),
    }
}
