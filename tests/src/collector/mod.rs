//! A collector of spans, as agents export them: OTLP over gRPC and over HTTP at one port, plain or with TLS.
//!
//! What it gets is read by the published crate `opentelemetry-proto`, which the agent does not use. It can be told to refuse, to be
//! silent, and to be gone.

mod serve;
mod span;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use tokio::runtime::Runtime;

use crate::bed::{NetNs, Node};

pub use span::Seen;

/// The usual port of OTLP.
const PORT: u16 = 4317;

/// How it takes exports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// All of them.
    #[default]
    Takes,
    /// None now: try again.
    Busy,
    /// None ever.
    Refuses,
    /// It reads them and never answers.
    Silent,
}

/// A running collector; gone when dropped.
pub struct Collector {
    netns: NetNs,
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Mutex<Option<Runtime>>,
}

#[derive(Default)]
struct Shared {
    mood: Mutex<Mood>,
    spans: Mutex<Vec<Seen>>,
    /// The header `authorization` of each export, whatever became of it.
    keys: Mutex<Vec<Option<String>>>,
    tls: Option<Arc<ServerConfig>>,
}

impl Collector {
    /// Starts one on a node, at its address on the wire.
    pub fn start(on: &Node) -> Result<Self> {
        Self::start_with(on, None)
    }

    /// The same with TLS; also the root of its certificate, in PEM.
    pub fn start_tls(on: &Node) -> Result<(Self, String)> {
        let (tls, root) = certificate(IpAddr::V4(on.wire_v4()))?;
        Ok((Self::start_with(on, Some(Arc::new(tls)))?, root))
    }

    /// The root of a certificate that no collector has, in PEM.
    pub fn other_root() -> Result<String> {
        Ok(certificate(IpAddr::from([127, 0, 0, 1]))?.1)
    }

    fn start_with(on: &Node, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let collector = Self {
            netns: on.netns().clone(),
            address: SocketAddr::from((on.wire_v4(), PORT)),
            shared: Arc::new(Shared { tls, ..Shared::default() }),
            runtime: Mutex::default(),
        };
        collector.come_back()?;
        Ok(collector)
    }

    /// Its address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes exports in another way from now on.
    pub fn set_mood(&self, mood: Mood) {
        *self.shared.mood.lock() = mood;
    }

    /// The spans that it took up to now.
    #[must_use]
    pub fn spans(&self) -> Vec<Seen> {
        self.shared.spans.lock().clone()
    }

    /// The header `authorization` of each export up to now, also of those that it did not take.
    #[must_use]
    pub fn keys(&self) -> Vec<Option<String>> {
        self.shared.keys.lock().clone()
    }

    /// Forgets all of it.
    pub fn forget(&self) {
        self.shared.spans.lock().clear();
        self.shared.keys.lock().clear();
    }

    /// Waits until the spans that it took are as wanted.
    pub fn wait(&self, what: &str, within: Duration, wanted: impl Fn(&[Seen]) -> bool) -> Result<Vec<Seen>> {
        let deadline = Instant::now() + within;
        loop {
            let spans = self.spans();
            if wanted(&spans) {
                return Ok(spans);
            }
            ensure!(
                Instant::now() < deadline,
                "the collector has not got within {within:?}: {what}; it has {spans:#?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Closes its port and all connections.
    pub fn go_down(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// Listens again.
    pub fn come_back(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listen = || Ok(std::net::TcpListener::bind(self.address)?);
        let listener = self.netns.run(listen).with_context(|| format!("listening on {}", self.address))?;
        listener.set_nonblocking(true)?;
        runtime.spawn(serve::accept(listener, Arc::clone(&self.shared)));
        *self.runtime.lock() = Some(runtime);
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }
}

/// A certificate for an address, with a root of its own.
fn certificate(address: IpAddr) -> Result<(ServerConfig, String)> {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec![address.to_string()])?.signed_by(&key, &root)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((tls, root.pem()))
}
