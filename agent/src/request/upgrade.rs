//! Connections that stop being HTTP: WebSocket and other upgrades, and CONNECT. From the server's agreement on, bytes pass
//! as they are, and are still part of the client's connection: it is counted, bounded and decided again until they end.

use std::{io, sync::Arc};

use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio_util::{
    io::{InspectReader, InspectWriter},
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    connect::http::{HttpVersion, head::Upgrade},
    observe::{ByteCounts, Failure, ResponseFlag, UpgradeKind},
    shares,
};

/// What stopped to be HTTP on one client's connection.
#[derive(Clone, Debug)]
pub struct Upgrades {
    tasks: TaskTracker,
    cut: CancellationToken,
    cut_means: ResponseFlag,
}

impl Upgrades {
    /// None yet. The flag is what it means that they are cut.
    pub fn new(cut_means: ResponseFlag) -> Self {
        Self { tasks: TaskTracker::new(), cut: CancellationToken::new(), cut_means }
    }

    /// Waits for their end, once the connection carries no more requests.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What ends them all when it is dropped: the connection is not to go on.
    pub fn cut_on_drop(&self) -> DropGuard {
        self.cut.clone().drop_guard()
    }

    /// Passes bytes both ways until both sides have ended, and says how that was.
    pub(super) fn pass(
        &self,
        client: OnUpgrade,
        server: OnUpgrade,
        bytes: Arc<ByteCounts>,
        end: impl FnOnce(Result<(), Failure>) + Send + 'static,
    ) {
        let (cut, cut_means) = (self.cut.clone(), self.cut_means);
        shares::spawn(self.tasks.track_future(async move {
            let result = tokio::select! {
                biased;
                () = cut.cancelled() => Err(PassError::Cut(cut_means)),
                passed = pass(client, server, &bytes) => passed,
            };
            end(result.map_err(|error| error.failure()));
        }));
    }
}

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
async fn pass(client: OnUpgrade, server: OnUpgrade, bytes: &ByteCounts) -> Result<(), PassError> {
    let client = client.await.map_err(PassError::Upgrade)?;
    let server = server.await.map_err(PassError::Upgrade)?;
    let client = InspectReader::new(TokioIo::new(client), |data| bytes.add_sent(data.len() as u64));
    let mut client = InspectWriter::new(client, |data| bytes.add_received(data.len() as u64));
    copy_bidirectional(&mut client, &mut TokioIo::new(server)).await.map_err(PassError::Io)?;
    Ok(())
}

/// Why bytes stopped to pass.
#[derive(Debug, thiserror::Error)]
enum PassError {
    /// By this agent.
    #[error("the agent cut the connection, which had switched protocols")]
    Cut(ResponseFlag),
    /// A side ended before it had switched.
    #[error("switch protocols: {0}")]
    Upgrade(hyper::Error),
    /// A side broke off.
    #[error("after switching protocols: {0}")]
    Io(io::Error),
}

impl PassError {
    /// The failure as metrics and logs have it.
    fn failure(&self) -> Failure {
        let flag = match self {
            Self::Cut(means) => *means,
            Self::Upgrade(_) | Self::Io(_) => ResponseFlag::UpstreamReset,
        };
        Failure { flag, error: self.to_string(), denied_by: None }
    }
}
