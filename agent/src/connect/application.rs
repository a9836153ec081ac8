//! The last step into the pod: the connection to the application, with the client's address as its source.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use crate::{authorize::Approach, capture::EnrolledPod, node::Node};

/// Why the application could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// It does not listen, or the connection failed.
    #[error("connect to the application at {to}: {source}")]
    Connect {
        /// Its address.
        to: SocketAddr,
        /// What happened.
        source: io::Error,
    },
    /// It does not accept.
    #[error("connect to the application at {to}: no answer within {after:?}")]
    Timeout {
        /// Its address.
        to: SocketAddr,
        /// The bound.
        after: Duration,
    },
}

/// Connects to the application of a pod for a client that may.
pub async fn dial_application(
    node: &Node,
    pod: &EnrolledPod,
    client: IpAddr,
    to: SocketAddr,
    _approach: Approach,
) -> Result<TcpStream, ApplicationError> {
    let after = node.limits.local_connect_timeout;
    match timeout(after, node.sockets.dial_application(&pod.netns, client, to)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(ApplicationError::Connect { to, source }),
        Err(_) => Err(ApplicationError::Timeout { to, after }),
    }
}
