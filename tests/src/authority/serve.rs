//! Listeners and connections of the authority: HTTP/2 over TLS, by hand, so that a call can break it anywhere.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use h2::Reason;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::call::answer;

/// What a call may do to its connection.
pub(super) enum Order {
    Cut,
    GoAwayAfter,
    GoAwayBefore,
}

/// Accepts until the authority goes down.
pub(super) async fn accept(listener: StdListener, mut downs: watch::Receiver<usize>, shared: Arc<Shared>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(until_down(stream, Arc::clone(&shared)));
            },
            _ = downs.changed() => return,
        }
    }
}

async fn until_down(stream: TcpStream, shared: Arc<Shared>) {
    let mut downs = shared.downs.subscribe();
    shared.open.fetch_add(1, Ordering::Relaxed);
    tokio::select! {
        () = serve(stream, &shared) => {}
        _ = downs.changed() => {}
    }
    shared.open.fetch_sub(1, Ordering::Relaxed);
}

async fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    let tls = Arc::clone(&shared.tls.lock());
    // A client that does not believe the certificate.
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let (orders, mut inbox) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    tokio::spawn(answer(request, respond, Arc::clone(shared), orders.clone()));
                }
                _ => return,
            },
            Some(order) = inbox.recv() => match order {
                Order::Cut => return,
                Order::GoAwayAfter => connection.graceful_shutdown(),
                Order::GoAwayBefore => connection.abrupt_shutdown(Reason::NO_ERROR),
            },
        }
    }
}
