//! Hears with which alert a server ends a tunnel.
//!
//! In TLS 1.3 a client's handshake is over before the server has judged its certificate, so the refusal comes with the first
//! read, in the midst of HTTP/2, which passes on that the connection broke and not why. Bytes pass through here unchanged.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::identify::refusal_by_peer;

/// The alert, once it came.
pub(super) type Heard = Arc<OnceLock<AlertDescription>>;

/// A TLS stream that is listened to.
pub(super) struct AlertListener<S> {
    stream: S,
    heard: Heard,
}

impl<S> AlertListener<S> {
    pub(super) fn new(stream: S, heard: Heard) -> Self {
        Self { stream, heard }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AlertListener<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, out);
        if let Poll::Ready(Err(error)) = &read
            && let Some(alert) = refusal_by_peer(error)
        {
            let _ = self.heard.set(alert);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AlertListener<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
