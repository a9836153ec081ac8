//! Listeners: each in a network namespace, which its sockets never leave, or on the host's loopback.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::answer::answer;
use super::connection::Connection;
use super::server::Shared;
use crate::bed::NetNs;

const BACKLOG: i32 = 1024;

/// Where a listener is.
#[derive(Clone)]
pub(super) enum Place {
    Host,
    NetNs(NetNs),
}

impl Place {
    /// Opens a listening socket on the loopback there; port 0 is any.
    pub(super) fn bind(&self, port: u16) -> Result<StdListener> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match self {
            Self::Host => open(address),
            Self::NetNs(netns) => netns.run(|| open(address)),
        }
    }
}

fn open(address: SocketAddr) -> Result<StdListener> {
    let listen = || -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // A server that comes back finds connections of its earlier life on the port.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    Ok(listen().with_context(|| format!("listening on {address}"))?.into())
}

/// Accepts until `close` comes, and then says so when the socket is closed.
pub(super) async fn accept(listener: StdListener, shared: Arc<Shared>, close: oneshot::Receiver<Sender<()>>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut close = close;
    let confirm = loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(serve(stream, Arc::clone(&shared)))),
                // Out of descriptors, or a client that is gone already.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
            order = &mut close => break order.ok(),
        }
    };
    // Not only closed: for a moment a process that is being started elsewhere may have a copy of the descriptor.
    let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
    drop(listener);
    if let Some(confirm) = confirm {
        // Whoever asked may have given up.
        let _ = confirm.send(());
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(connection) = Connection::of(&stream) else { return };
    shared.connections.add(&connection);
    // Dropped last, also where the whole runtime ends.
    let _hold = Hold(Arc::clone(&connection));
    tokio::select! {
        biased;
        () = connection.ended() => {}
        () = talk(stream, &shared, &connection) => {}
    }
}

struct Hold(Arc<Connection>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.release();
    }
}

async fn talk(stream: TcpStream, shared: &Arc<Shared>, connection: &Arc<Connection>) {
    shared.until_not_silent().await;
    // Small events must not wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let tls: Arc<ServerConfig> = Arc::clone(&shared.authority.tls);
    // A client that does not trust the certificate, or speaks no TLS.
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let service = service_fn(|request| answer(Arc::clone(shared), Arc::clone(connection), request));
    // It ends with an error whenever the client or the test cuts it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
