//! Moving the bytes between an application's socket and the way that was opened for it.
//!
//! Each direction ends by itself (half-close), an abnormal end of one side becomes an abnormal end of the other, and
//! nothing is read that cannot be passed on: the slowest reader sets the pace. A direction holds a buffer only while
//! there is something to read; it starts small, grows while reads fill it, and is given back when they stop.

use std::{
    future::poll_fn,
    io,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use h2::{RecvStream, SendStream};
use tokio::{
    io::{AsyncWriteExt, Interest, copy_bidirectional},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

use crate::{
    capture::socket_facts,
    identify::Revoked,
    observe::{ByteCounts, SocketEnd},
    shares::{self, Account, Chunk, Direction, Reserved, Sending},
};

use super::{
    Wire,
    growing_buffer::{GrowingBuffer, LARGE},
    tunnel::{TunnelIo, TunnelStream},
};

/// The side at which a relay ended abnormally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The side that opened the connection.
    Client,
    /// The side that it was opened to.
    Server,
}

/// Why a relay ended before both directions were done.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// One of the two, or what is between.
    #[error("{} broke the connection off: {source}", match side { Side::Client => "the client", Side::Server => "the server" })]
    Broken {
        /// Who.
        side: Side,
        /// What happened there.
        source: io::Error,
    },
    /// This agent, which must not talk to the peer any more.
    #[error("the agent cut the tunnel: {0}")]
    Revoked(Revoked),
}

impl RelayError {
    /// A stream ends when its tunnel is cut, and does not know why.
    fn in_tunnel(self, tunnel: &TunnelStream) -> Self {
        tunnel.cut().map_or(self, |why| Self::Revoked(why.clone()))
    }

    /// The same, told from the other end.
    fn turned_round(self) -> Self {
        match self {
            Self::Broken { side, source } => Self::Broken { side: opposite(side), source },
            Self::Revoked(why) => Self::Revoked(why),
        }
    }
}

/// Relays between the client and the server until both directions have ended, for the pod with this account.
pub async fn relay(client: Wire, server: Wire, bytes: &ByteCounts, account: &Arc<Account>) -> Result<(), RelayError> {
    // A box for each kind: one place for all would need the memory of the largest, for as long as the connection lasts.
    match (client, server) {
        (Wire::Tcp(client), Wire::Tcp(server)) => Box::pin(two_sockets(client, server, bytes, account)).await,
        (Wire::Tcp(client), Wire::Tunnel(server)) => Box::pin(to_tunnel(client, server, bytes)).await,
        (Wire::Tunnel(client), Wire::Tcp(server)) => Box::pin(from_tunnel(client, server, bytes)).await,
        (Wire::Tunnel(client), Wire::Tunnel(server)) => Box::pin(two_tunnels(client, server, bytes)).await,
    }
}

async fn two_sockets(
    mut client: TcpStream,
    mut server: TcpStream,
    bytes: &ByteCounts,
    account: &Arc<Account>,
) -> Result<(), RelayError> {
    // Armed first: whatever ends the relay early, the end of the agent too, must not look like an orderly end.
    reset_on_close(&client);
    reset_on_close(&server);
    // Dropped before the sockets.
    let _shown = bytes.show(own(&client), own(&server));
    between_sockets(&mut client, &mut server, bytes, account).await?;
    close_orderly(&server);
    close_orderly(&client);
    Ok(())
}

async fn to_tunnel(mut client: TcpStream, mut server: Box<TunnelIo>, bytes: &ByteCounts) -> Result<(), RelayError> {
    reset_on_close(&client);
    let _shown = bytes.show(own(&client), server.stream().socket());
    bytes.add_received(write_unread(&mut server, &mut client).await.map_err(at(Side::Client))?);
    let server = server.stream();
    bytes.add_sent(server.take_out_sent(&client).map_err(at(Side::Client))? as u64);
    with_tunnel(&mut client, server, &bytes.sent, &bytes.received)
        .await
        .map_err(|error| error.in_tunnel(server))
        .inspect_err(|_| server.reset())?;
    close_orderly(&client);
    Ok(())
}

