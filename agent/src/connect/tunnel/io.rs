//! A tunnel's stream as an ordinary byte stream, for those who read and write HTTP in it.
//!
//! What h2 has received and nobody has read cannot be seen while nobody reads. So a reader that leaves something behind is taken to leave
//! as much as its peer may send, until it finds nothing more.
//!
//! What was received is handed to h2 as read when it is taken out of it, one frame at a time, and the next is taken only
//! when that one was read: so the peer's window still follows the reader.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{STREAM_WINDOW, TunnelStream};
use crate::{
    observe::SocketView,
    shares::{Chunk, Direction, Reserved},
};

/// A stream of a tunnel.
pub struct TunnelIo {
    stream: TunnelStream,
    unread: Bytes,
    /// The peer has sent its last byte.
    ended: bool,
    /// This side has.
    closed: bool,
    /// What the peer may send and nobody reads, where something was left behind.
    left_behind: Reserved,
}

impl TunnelIo {
    /// The stream as it is.
    pub fn new(stream: TunnelStream) -> Self {
        let left_behind = Reserved::none(stream.sending.account(), Direction::Received);
        Self { stream, unread: Bytes::new(), ended: false, closed: false, left_behind }
    }

    /// What was received and not read.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Receives more of it, without reading it. False at the end.
    pub async fn receive_more(&mut self) -> io::Result<bool> {
        let Some(data) = self.stream.receive.data().await else {
            self.ended = true;
            return Ok(false);
        };
        let data = self.taken(data)?;
        self.unread = match self.unread.is_empty() {
            true => data,
            false => {
                let mut both = BytesMut::from(self.unread.as_ref());
                both.extend_from_slice(&data);
                both.freeze()
            }
        };
        Ok(true)
    }

    /// The tunnel's socket.
    pub fn socket(&self) -> Arc<SocketView> {
        self.stream.view()
    }

    /// Takes what was received and not read. Whoever moves the bytes from now on accounts for them, too.
    pub(in crate::connect) fn take_unread(&mut self) -> Bytes {
        self.left_behind.set(0);
        std::mem::take(&mut self.unread)
    }

    /// The stream, for who moves its bytes himself.
    pub(in crate::connect) fn stream(&mut self) -> &mut TunnelStream {
        &mut self.stream
    }

    fn taken(&mut self, data: Result<Bytes, h2::Error>) -> io::Result<Bytes> {
        let data = data.map_err(broken)?;
        let window = self.stream.receive.flow_control();
        window.release_capacity(data.len()).map_err(broken)?;
        self.left_behind.set(if window.used_capacity() > 0 { STREAM_WINDOW as usize } else { 0 });
        Ok(data)
    }
}

impl AsyncRead for TunnelIo {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() && !self.ended {
            match self.stream.receive.poll_data(context) {
                Poll::Ready(Some(data)) => self.unread = self.taken(data)?,
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => {
                    self.left_behind.set(0);
                    return Poll::Pending;
                }
            }
        }
        let length = out.remaining().min(self.unread.len());
        out.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        if self.unread.is_empty() {
            // A frame is not kept in memory until the next one comes.
            self.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelIo {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let TunnelStream { send, sending, .. } = &mut self.stream;
        let wanted = ready!(sending.poll_piece(data.len(), context));
        send.reserve_capacity(wanted);
        while send.capacity() == 0 {
            match ready!(send.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let length = send.capacity().min(wanted);
        send.send_data(sending.chunk(Bytes::copy_from_slice(&data[..length])), false).map_err(broken)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A quiet stream keeps no share of the tunnel's window.
        self.stream.send.reserve_capacity(0);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            self.closed = true;
            self.stream.send.send_data(Chunk::end(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is mapped over")]
fn broken(error: h2::Error) -> io::Error {
    let kind = error.get_io().map_or(io::ErrorKind::ConnectionReset, io::Error::kind);
    io::Error::new(kind, format!("tunnel: {error}"))
}
