//! A socket read in large pieces.
//!
//! TLS asks for one record at a time (16 KiB), which would be one system call for each under load. This reads as much
//! as is there, and gives its buffer back when nothing is. While the pod has too much that nobody takes it reads nothing, and its
//! polls end after many bytes (`shares`).
//!
//! A large write is seldom the last, and its end seldom fills a packet. It is kept back by the kernel for what comes next, until the
//! task has written all that it has ([`Writes::push`]): each packet of its own costs as much as one of 64 KiB.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    os::fd::AsRawFd,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::{
    capture::socket_facts,
    observe::{Shown, SocketView},
    shares::{self, Account},
};

const SMALL: usize = 8 * 1024;
const LARGE: usize = 128 * 1024;
/// A write of as much is likely not the last.
const MORE_COMES: usize = 32 * 1024;

/// A TCP stream with a read buffer that follows the traffic.
pub(super) struct WideReads {
    /// Before the stream, so that it is dropped before that is closed.
    shown: Shown,
    writes: Writes,
    account: Arc<Account>,
    buffer: BytesMut,
    size: usize,
}

/// What is written to the stream.
#[derive(Clone)]
pub(super) struct Writes(Arc<Socket>);

struct Socket {
    stream: TcpStream,
    /// Whether the kernel keeps something back.
    kept: AtomicBool,
}

impl Writes {
    /// Nothing more comes for now: what is kept back leaves. To be called at the end of each poll that may have written.
    pub(super) fn push(&self) {
        if self.0.kept.swap(false, Relaxed) {
            // Setting it anew is what has the kernel look. A socket that is gone has nothing.
            let _ = self.0.stream.set_nodelay(true);
        }
    }

    fn poll_write(&self, context: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Socket { stream, kept } = &*self.0;
        let length: usize = data.iter().map(|piece| piece.len()).sum();
        loop {
            ready!(stream.poll_write_ready(context))?;
            let written = match length >= MORE_COMES {
                false => stream.try_write_vectored(data),
                true => stream.try_io(Interest::WRITABLE, || {
                    let flags = libc::MSG_MORE | libc::MSG_NOSIGNAL;
                    SockRef::from(stream).send_vectored_with_flags(data, flags)
                }),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    if length >= MORE_COMES {
                        kept.store(true, Relaxed);
                    }
                    return Poll::Ready(written);
                }
            }
        }
    }
}

impl WideReads {
    pub(super) fn new(stream: TcpStream, account: &Arc<Account>) -> Self {
        let shown = SocketView::show(stream.as_raw_fd(), socket_facts);
        let writes = Writes(Arc::new(Socket { stream, kept: AtomicBool::new(false) }));
        Self { shown, writes, account: Arc::clone(account), buffer: BytesMut::new(), size: SMALL }
    }

    /// Has what was written leave.
    pub(super) fn writes(&self) -> Writes {
        self.writes.clone()
    }

    /// The socket, for those who look at it while it is open.
    pub(super) fn view(&self) -> Arc<SocketView> {
        self.shown.view()
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { writes, account, buffer, .. } = self;
        let stream = &writes.0.stream;
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

    /// Not what has the kernel send: HTTP/2 flushes after each frame.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.writes.0.stream).shutdown(Shutdown::Write))
    }
}

fn written(length: usize) -> usize {
    shares::moved(length);
    length
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::shares::{Overload, Share};

    #[tokio::test]
    async fn the_end_of_a_large_write_is_kept_back_until_it_is_pushed_and_a_small_one_is_not() {
        let share = Share { weight: 100, connections: 1, handshakes: 1, buffer_bytes: 1 << 20 };
        let account = Account::new(share, &Overload::new(1));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut peer = listener.accept().await.unwrap().0;
        let mut wide = WideReads::new(stream, &account);
        let writes = wide.writes();
        let sent: Vec<u8> = (0..MORE_COMES + 1).map(|number| number.to_le_bytes()[0]).collect();
        for (length, is_kept) in [(sent.len(), true), (100, false)] {
            wide.write_all(&sent[..length]).await.unwrap();
            assert_eq!(writes.0.kept.load(Relaxed), is_kept, "{length}");
            writes.push();
            assert!(!writes.0.kept.load(Relaxed));
            let mut received = vec![0; length];
            peer.read_exact(&mut received).await.unwrap();
            assert!(received == sent[..length]);
        }
        wide.shutdown().await.unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    }
}
