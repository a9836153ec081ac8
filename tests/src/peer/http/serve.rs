//! `heddle-peer http-serve`: HTTP/1.1 and HTTP/2 in plaintext on every port; prints each request and the end of each
//! connection. What a request is answered with is in `served.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use clap::Args;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::report::HttpEvent;
use super::served::answer;
use crate::peer::print;
use crate::peer::report::ServerEvent;
use crate::peer::serve::{bind, canonical, parse_listen};

#[derive(Args)]
pub(crate) struct HttpServe {
    /// Where to listen: ports, ranges and addresses, such as 80 or 8000-8063 or 127.0.0.1:80, separated by commas, each with
    /// the name that it answers by if it has one of its own: 80=v1.
    #[arg(long, value_delimiter = ',', required = true)]
    listen: Vec<String>,
    /// The name that all other ports answer by.
    #[arg(long, default_value = "server")]
    name: String,
    /// What to do with requests that do not say it.
    #[arg(long, default_value = "")]
    behave: String,
    /// Print nothing but that it listens.
    #[arg(long)]
    quiet: bool,
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) behave: String,
    pub(super) quiet: bool,
    /// How often each key of `fail` was seen.
    pub(super) failed: Mutex<BTreeMap<String, u64>>,
    connections: AtomicU64,
}

/// One connection.
pub(super) struct Connection {
    pub(super) server: String,
    pub(super) number: u64,
    pub(super) peer: SocketAddr,
    /// To reset it by.
    pub(super) socket: OwnedFd,
    pub(super) shared: Arc<Shared>,
}

pub(crate) fn run(serve: &HttpServe) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(listen(serve))
}

async fn listen(serve: &HttpServe) -> Result<()> {
    let mut listeners = Vec::new();
    for text in &serve.listen {
        let (place, name) = text.split_once('=').unwrap_or((text, &serve.name));
        for address in parse_listen(place).with_context(|| format!("`{place}` is no port, range or address"))? {
            listeners.push((bind(address).with_context(|| format!("listening on {address}"))?, name.to_owned()));
        }
    }
    let addresses = listeners.iter().map(|(listener, _)| listener.local_addr()).collect::<std::io::Result<Vec<_>>>()?;
    print(&ServerEvent::Listening { addresses })?;
    let shared = Arc::new(Shared {
        behave: serve.behave.clone(),
        quiet: serve.quiet,
        failed: Mutex::default(),
        connections: AtomicU64::new(0),
    });
    let mut accepting = tokio::task::JoinSet::new();
    for (listener, name) in listeners {
        accepting.spawn(accept(listener, name, Arc::clone(&shared)));
    }
    while let Some(ended) = accepting.join_next().await {
        ended??;
    }
    Ok(())
}

async fn accept(listener: TcpListener, server: String, shared: Arc<Shared>) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await.context("accepting")?;
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        let stream = stream.into_std()?;
        let socket = stream.try_clone()?.into();
        let stream = TcpStream::from_std(stream)?;
        stream.set_nodelay(true)?;
        let (server, peer, shared) = (server.clone(), canonical(peer), Arc::clone(&shared));
        tokio::spawn(connection(stream, Arc::new(Connection { server, number, peer, socket, shared })));
    }
}

async fn connection(mut stream: TcpStream, connection: Arc<Connection>) {
    let (number, quiet) = (connection.number, connection.shared.quiet);
    let mut first = [0];
    // A control character begins no request, but TLS and what tests send in its place: the answer is the name.
    if matches!(stream.peek(&mut first).await, Ok(1)) && first[0] < 0x20 && first[0] != b'\r' && first[0] != b'\n' {
        let _ = stream.write_all(format!("{}\n", connection.server).as_bytes()).await;
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        return;
    }
    let service = service_fn(move |request| answer(request, Arc::clone(&connection)));
    let mut builder = Builder::new(TokioExecutor::new());
    // Limits of headers are the mesh's to keep in these tests.
    builder.http1().max_headers(1_000).max_buf_size(1 << 20);
    builder.http2().max_header_list_size(1 << 20);
    let ended = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
    if !quiet {
        let error = ended.err().map(|error| in_full(&*error));
        let _ = print(&HttpEvent::Ended { connection: number, error });
    }
}

/// With the causes.
fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
