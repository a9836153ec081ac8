//! What is written to a tunnel's socket: all that one poll has to send leaves together.
//!
//! HTTP/2 hands frames over one by one, and has each flushed before the next. Each would be a system call, and a packet to the
//! kernel at the other end. So small writes wait until the task that moves the tunnel's bytes has been polled
//! ([`Writes::push`]); nothing is held while nothing waits.
//!
//! A large write does not wait, and is seldom the last, and its end seldom fills a packet. It is kept back by the kernel for what
//! comes next, until the same moment: each packet of its own costs as much as one of 64 KiB.

use std::{
    io::{self, IoSlice},
    net::Shutdown,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::{io::Interest, net::TcpStream};

/// Small writes that leave together, at most. A write of as much is large.
const BATCH: usize = 32 * 1024;

/// A tunnel's socket, as both who writes to it and who has that leave know it.
#[derive(Clone)]
pub(super) struct Writes(Arc<Socket>);

struct Socket {
    stream: TcpStream,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Whether small writes wait: not before somebody has them leave.
    gathers: bool,
    small: BytesMut,
    /// Whether the kernel keeps the end of a large one back.
    kept: bool,
    /// Why what had waited could not be sent, as the system's number.
    failed: Option<i32>,
}

impl Writes {
    pub(super) fn to(stream: TcpStream) -> Self {
        Self(Arc::new(Socket { stream, waiting: Mutex::default() }))
    }

    /// For reading.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.0.stream
    }

    /// From now on small writes wait for [`Self::push`].
    pub(super) fn gather(&self) {
        self.0.waiting.lock().gathers = true;
    }

    /// Nothing more comes for now: what waits leaves. To be called at the end of each poll that may have written.
    pub(super) fn push(&self, context: &mut Context<'_>) {
        let mut waiting = self.0.waiting.lock();
        match self.0.poll_leave(&mut waiting, context) {
            Poll::Ready(Ok(())) if waiting.kept => {
                waiting.kept = false;
                // Setting it anew is what has the kernel look. A socket that is gone has nothing.
                let _ = self.0.stream.set_nodelay(true);
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
            // Whoever reads or writes next is told.
            Poll::Ready(Err(_)) => context.waker().wake_by_ref(),
        }
    }

    /// An error is that of something that waited, and is sent no more.
    pub(super) fn check(&self) -> io::Result<()> {
        self.0.waiting.lock().check()
    }

    pub(super) fn poll_write(&self, context: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length: usize = data.iter().map(|piece| piece.len()).sum();
        let mut waiting = self.0.waiting.lock();
        waiting.check()?;
        let is_large = length >= BATCH;
        if is_large || !waiting.gathers {
            ready!(self.0.poll_leave(&mut waiting, context))?;
            let written = ready!(self.0.poll_write(context, data, is_large));
            waiting.kept |= is_large && written.is_ok();
            return Poll::Ready(written);
        }
        if waiting.room() < length {
            ready!(self.0.poll_leave(&mut waiting, context))?;
            waiting.small = BytesMut::with_capacity(BATCH);
        }
        data.iter().for_each(|piece| waiting.small.extend_from_slice(piece));
        Poll::Ready(Ok(length))
    }

    pub(super) fn poll_shutdown(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waiting = self.0.waiting.lock();
        waiting.check()?;
        ready!(self.0.poll_leave(&mut waiting, context))?;
        Poll::Ready(SockRef::from(&self.0.stream).shutdown(Shutdown::Write))
    }
}

impl Waiting {
    /// How much more can wait in the memory that is there.
    fn room(&self) -> usize {
        self.small.capacity() - self.small.len()
    }

    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |error| Err(io::Error::from_raw_os_error(error)))
    }
}

