//! A wire whose socket can be looked at for as long as it is open, by those who tell how the packets of a request travelled.

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Wire;
use crate::{
    capture::socket_facts,
    observe::{Shown, SocketView},
};

/// Wherever it is passed on to, the socket is shown until just before it is closed.
pub struct VisibleWire {
    /// Before the wire, so that it is dropped before that is closed. A tunnel shows its own.
    _shown: Option<Shown>,
    wire: Wire,
}

impl VisibleWire {
    /// Shows the socket that a wire is, or is in.
    pub fn over(wire: Wire) -> (Self, Arc<SocketView>) {
        let (shown, view) = match &wire {
            Wire::Tcp(stream) => {
                let shown = SocketView::show(stream.as_raw_fd(), socket_facts);
                let view = shown.view();
                (Some(shown), view)
            }
            Wire::Tunnel(stream) => (None, stream.socket()),
        };
        (Self { _shown: shown, wire }, view)
    }
}

impl AsyncRead for VisibleWire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_read(context, out)
    }
}

impl AsyncWrite for VisibleWire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}
