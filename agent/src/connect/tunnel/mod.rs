//! HBONE tunnels: HTTP/2 CONNECT streams over mutual TLS, as Istio ambient speaks them (wire.md of the design, Istio's
//! ambient HBONE protocol), from inside the pods' network namespaces.

mod authority;
mod client;
mod headers;
mod io;
mod peer_watch;
mod pool;
mod server;
mod wide;

use std::sync::Arc;

use h2::{Reason, RecvStream, SendStream};

pub use authority::{Authority, AuthorityError};
pub use client::{Tunnel, TunnelError};
pub use headers::ConnectHeaders;
pub use io::TunnelIo;
pub use pool::{TunnelKey, TunnelPool};
pub use server::{AcceptError, Broken, IncomingStream, IncomingTunnel, accept};
pub(crate) use server::{authority, http2};

use crate::{
    identify::Revoked,
    observe::{GaugeGuard, SocketEnd, SocketView},
    shares::{Chunk, Sending},
};

use peer_watch::Cut;
use pool::StreamPermit;

/// What one stream's peer may send before the application here has read it. It bounds the memory that a stalled
/// application costs, and with the round trip the speed of one stream: 1 MiB is 1 GiB/s at 1 ms.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Streams that a peer may have open on one tunnel.
const MAX_STREAMS: u32 = 100;
/// Room for every stream's window at once: however many of them stall, the others never wait for the tunnel.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS;
/// Larger frames cost fewer headers, smaller ones let streams take turns sooner. With its header, one fills four records of TLS, as
/// many as are encrypted at a time: or else its last bytes would be a record of their own.
const MAX_FRAME: u32 = 64 * 1024 - 9;
/// Enough for CONNECT's few headers, so that a peer cannot make the agent hold more.
pub(crate) const MAX_HEADER_LIST: u32 = 16 * 1024;
/// What one stream may have waiting for the tunnel's socket.
const SEND_BUFFER: usize = 256 * 1024;
/// Frames of all streams that are ready together leave in one TLS write of up to this size.
const WRITE_BATCH: usize = 32 * 1024;

/// One connection inside a tunnel.
pub struct TunnelStream {
    pub(super) send: SendStream<Chunk>,
    pub(super) receive: RecvStream,
    /// What it has to send, in the account of the pod whose tunnel it is.
    pub(super) sending: Arc<Sending>,
    /// Why the agent has cut the tunnel, once it has.
    cut: Cut,
    /// The tunnel's socket, which all of its streams share.
    socket: Arc<SocketView>,
    /// Counts the stream in the client's pool; the server has none.
    _permit: Option<StreamPermit>,
    /// Counts it in the metrics.
    _open: GaugeGuard,
}

impl TunnelStream {
    /// Why the agent has cut the tunnel; `None` where it has not, and the stream ended for another reason.
    pub(super) fn cut(&self) -> Option<&Revoked> {
        self.cut.get()
    }

    /// The tunnel's socket.
    pub(super) fn socket(&self) -> SocketEnd {
        SocketEnd::Shared(self.view())
    }

    fn view(&self) -> Arc<SocketView> {
        Arc::clone(&self.socket)
    }

    /// Ends the stream abnormally.
    pub(super) fn reset(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }
}
