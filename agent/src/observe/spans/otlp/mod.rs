//! One collector, asked over gRPC or over HTTP: one export, within its time, over a connection that is kept.
//!
//! The name is looked up by the node's own resolver for every connection, so a Service that moved is found. A connection that did not
//! carry an export to its end is not used again.

mod dial;
mod error;
mod grpc;
mod http1;

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;

use super::{
    export::{Deliver, within},
    protocol::ExportTraceServiceResponse,
};
use crate::config::{OtlpConfig, OtlpProtocol};
pub(super) use error::{Again, ExportError};

/// The collector, and the connection to it.
pub(super) struct Collector {
    config: OtlpConfig,
    kept: Option<Link>,
}

/// A connection. Its task ends with it.
enum Link {
    Grpc(grpc::Link),
    Http(http1::Link),
}

impl Collector {
    /// Connects nowhere yet.
    pub(super) fn new(config: OtlpConfig) -> Self {
        Self { config, kept: None }
    }

    /// The kept connection, or a new one; and whether it is the kept one.
    async fn link(&mut self) -> Result<(Link, bool), ExportError> {
        if let Some(link) = self.kept.take().filter(Link::is_open) {
            return Ok((link, true));
        }
        let stream = dial::open(&self.config).await?;
        let link = match self.config.protocol {
            OtlpProtocol::Grpc => Link::Grpc(grpc::Link::new(stream).await?),
            OtlpProtocol::Http => Link::Http(http1::Link::new(stream).await?),
        };
        Ok((link, false))
    }

    async fn exchange(&mut self, request: Bytes) -> Result<u64, ExportError> {
        let (mut link, is_kept) = self.link().await?;
        let answer = match &mut link {
            Link::Grpc(link) => link.export(&self.config, request).await,
            Link::Http(link) => link.export(&self.config, request).await,
        };
        match answer {
            Ok(answer) => {
                self.kept = Some(link);
                Ok(unwanted(&answer))
            }
            // The collector may have closed it while nobody used it.
            Err(ExportError::Broken { problem, .. }) if is_kept => Err(ExportError::Broken { problem, was_kept: true }),
            Err(error) => {
                self.kept = Some(link).filter(|_| error.is_answer());
                Err(error)
            }
        }
    }
}

impl Deliver for Collector {
    async fn deliver(&mut self, request: Bytes) -> Result<u64, ExportError> {
        let after = self.config.timeout;
        within(Instant::now() + after, after, self.exchange(request)).await
    }
}

impl Link {
    fn is_open(&self) -> bool {
        match self {
            Self::Grpc(link) => link.is_open(),
            Self::Http(link) => link.is_open(),
        }
    }
}

/// Reads an answer. One without a body accepts everything.
fn answer(body: &[u8]) -> Result<ExportTraceServiceResponse, ExportError> {
    ExportTraceServiceResponse::decode(body).map_err(|error| ExportError::Answer(error.to_string()))
}

fn unwanted(answer: &ExportTraceServiceResponse) -> u64 {
    answer.partial_success.as_ref().map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0))
}

/// Of an answer: a few numbers and a message.
const LONGEST_ANSWER: usize = 64 << 10;
