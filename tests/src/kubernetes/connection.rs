//! The server's hold on one TCP connection, so that it can be reset whatever its client or its requests are doing.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// One accepted connection.
pub(super) struct Connection {
    /// A descriptor of the same socket; the kernel acts on linger when the last one is closed.
    socket: Mutex<Option<OwnedFd>>,
    ended: watch::Sender<bool>,
}

impl Connection {
    pub(super) fn of(stream: &TcpStream) -> std::io::Result<Arc<Self>> {
        let socket = Mutex::new(Some(stream.as_fd().try_clone_to_owned()?));
        Ok(Arc::new(Self { socket, ended: watch::Sender::new(false) }))
    }

    /// Ends it with a TCP reset.
    pub(super) fn reset(&self) {
        if let Some(socket) = &*self.socket.lock() {
            // Fails on a socket that the peer has reset already.
            let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        self.ended.send_replace(true);
    }

    /// Returns when it is to end.
    pub(super) async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Lets go of the socket; the connection's own task does so last.
    pub(super) fn release(&self) {
        self.socket.lock().take();
    }
}

/// All connections.
#[derive(Default)]
pub(super) struct Connections(Mutex<Vec<Weak<Connection>>>);

impl Connections {
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        let mut all = self.0.lock();
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(connection));
    }

    /// Resets every connection.
    pub(super) fn reset_all(&self) {
        for connection in self.0.lock().iter().filter_map(Weak::upgrade) {
            connection.reset();
        }
    }
}