/// The client is a stream of a tunnel, and the server an application.
async fn from_tunnel(mut client: Box<TunnelIo>, mut server: TcpStream, bytes: &ByteCounts) -> Result<(), RelayError> {
    reset_on_close(&server);
    let _shown = bytes.show(client.stream().socket(), own(&server));
    bytes.add_sent(write_unread(&mut client, &mut server).await.map_err(at(Side::Server))?);
    let client = client.stream();
    match with_tunnel(&mut server, client, &bytes.received, &bytes.sent).await {
        Ok(()) => {
            close_orderly(&server);
            Ok(())
        }
        Err(error) => {
            client.reset();
            // In the tunnel's function the socket is the client: here it is the server.
            Err(error.in_tunnel(client).turned_round())
        }
    }
}

/// Passes on what was received of a tunnel before anybody relayed; how much that was.
async fn write_unread(tunnel: &mut TunnelIo, socket: &mut TcpStream) -> io::Result<u64> {
    let unread = tunnel.take_unread();
    socket.write_all(&unread).await?;
    Ok(unread.len() as u64)
}

/// No agent connects one tunnel with another today; bytes would pass all the same.
async fn two_tunnels(
    mut client: Box<TunnelIo>,
    mut server: Box<TunnelIo>,
    bytes: &ByteCounts,
) -> Result<(), RelayError> {
    let (sent, received) = copy_bidirectional(&mut client, &mut server).await.map_err(at(Side::Server))?;
    bytes.add_sent(sent);
    bytes.add_received(received);
    Ok(())
}

fn own(socket: &TcpStream) -> SocketEnd {
    SocketEnd::Own(socket.as_raw_fd(), socket_facts)
}

/// Makes the socket's end a reset, so that its peer does not take it for an orderly one.
pub fn reset_on_close(socket: &TcpStream) {
    // A socket that is gone already has no end to give.
    let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
}

/// Takes [`reset_on_close`] back.
pub fn close_orderly(socket: &TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(None);
}

fn opposite(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

async fn between_sockets(
    client: &mut TcpStream,
    server: &mut TcpStream,
    bytes: &ByteCounts,
    account: &Arc<Account>,
) -> Result<(), RelayError> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let upload =
        socket_to_socket((&mut from_client, Side::Client), (&mut to_server, Side::Server), &bytes.sent, account);
    let download =
        socket_to_socket((&mut from_server, Side::Server), (&mut to_client, Side::Client), &bytes.received, account);
    tokio::try_join!(upload, download).map(drop)
}

async fn with_tunnel(
    socket: &mut TcpStream,
    tunnel: &mut TunnelStream,
    from_socket: &AtomicU64,
    to_socket: &AtomicU64,
) -> Result<(), RelayError> {
    let (mut reader, mut writer) = socket.split();
    let upload = socket_to_tunnel(&mut reader, &mut tunnel.send, &tunnel.sending, from_socket);
    let download = tunnel_to_socket(&mut tunnel.receive, &mut writer, &tunnel.sending, to_socket);
    tokio::try_join!(upload, download).map(drop)
}

