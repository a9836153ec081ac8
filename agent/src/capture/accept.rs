//! Accepting the connections of enrolled pods.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tracing::warn;

use super::{EnrolledPod, sockets::canonical};
use crate::shares::{Account, Bound, Overload, Place, Share};

/// Pause after an accept that failed for want of descriptors or memory: the connection stays in the queue, and asking
/// again at once would only turn.
const PAUSE: Duration = Duration::from_millis(20);

/// Connections that are accepted in a row before others have their turn: a client that opens them as fast as it can always has
/// one more.
const IN_A_ROW: u32 = 16;

/// By which of the agent's listeners a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// From an application in the pod.
    Outbound,
    /// From elsewhere to the pod, without a tunnel.
    Plaintext,
    /// From elsewhere to the pod: a tunnel.
    Hbone,
}

impl Arrival {
    /// What one more of these counts as, from its beginning to its end.
    fn bound(self) -> Bound {
        match self {
            Self::Outbound => Bound::OutboundConnections,
            Self::Plaintext | Self::Hbone => Bound::InboundConnections,
        }
    }

    /// Waits until the pod may have one more; until then they stay in its queue.
    async fn room(self, account: &Account) {
        account.room(self.bound()).await;
        if self == Self::Hbone {
            account.room(Bound::InboundHandshakes).await;
        }
    }
}

/// A connection that the kernel handed to the agent.
#[derive(Debug)]
pub struct Accepted {
    /// By which listener.
    pub arrival: Arrival,
    /// The pod whose namespace it was accepted in.
    pub pod: Arc<EnrolledPod>,
    /// The socket, registered with the acceptor's runtime.
    pub stream: TcpStream,
    /// The other end.
    pub client: SocketAddr,
    /// Its place among the pod's connections.
    pub place: Place,
    /// Its place among the handshakes with those that want a tunnel.
    pub handshake: Option<Place>,
}

/// Who serves accepted connections.
pub trait DataPath: Send + Sync {
    /// What a pod may have where no document says otherwise.
    fn pod_share(&self) -> Share;
    /// What all pods of the node may have together.
    fn overload(&self) -> &Arc<Overload>;
    /// Accepting a connection failed: it stays in its queue.
    fn accept_failed(&self);
    /// Runs an acceptor of a pod on one of the data threads.
    fn spawn_acceptor(&self, account: Arc<Account>, acceptor: Pin<Box<dyn Future<Output = ()> + Send>>);
    /// Serves a connection on a data thread of its choice. Called on the acceptor's thread; must not block.
    fn serve(&self, connection: Accepted);
}

/// Accepts, as long as the pod may have more, until the sender of `stop` is dropped; then takes what waits in the queue and ends.
pub(super) async fn accept(
    listener: std::net::TcpListener,
    arrival: Arrival,
    pod: Arc<EnrolledPod>,
    data_path: Arc<dyn DataPath>,
    mut stop: watch::Receiver<()>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(pod = %pod.workload.name, %error, "listen for connections of a pod"),
    };
    let serve = |(stream, client)| {
        let (pod, client) = (Arc::clone(&pod), canonical(client));
        let place = pod.account.take(arrival.bound());
        let handshake = (arrival == Arrival::Hbone).then(|| pod.account.take(Bound::InboundHandshakes));
        data_path.serve(Accepted { arrival, pod, stream, client, place, handshake });
    };
    let (mut failing, mut in_a_row) = (false, 0);
    loop {
        let accepted = tokio::select! {
            accepted = async {
                arrival.room(&pod.account).await;
                listener.accept().await
            } => accepted,
            _ = stop.changed() => break,
        };
        match accepted {
            Ok(connection) => {
                failing = false;
                serve(connection);
                in_a_row = (in_a_row + 1) % IN_A_ROW;
                if in_a_row == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if is_closed(&error) => {
                let message = "a process of the pod, with CAP_NET_ADMIN there, destroyed a listener of the agent: connections of \
                               this kind are refused until the pod is enrolled again";
                return warn!(pod = %pod.workload.name, ?arrival, message);
            }
            Err(error) => {
                // Once for all that fail in a row.
                if !failing {
                    warn!(pod = %pod.workload.name, %error, "accept a connection of a pod; trying again");
                }
                failing = true;
                data_path.accept_failed();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Asked of the kernel itself: the runtime answers "nothing" before it has looked.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, client)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            serve((stream, client));
        }
    }
}

/// accept(2) reports errors that the new connection had; they say nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | TimedOut | HostUnreachable | NetworkUnreachable
    )
}

/// What accept(2) says of a socket that does not listen any more. Nobody but the kernel, told by SOCK_DESTROY, can bring that
/// about from outside this process.
fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}
