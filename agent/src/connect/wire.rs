//! One end of a connection: a socket, or a stream of a tunnel.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{reset_on_close, tunnel::TunnelIo};

/// A byte stream to the client or to the server.
pub enum Wire {
    /// A socket.
    Tcp(TcpStream),
    /// A stream of a tunnel. In a box: a future holds what it was given beside what it makes of that.
    Tunnel(Box<TunnelIo>),
}

impl Wire {
    /// Waits for bytes, and copies what is there into `seen`, up to `most` of them, without reading them: whoever reads the
    /// stream finds them all. It may return with no more than before. False at the end.
    pub async fn look(&mut self, seen: &mut BytesMut, most: usize) -> io::Result<bool> {
        match self {
            Self::Tcp(stream) => look_at(stream, seen, most).await,
            Self::Tunnel(stream) => {
                if stream.unread().len() <= seen.len() && !stream.receive_more().await? {
                    return Ok(false);
                }
                let unread = stream.unread();
                seen.clear();
                seen.extend_from_slice(&unread[..unread.len().min(most)]);
                Ok(true)
            }
        }
    }

    /// Ends it abnormally.
    pub fn reset(self) {
        match self {
            Self::Tcp(stream) => reset_on_close(&stream),
            // What is dropped before its end is reset.
            Self::Tunnel(stream) => drop(stream),
        }
    }
}

/// [`Wire::look`] at a socket.
pub async fn look_at(stream: &TcpStream, seen: &mut BytesMut, most: usize) -> io::Result<bool> {
    // Twice what was seen, so that there is room for what is new.
    let room = (seen.len() * 2).clamp(1024, most);
    seen.resize(room, 0);
    let peeked = stream.peek(seen).await;
    seen.truncate(*peeked.as_ref().unwrap_or(&0));
    Ok(peeked? > 0)
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, out),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(context, out),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, data),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(context, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, data),
            Self::Tunnel(stream) => Pin::new(stream).poll_write_vectored(context, data),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tunnel(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
