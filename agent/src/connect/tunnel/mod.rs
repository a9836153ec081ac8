//! HBONE tunnels: HTTP/2 CONNECT streams over mutual TLS, as Istio ambient speaks them (wire.md of the design, Istio's
//! ambient HBONE protocol), from inside the pods' network namespaces.

mod authority;
mod client;
mod headers;
mod io;
mod optimistic;
mod peer_watch;
mod pool;
mod server;
mod wide;
mod writes;

use std::sync::Arc;

use h2::{Reason, RecvStream, SendStream};
use tokio::net::TcpStream;

pub use authority::{Authority, AuthorityError};
pub use client::{Tunnel, TunnelError};
pub use headers::ConnectHeaders;
pub use io::TunnelIo;
pub use pool::{TunnelKey, TunnelPool};
pub use server::{AcceptError, Broken, IncomingStream, IncomingTunnel, accept};
pub(crate) use server::{authority, http2};

use crate::{
    identify::Revoked,
    observe::{GaugeGuard, SocketEnd, SocketView, TunnelEndReason},
    shares::{Chunk, Sending},
};

use optimistic::take_out;
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
pub(super) const MAX_FRAME: u32 = 64 * 1024 - 9;
/// Enough for CONNECT's few headers, so that a peer cannot make the agent hold more.
pub(crate) const MAX_HEADER_LIST: u32 = 16 * 1024;
/// What one stream may have waiting for the tunnel's socket.
const SEND_BUFFER: usize = 256 * 1024;

/// Why this end has cut a tunnel, where that is for what its peer sent.
fn breach(error: &h2::Error) -> Option<TunnelEndReason> {
    if error.is_remote() {
        return None;
    }
    match error.reason()? {
        Reason::ENHANCE_YOUR_CALM => Some(TunnelEndReason::TooManyResets),
        Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR | Reason::COMPRESSION_ERROR | Reason::FLOW_CONTROL_ERROR => {
            Some(TunnelEndReason::Protocol)
        }
        _ => None,
    }
}

/// One connection inside a tunnel.
pub struct TunnelStream {
    pub(super) send: SendStream<Chunk>,
    pub(super) receive: RecvStream,
    /// What it has to send, in the account of the pod whose tunnel it is.
    pub(super) sending: Arc<Sending>,
    /// How much of what is in the client's socket the peer has already, or how the client broke off before the stream was open.
    sent_ahead: std::io::Result<usize>,
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

    /// Takes out of the client's socket what the peer has already; how much that was.
    pub(super) fn take_out_sent(&mut self, client: &TcpStream) -> std::io::Result<usize> {
        let length = std::mem::replace(&mut self.sent_ahead, Ok(0))?;
        take_out(client, length)?;
        Ok(length)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Why a server ends the tunnel of a client that does this.
    async fn ended_for(client: impl AsyncFnOnce(DuplexStream) -> DuplexStream) -> Option<TunnelEndReason> {
        let (near, far) = duplex(1 << 20);
        let _open = client(near).await;
        let mut tunnel = http2().handshake::<_, Chunk>(far).await.unwrap();
        loop {
            match tunnel.accept().await? {
                Ok(stream) => drop(stream),
                Err(error) => return breach(&error),
            }
        }
    }

    /// A frame's header with so many bytes of nothing.
    fn frame(kind: u8, flags: u8, stream: u32, length: u32) -> Vec<u8> {
        let header = [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        [header, vec![0; length as usize]].concat()
    }

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: u8 = 4;

    #[tokio::test]
    async fn a_peers_breach_is_told_by_its_kind_and_its_going_is_none() {
        let raw = async |frames: &[Vec<u8>]| {
            let written = [PREFACE, &frame(SETTINGS, 0, 0, 0), &frames.concat()].concat();
            ended_for(async move |mut near: DuplexStream| {
                near.write_all(&written).await.unwrap();
                near
            })
            .await
        };
        assert_eq!(raw(&[frame(0, 0, 1, MAX_FRAME + 1)]).await, Some(TunnelEndReason::Protocol), "too long a frame");
        assert_eq!(raw(&[frame(0, 0, 0, 1)]).await, Some(TunnelEndReason::Protocol), "data of no stream");
        // HEADERS of a CONNECT to "a", which is reset before it is served; 3 is RST_STREAM.
        let block = [0x02, 0x07, b'C', b'O', b'N', b'N', b'E', b'C', b'T', 0x01, 0x01, b'a'];
        let reset = |number: u32| {
            let mut headers = frame(1, 4, 2 * number + 1, block.len() as u32);
            headers.splice(9.., block);
            [headers, frame(3, 0, 2 * number + 1, 4)].concat()
        };
        let resets: Vec<_> = (0..100).map(reset).collect();
        assert_eq!(raw(&resets).await, Some(TunnelEndReason::TooManyResets));
        assert_eq!(
            ended_for(async |near: DuplexStream| {
                let mut near = near;
                near.write_all(PREFACE).await.unwrap();
                near.write_all(&frame(SETTINGS, 0, 0, 0)).await.unwrap();
                near.shutdown().await.unwrap();
                near
            })
            .await,
            None
        );
    }

    /// Why a server ends the tunnel of a client that has so many streams refused, and then sends the words of each.
    async fn ended_for_words_of_refused(streams: u32) -> Option<TunnelEndReason> {
        let (mut near, far) = duplex(1 << 20);
        let server = async {
            let mut tunnel = http2().handshake::<_, Chunk>(far).await.unwrap();
            while let Some(accepted) = tunnel.accept().await {
                match accepted {
                    Ok((_, mut respond)) => {
                        let refusal = http::Response::builder().status(503).body(()).unwrap();
                        respond.send_response(refusal, true).unwrap();
                    }
                    Err(error) => return breach(&error),
                }
            }
            None
        };
        let client = async move {
            let authority = b"192.0.2.1:80";
            let block = [&[2, 7], &b"CONNECT"[..], &[1, 12], authority].concat();
            let numbers: Vec<u32> = (0..streams).map(|stream| 2 * stream + 1).collect();
            near.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, 0)].concat()).await.unwrap();
            // No more at a time than the server takes.
            for some in numbers.chunks(MAX_STREAMS as usize / 2) {
                for stream in some {
                    let mut asked = frame(1, 4, *stream, block.len() as u32);
                    asked.truncate(9);
                    near.write_all(&[&asked[..], &block].concat()).await.unwrap();
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            for stream in numbers {
                // A tunnel that has ended takes no more.
                let _ = near.write_all(&frame(0, 0, stream, 5)).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        tokio::join!(server, client).0
    }

    #[tokio::test]
    async fn words_that_cross_a_refusal_do_not_end_the_tunnel() {
        assert_eq!(ended_for_words_of_refused(1100).await, None);
        assert_eq!(ended_for_words_of_refused(2200).await, Some(TunnelEndReason::TooManyResets));
    }
}