async fn socket_to_socket(
    (reader, from): (&mut ReadHalf<'_>, Side),
    (writer, to): (&mut WriteHalf<'_>, Side),
    count: &AtomicU64,
    account: &Arc<Account>,
) -> Result<(), RelayError> {
    let mut buffer = GrowingBuffer::new();
    let mut unsent = Reserved::none(account, Direction::Sent);
    loop {
        poll_fn(shares::poll_pace).await;
        reader.readable().await.map_err(at(from))?;
        let mut data = buffer.read(reader, account.piece(LARGE)).await.map_err(at(from))?;
        if data.is_empty() {
            return writer.shutdown().await.map_err(at(to));
        }
        count.fetch_add(data.len() as u64, Ordering::Relaxed);
        shares::moved(data.len());
        unsent.set(data.len());
        writer.write_all_buf(&mut data).await.map_err(at(to))?;
        unsent.set(0);
    }
}

async fn socket_to_tunnel(
    reader: &mut ReadHalf<'_>,
    send: &mut SendStream<Chunk>,
    sending: &Arc<Sending>,
    count: &AtomicU64,
) -> Result<(), RelayError> {
    let mut buffer = GrowingBuffer::new();
    loop {
        poll_fn(shares::poll_pace).await;
        tokio::select! {
            biased;
            readable = reader.readable() => readable.map_err(at(Side::Client))?,
            reset = poll_fn(|context| send.poll_reset(context)) => return Err(at(Side::Server)(reset_error(reset))),
        }
        let room = tokio::select! {
            biased;
            room = poll_fn(|context| poll_room(send, sending, buffer.size(), context)) => room.map_err(at(Side::Server))?,
            // The client broke off while the server takes nothing: nobody else would notice.
            _ = reader.ready(Interest::ERROR) => return Err(at(Side::Client)(io::ErrorKind::ConnectionReset.into())),
        };
        let data = buffer.read(reader, room).await.map_err(at(Side::Client))?;
        let (length, last) = (data.len(), data.is_empty());
        shares::moved(length);
        send.send_data(sending.chunk(data), last).map_err(|error| at(Side::Server)(h2_error(error)))?;
        if last {
            return Ok(());
        }
        // A quiet stream keeps no share of the tunnel's window.
        send.reserve_capacity(0);
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

async fn tunnel_to_socket(
    receive: &mut RecvStream,
    writer: &mut WriteHalf<'_>,
    sending: &Arc<Sending>,
    count: &AtomicU64,
) -> Result<(), RelayError> {
    let mut unread = Reserved::none(sending.account(), Direction::Received);
    // What the socket does not take yet. It is never more than the stream's window, since the peer may send more only
    // when something was written. It is taken out of h2, which would count many small frames against the whole tunnel.
    let mut waiting = BytesMut::new();
    let mut ended = false;
    while !ended || !waiting.is_empty() {
        let written = tokio::select! {
            biased;
            written = writer.write(&waiting), if !waiting.is_empty() => {
                let written = written.map_err(at(Side::Client))?;
                waiting.advance(written);
                written
            }
            data = receive.data(), if !ended => match data {
                Some(data) => {
                    let data = data.map_err(|error| at(Side::Server)(h2_error(error)))?;
                    count.fetch_add(data.len() as u64, Ordering::Relaxed);
                    let written = if waiting.is_empty() { try_write(writer, &data).map_err(at(Side::Client))? } else { 0 };
                    waiting.extend_from_slice(&data[written..]);
                    written
                }
                None => {
                    ended = true;
                    0
                }
            },
        };
        receive.flow_control().release_capacity(written).map_err(|error| at(Side::Server)(h2_error(error)))?;
        unread.set(waiting.len());
        if waiting.is_empty() {
            waiting = BytesMut::new();
        }
    }
    writer.shutdown().await.map_err(at(Side::Client))
}

/// Writes as much as the socket takes at once.
fn try_write(writer: &WriteHalf<'_>, data: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < data.len() {
        match writer.try_write(&data[written..]) {
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// Waits until the tunnel takes at least one byte; answers how many it takes now.
fn poll_room(
    send: &mut SendStream<Chunk>,
    sending: &Sending,
    wanted: usize,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let wanted = ready!(sending.poll_piece(wanted, context));
    send.reserve_capacity(wanted);
    loop {
        match send.capacity() {
            0 => {}
            room => return Poll::Ready(Ok(room.min(wanted))),
        }
        match ready!(send.poll_capacity(context)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(h2_error(error))),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

fn at(side: Side) -> impl Fn(io::Error) -> RelayError {
    move |source| RelayError::Broken { side, source }
}

fn reset_error(reset: Result<h2::Reason, h2::Error>) -> io::Error {
    match reset {
        Ok(reason) => io::Error::new(io::ErrorKind::ConnectionReset, format!("stream reset ({reason})")),
        Err(error) => h2_error(error),
    }
}

fn h2_error(error: h2::Error) -> io::Error {
    if error.is_io()
        && let Some(error) = error.get_io()
    {
        return io::Error::new(error.kind(), format!("tunnel: {error}"));
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
