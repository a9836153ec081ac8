//! Connections that stop being HTTP: WebSocket and other upgrades, and CONNECT. From the server's agreement on, bytes pass
//! as they are.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::{
    connect::http::{HttpVersion, head::Upgrade},
    observe::{ByteCounts, Failure, ResponseFlag, UpgradeKind},
};

/// Whether an answer is the server's agreement to the upgrade or CONNECT that was asked for.
pub(super) fn is_agreed<B>(request_is_connect: bool, response: &Response<B>) -> bool {
    match request_is_connect {
        true => response.status().is_success(),
        false => response.status() == StatusCode::SWITCHING_PROTOCOLS,
    }
}

/// The client's half of an upgrade or CONNECT that can be passed on, taken from its request before that is sent on.
pub(super) fn client_half(parts: &mut Parts, to: HttpVersion) -> Option<OnUpgrade> {
    let half = parts.extensions.remove::<OnUpgrade>()?;
    let is_asked = parts.method == Method::CONNECT || to == HttpVersion::Http1 && Upgrade::of(parts).is_some();
    is_asked.then_some(half)
}

/// What a connection becomes, for metrics.
pub(super) fn kind<B>(is_connect: bool, response: &Response<B>) -> UpgradeKind {
    let protocol = response.headers().get(header::UPGRADE).map(HeaderValue::as_bytes);
    match protocol {
        _ if is_connect => UpgradeKind::Connect,
        Some(protocol) if protocol.eq_ignore_ascii_case(b"websocket") => UpgradeKind::WebSocket,
        _ => UpgradeKind::Other,
    }
}

/// Passes bytes both ways until both sides have ended.
pub(super) async fn pass(client: OnUpgrade, server: OnUpgrade, bytes: &Arc<ByteCounts>) -> Result<(), PassError> {
    let client = client.await.map_err(PassError::Upgrade)?;
    let server = server.await.map_err(PassError::Upgrade)?;
    let mut client = Counted { stream: TokioIo::new(client), bytes };
    copy_bidirectional(&mut client, &mut TokioIo::new(server)).await.map_err(PassError::Io)?;
    Ok(())
}

/// Why bytes stopped to pass.
#[derive(Debug, thiserror::Error)]
pub(super) enum PassError {
    /// A side ended before it had switched.
    #[error("switch protocols: {0}")]
    Upgrade(hyper::Error),
    /// A side broke off.
    #[error("after switching protocols: {0}")]
    Io(io::Error),
}

impl PassError {
    /// The failure as metrics and logs have it.
    pub(super) fn failure(&self) -> Failure {
        Failure { flag: ResponseFlag::UpstreamReset, error: self.to_string(), denied_by: None }
    }
}

/// The client's stream; what is read from it was sent.
struct Counted<'a> {
    stream: TokioIo<Upgraded>,
    bytes: &'a ByteCounts,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, out);
        self.bytes.add_sent((out.filled().len() - before) as u64);
        polled
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, data);
        if let Poll::Ready(Ok(length)) = polled {
            self.bytes.add_received(length as u64);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
