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
