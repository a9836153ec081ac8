//! A connection to the collector, from the node's own network: name, TCP, TLS where the endpoint says `https`.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::ExportError;
use crate::{
    config::{OtlpConfig, OtlpProtocol},
    outside::{self, Roots},
};

/// A stream to the collector.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Opens one.
pub(super) async fn open(config: &OtlpConfig) -> Result<Stream, ExportError> {
    let tcp = connect(config).await?;
    // An export is written as a whole.
    let _ = tcp.set_nodelay(true);
    match config.endpoint.is_tls {
        false => Ok(Stream::Plain(tcp)),
        true => shake_hands(config, tcp).await,
    }
}

/// To the first of the host's addresses that takes the connection.
async fn connect(config: &OtlpConfig) -> Result<TcpStream, ExportError> {
    let (host, port) = (config.endpoint.host.as_str(), config.endpoint.port);
    let unknown = |source| ExportError::Resolve { host: host.to_owned(), source };
    let found: Vec<SocketAddr> = lookup_host((host, port)).await.map_err(unknown)?.take(MOST_ADDRESSES).collect();
    let mut failure = unknown(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    // One address that does not answer leaves time for the others.
    let share = config.timeout / u32::try_from(found.len() + 1).unwrap_or(1);
    for address in found {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => failure = ExportError::Connect { address: address.to_string(), source },
            Err(_) => failure = ExportError::TimedOut(share),
        }
    }
    Err(failure)
}

async fn shake_hands(config: &OtlpConfig, tcp: TcpStream) -> Result<Stream, ExportError> {
    let alpn: &[u8] = match config.protocol {
        OtlpProtocol::Grpc => b"h2",
        OtlpProtocol::Http => b"http/1.1",
    };
    let tls = outside::client_config(&Roots::of(config.roots.as_deref()), alpn).await.map_err(ExportError::Tls)?;
    let name =
        ServerName::try_from(config.endpoint.host.clone()).map_err(|error| ExportError::Tls(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await;
    stream.map(|stream| Stream::Tls(Box::new(stream))).map_err(|error| ExportError::Tls(error.to_string()))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, to),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, to),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Of a host with many, these are enough to find one that answers.
const MOST_ADDRESSES: usize = 4;
