//! One HTTP request, from its head to the end of its answer.
//!
//! [`Outbound`] serves the requests of a pod of this node: route, balance, connect, again if need be. [`Inbound`] serves
//! requests to a pod of this node: authorize, then the application. Both answer every request: what fails becomes an
//! answer with a status, in words that gRPC clients understand where the request is a call.

mod body;
mod exchange;
mod failed;
mod inbound;
mod outbound;
mod upgrade;

pub use body::{AnswerBody, AnswerError, BodyEnd};
pub use failed::RequestFailed;
pub use inbound::{Inbound, InboundFacts};
pub use outbound::Outbound;
pub(crate) use outbound::Stay;
pub use upgrade::Upgrades;

use std::net::SocketAddr;

use crate::{
    connect::http::{Served, guard::Refused},
    observe::{HttpRefusal, Observer},
};

/// Counts what a client's connection ended with, where no request could be made of it.
pub fn served(observer: &Observer, client: SocketAddr, served: &Served) {
    let refusal = match served.refused {
        Some(refused) => Some(refusal(refused)),
        None => served.result.as_ref().err().and_then(broken_rule),
    };
    if let Some(refusal) = refusal {
        observer.metrics().http_refused(refusal);
    }
    if let Err(error) = &served.result {
        let refused = served.refused.map(Refused::as_str);
        tracing::debug!(%client, %error, refused, "a connection with requests ended");
    }
}

fn refusal(refused: Refused) -> HttpRefusal {
    match refused {
        Refused::BareLineEnd
        | Refused::ControlByte
        | Refused::FoldedLine
        | Refused::RequestLine
        | Refused::Version
        | Refused::HeaderName => HttpRefusal::BadRequest,
        Refused::Host => HttpRefusal::BadHost,
        Refused::ContentLength
        | Refused::TransferEncoding
        | Refused::BothLengths
        | Refused::Chunk
        | Refused::ChunkMetadata => HttpRefusal::Smuggling,
        Refused::HeadTooLong => HttpRefusal::HeaderTooLarge,
        Refused::HeadTimeout => HttpRefusal::HeaderTimeout,
        Refused::BodyTimeout => HttpRefusal::BodyTimeout,
    }
}

/// The rule of HTTP/2 that a client broke, where that is why its connection ended.
fn broken_rule(error: &hyper::Error) -> Option<HttpRefusal> {
    if error.is_parse_too_large() {
        return Some(HttpRefusal::HeaderTooLarge);
    }
    if error.is_parse() {
        return Some(HttpRefusal::BadRequest);
    }
    let source = std::error::Error::source(error)?.downcast_ref::<h2::Error>()?;
    match source.reason()? {
        h2::Reason::ENHANCE_YOUR_CALM => Some(HttpRefusal::TooManyResets),
        h2::Reason::PROTOCOL_ERROR | h2::Reason::FRAME_SIZE_ERROR | h2::Reason::COMPRESSION_ERROR => {
            Some(HttpRefusal::Protocol)
        }
        _ => None,
    }
}
