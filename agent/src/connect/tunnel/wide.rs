//! A socket read in large pieces.
//!
//! TLS asks for one record at a time (16 KiB), which would be one system call for each under load. This reads as much
//! as is there, and gives its buffer back when nothing is. While the pod has too much that nobody takes it reads nothing, and its
//! polls end after many bytes (`shares`).

use std::{
    io::{self, IoSlice},
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::writes::Writes;
use crate::{
    capture::socket_facts,
    observe::{Shown, SocketView},
    shares::{self, Account},
};

const SMALL: usize = 8 * 1024;
const LARGE: usize = 128 * 1024;

/// A TCP stream with a read buffer that follows the traffic.
pub(super) struct WideReads {
    /// Before the stream, so that it is dropped before that is closed.
    shown: Shown,
    writes: Writes,
    account: Arc<Account>,
    buffer: BytesMut,
    size: usize,
}

impl WideReads {
    pub(super) fn new(stream: TcpStream, account: &Arc<Account>) -> Self {
        let shown = SocketView::show(stream.as_raw_fd(), socket_facts);
        Self { shown, writes: Writes::to(stream), account: Arc::clone(account), buffer: BytesMut::new(), size: SMALL }
    }

    /// Who has what is written leave.
    pub(super) fn writes(&self) -> Writes {
        self.writes.clone()
    }

    /// The socket, for those who look at it while it is open.
    pub(super) fn view(&self) -> Arc<SocketView> {
        self.shown.view()
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { writes, account, buffer, .. } = self;
        writes.check()?;
        let stream = writes.stream();
        let (length, offered) = loop {
            let readable = stream.poll_read_ready(context)?;
            if readable.is_pending() {
                *buffer = BytesMut::new();
                return Poll::Pending;
            }
            ready!(shares::poll_pace(context));
            ready!(account.poll_readable(context));
            buffer.reserve(self.size);
            let offered = buffer.capacity();
            match stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => break (read?, offered),
            }
        };
        shares::moved(length);
        self.size = match length == offered {
            true => (self.size * 2).min(LARGE),
            false if length < self.size / 4 => (self.size / 2).max(SMALL),
            false => self.size,
        };
        Poll::Ready(Ok(length))
    }
}

impl AsyncRead for WideReads {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            ready!(self.poll_fill(context))?;
        }
        let length = out.remaining().min(self.buffer.len());
        out.put_slice(&self.buffer[..length]);
        self.buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WideReads {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(shares::poll_pace(context));
        self.writes.poll_write(context, data).map_ok(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Not what has it leave: HTTP/2 flushes after each frame.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writes.poll_shutdown(context)
    }
}

fn written(length: usize) -> usize {
    shares::moved(length);
    length
}
