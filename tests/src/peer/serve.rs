//! `heddle-peer serve`: a TCP server that behaves in one of several ways.
//!
//! Prints when it listens, and with `--stats` each connection. Never ends by itself.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use socket2::{SockRef, Socket};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::bulk::{Digest, Request};
use super::pattern::Pattern;
use super::report::{Ident, ServerEvent};
use super::{errno, print};

const CHUNK: usize = 64 << 10;
/// As many as the kernel allows by default (net.core.somaxconn), so that bursts are not refused by the application.
const BACKLOG: i32 = 4096;

#[derive(Args)]
pub(super) struct Serve {
    /// Where to listen: ports, ranges and addresses, such as 80 or 8000-8063 or 127.0.0.1:80, separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    listen: Vec<String>,
    /// What to do with each connection.
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    mode: Mode,
    /// Send this line first, before anything is read.
    #[arg(long)]
    greet: Option<String>,
    /// Send a line of JSON first that says how the client is seen; it holds the greeting, too.
    #[arg(long)]
    ident: bool,
    /// Print each connection.
    #[arg(long)]
    stats: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Send back what comes; close when the client does.
    Echo,
    /// Read to the end, then answer with the count and checksum.
    Sink,
    /// Read a request line, send that many bytes, close.
    Source,
    /// Accept and never read.
    Stall,
    /// Read one byte, then reset the connection.
    Rst,
    /// Close the own side at once and read to the end.
    FinFirst,
    /// Answer HTTP/1.1 requests with the greeting.
    Http,
}

pub(super) fn run(serve: Serve) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(listen(Arc::new(serve)))
}

async fn listen(serve: Arc<Serve>) -> Result<()> {
    let mut addresses = Vec::new();
    for text in &serve.listen {
        addresses.extend(parse_listen(text).with_context(|| format!("`{text}` is no port, range or address"))?);
    }
    let mut listeners = Vec::new();
    for address in &addresses {
        listeners.push(bind(*address).with_context(|| format!("listening on {address}"))?);
    }
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>()?;
    print(&ServerEvent::Listening { addresses })?;
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&serve)));
    }
    while let Some(ended) = accepting.join_next().await {
        ended??;
    }
    Ok(())
}

async fn accept(listener: TcpListener, serve: Arc<Serve>) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await.context("accepting")?;
        let serve = Arc::clone(&serve);
        tokio::spawn(async move {
            let peer = canonical(peer);
            let mut received = 0;
            let result = connection(&serve, stream, peer, &mut received).await;
            if serve.stats {
                let error = result.err().map(|error| errno::name(&error));
                let _ = print(&ServerEvent::Ended { peer, received, error });
            }
        });
    }
}

async fn connection(serve: &Serve, mut stream: TcpStream, peer: SocketAddr, received: &mut u64) -> std::io::Result<()> {
    let local = canonical(stream.local_addr()?);
    stream.set_nodelay(true)?;
    if serve.stats {
        let _ = print(&ServerEvent::Accepted { peer, local });
    }
    if serve.ident {
        let mut line = serde_json::to_vec(&Ident { peer, local, tag: serve.greet.clone() })?;
        line.push(b'\n');
        stream.write_all(&line).await?;
    } else if let (Some(greeting), false) = (&serve.greet, matches!(serve.mode, Mode::Http)) {
        stream.write_all(format!("{greeting}\n").as_bytes()).await?;
    }
    match serve.mode {
        Mode::Echo => echo(&mut stream, received).await,
        Mode::Sink => sink(&mut stream, received).await,
        Mode::Source => source(&mut stream).await,
        Mode::Stall => loop {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        },
        Mode::Rst => reset(&mut stream, received).await,
        Mode::FinFirst => {
            stream.shutdown().await?;
            drain(&mut stream, received).await
        }
        Mode::Http => http(&mut stream, serve.greet.as_deref().unwrap_or("ok")).await,
    }
}

async fn echo(stream: &mut TcpStream, received: &mut u64) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        *received += count as u64;
        stream.write_all(&buffer[..count]).await?;
    }
}

async fn sink(stream: &mut TcpStream, received: &mut u64) -> std::io::Result<()> {
    let (mut buffer, mut digest) = (vec![0; CHUNK], Digest::new());
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        *received += count as u64;
        digest.update(&buffer[..count]);
    }
    let mut line = serde_json::to_vec(&digest.receipt())?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}

async fn source(stream: &mut TcpStream) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    // A request is two numbers; more is not read.
    BufReader::new(reader).take(64).read_line(&mut line).await?;
    let request: Request = line.parse().map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))?;
    let (pattern, mut buffer, mut sent) = (Pattern::new(request.seed), vec![0; CHUNK], 0);
    while sent < request.bytes {
        let count = CHUNK.min(usize::try_from(request.bytes - sent).unwrap_or(CHUNK));
        pattern.fill(sent, &mut buffer[..count]);
        writer.write_all(&buffer[..count]).await?;
        sent += count as u64;
    }
    writer.shutdown().await?;
    drain(stream, &mut 0).await
}

async fn reset(stream: &mut TcpStream, received: &mut u64) -> std::io::Result<()> {
    *received = stream.read(&mut [0; 1]).await? as u64;
    // Closing with a linger time of zero sends RST.
    SockRef::from(&*stream).set_linger(Some(Duration::ZERO))
}

async fn drain(stream: &mut TcpStream, received: &mut u64) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => *received += count as u64,
        }
    }
}

async fn http(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    let mut last = false;
    while let Some(line) = lines.next_line().await? {
        last |= line.eq_ignore_ascii_case("connection: close");
        // Requests without a body: each ends with its empty line.
        if line.is_empty() {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}\n", body.len() + 1);
            writer.write_all(answer.as_bytes()).await?;
            if last {
                break;
            }
        }
    }
    writer.shutdown().await
}

pub(super) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // The wildcard serves both families, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

pub(super) fn parse_listen(text: &str) -> Option<Vec<SocketAddr>> {
    let any = IpAddr::from([0u16; 8]);
    if let Ok(address) = text.parse() {
        return Some(vec![address]);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?;
    Some(ports.map(|port| SocketAddr::new(any, port)).collect())
}

/// IPv4 addresses as such, also on an IPv6 socket.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_ranges_and_addresses_are_understood() {
        assert_eq!(parse_listen("80"), Some(vec![SocketAddr::from(([0u16; 8], 80))]));
        assert_eq!(parse_listen("127.0.0.1:5"), Some(vec![SocketAddr::from(([127, 0, 0, 1], 5))]));
        assert_eq!(parse_listen("8000-8002").map(|ports| ports.len()), Some(3));
        assert_eq!((parse_listen("http"), parse_listen("1-x"), parse_listen("70000")), (None, None, None));
    }
}