impl Socket {
    /// Writes what waits; ready when nothing does any more.
    fn poll_leave(&self, waiting: &mut Waiting, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !waiting.small.is_empty() {
            match ready!(self.poll_write(context, &[IoSlice::new(&waiting.small)], false)) {
                Ok(written) => {
                    waiting.small.advance(written);
                    // What the kernel had kept back has left with it.
                    waiting.kept = false;
                }
                Err(error) => {
                    waiting.small = BytesMut::new();
                    waiting.failed = Some(error.raw_os_error().unwrap_or(libc::EIO));
                    return Poll::Ready(Err(error));
                }
            }
        }
        waiting.small = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, context: &mut Context<'_>, data: &[IoSlice<'_>], more: bool) -> Poll<io::Result<usize>> {
        loop {
            // At once, where there is room: what is written last must not wait for a poll that does not come.
            let written = match more {
                false => self.stream.try_write_vectored(data),
                true => self.stream.try_io(Interest::WRITABLE, || {
                    let flags = libc::MSG_MORE | libc::MSG_NOSIGNAL;
                    SockRef::from(&self.stream).send_vectored_with_flags(data, flags)
                }),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_write_ready(context))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{future::poll_fn, time::Duration};

    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpSocket},
        time::timeout,
    };

    use super::*;

    /// A tunnel's socket with small buffers, and the peer's.
    async fn pair() -> (Writes, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        (Writes::to(stream), listener.accept().await.unwrap().0)
    }

    async fn write(writes: &Writes, data: &[u8]) {
        let mut written = 0;
        while written < data.len() {
            written += poll_fn(|context| writes.poll_write(context, &[IoSlice::new(&data[written..])])).await.unwrap();
        }
    }

    async fn push(writes: &Writes) {
        poll_fn(|context| {
            writes.push(context);
            Poll::Ready(())
        })
        .await;
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|number| (number % 251).to_le_bytes()[0]).collect()
    }

    #[tokio::test]
    async fn small_writes_leave_together_and_in_their_order() {
        let (writes, mut peer) = pair().await;
        write(&writes, b"at once, ").await;
        let mut came = [0; 9];
        peer.read_exact(&mut came).await.unwrap();
        writes.gather();
        for word in ["one, ", "two, ", "three"] {
            write(&writes, word.as_bytes()).await;
        }
        let early = timeout(Duration::from_millis(50), peer.read_u8()).await;
        assert!(early.is_err(), "nothing leaves before its time");
        push(&writes).await;
        let mut came = vec![0; 100];
        let length = peer.read(&mut came).await.unwrap();
        assert_eq!(&came[..length], b"one, two, three");
        assert_eq!(writes.0.waiting.lock().small.capacity(), 0, "and nothing is held any more");
    }

    #[tokio::test]
    async fn the_end_of_a_large_write_is_kept_back_until_it_is_pushed_and_what_waited_goes_before_it() {
        let (writes, mut peer) = pair().await;
        writes.gather();
        let (small, large) = (pattern(100), pattern(BATCH + 1));
        let sent = [small.clone(), large.clone()].concat();
        let reads = tokio::spawn(async move {
            let mut received = vec![0; sent.len()];
            peer.read_exact(&mut received).await.unwrap();
            assert!(received == sent);
            peer
        });
        write(&writes, &small).await;
        write(&writes, &large[..BATCH]).await;
        assert!(writes.0.waiting.lock().kept);
        write(&writes, &large[BATCH..]).await;
        push(&writes).await;
        assert!(!writes.0.waiting.lock().kept);
        let mut peer = reads.await.unwrap();

        write(&writes, &pattern(BATCH)).await;
        push(&writes).await;
        assert!(!writes.0.waiting.lock().kept, "also where nothing small came after it");
        let mut received = vec![0; BATCH];
        peer.read_exact(&mut received).await.unwrap();
        assert!(received == pattern(BATCH));
    }

    #[tokio::test]
    async fn what_waits_for_a_slow_peer_is_bounded_and_leaves_before_the_end() {
        let (writes, mut peer) = pair().await;
        writes.gather();
        let piece = pattern(1000);
        let mut sent = 0;
        let mut fill = |context: &mut Context<'_>| {
            loop {
                match writes.poll_write(context, &[IoSlice::new(&piece)]) {
                    Poll::Ready(written) => sent += written.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
                assert!(writes.0.waiting.lock().small.capacity() <= BATCH);
            }
        };
        poll_fn(&mut fill).await;
        let reads = tokio::spawn(async move {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.unwrap();
            received
        });
        poll_fn(|context| writes.poll_shutdown(context)).await.unwrap();
        let received = reads.await.unwrap();
        assert!(received == piece.repeat(sent / piece.len()), "{} of {sent} bytes", received.len());
    }

    #[tokio::test]
    async fn what_cannot_be_sent_any_more_is_told_to_who_reads_and_to_who_writes() {
        let (writes, peer) = pair().await;
        writes.gather();
        peer.set_zero_linger().unwrap();
        drop(peer);
        writes.stream().readable().await.unwrap();
        write(&writes, b"lost").await;
        assert!(writes.check().is_ok());
        push(&writes).await;
        assert!(writes.check().is_err());
        let written = poll_fn(|context| writes.poll_write(context, &[IoSlice::new(b"more")])).await;
        assert!(matches!(written.unwrap_err().raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)));
        assert!(poll_fn(|context| writes.poll_shutdown(context)).await.is_err(), "it is no orderly end");
    }
}
