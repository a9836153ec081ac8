//! Optimistic data: what the client says before its stream is open goes along with the request for it, and need not wait for a
//! round trip between the nodes.
//!
//! The bytes are only looked at. They stay in the client's socket until the stream is open, and whoever relays takes them out there
//! ([`take_out`]): where the peer refuses the stream, the client's bytes are all still there, and the peer throws away what came with the
//! request. Where nobody knows whether a peer has passed them on, they must not be sent to another.

use std::{io, mem::MaybeUninit, pin::pin, sync::Arc};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::Response;
use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream};

use crate::shares::{self, Chunk, Sending};

/// What is sent so at most: a request of the common kind.
const MOST: usize = 4 * 1024;

type Answer = Result<Response<RecvStream>, h2::Error>;

/// The peer's answer, and how many bytes of the client were sent before it came, or how the client has broken off meanwhile.
pub(super) async fn answered(
    answer: ResponseFuture,
    (stream, sending): (&mut SendStream<Chunk>, &Arc<Sending>),
    client: Option<&TcpStream>,
) -> (Answer, io::Result<usize>) {
    let Some(client) = client else { return (answer.await, Ok(0)) };
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => (answer, Ok(0)),
        sent = send(client, stream, sending) => (answer.await, sent),
    }
}

/// Waits for the client's first words, and sends them; how many bytes. None where the client says that it has none.
async fn send(client: &TcpStream, stream: &mut SendStream<Chunk>, sending: &Arc<Sending>) -> io::Result<usize> {
    let words = first_words(client, sending.account().piece(MOST)).await?;
    let length = words.len();
    // As little may wait in the stream until the peer takes it. One that has ended meanwhile says why in its answer.
    if length == 0 || stream.send_data(sending.chunk(words), false).is_err() {
        return Ok(0);
    }
    shares::moved(length);
    Ok(length)
}

async fn first_words(client: &TcpStream, most: usize) -> io::Result<Bytes> {
    // A client that spoke right after its connect() has done so by now, and the runtime has not been told yet.
    let mut seen = look(client, most);
    while is_not_there(&seen) {
        client.readable().await?;
        seen = client.try_io(Interest::READABLE, || look(client, most));
    }
    seen
}

/// What is there. An error of the socket is told once: who gets it has to pass it on.
fn look(client: &TcpStream, most: usize) -> io::Result<Bytes> {
    let mut room = [MaybeUninit::uninit(); MOST];
    let ((words, _), _) = recv(client, &mut room[..most.min(MOST)], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(Bytes::copy_from_slice(words))
}

fn is_not_there<T>(seen: &io::Result<T>) -> bool {
    seen.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Takes out of the client's socket what was sent ahead of it.
pub(super) fn take_out(client: &TcpStream, mut length: usize) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    while length > 0 {
        let mut room = [MaybeUninit::uninit(); MOST];
        // Not by the runtime, which may not know yet that there is something.
        let ((taken, _), _) = recv(client, &mut room[..length.min(MOST)], RecvFlags::DONTWAIT)?;
        if taken.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length -= taken.len();
    }
    // The runtime may still believe that there is something: it has to look for itself, or a quiet client would be read at once.
    match client.try_io(Interest::READABLE, || look(client, 1)) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use http::{Method, Request, StatusCode};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        net::TcpListener,
        time::{sleep, timeout},
    };

    use super::*;
    use crate::{
        connect::{reset_on_close, tunnel::http2},
        shares::{Account, Overload, Share},
    };

    const WORDS: &[u8] = b"first words";

    /// An application's end, and the agent's.
    async fn client() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let application = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (application, listener.accept().await.unwrap().0)
    }

    /// Asks a peer for a stream that has this answer: after the first words where it waits for them. The answer, how much was
    /// sent ahead, and what the peer received.
    async fn asked(agent: &TcpStream, status: StatusCode, waits: bool) -> (StatusCode, io::Result<usize>, Bytes) {
        let share = Share { weight: 100, connections: 1, handshakes: 1, buffer_bytes: 1 << 20 };
        let sending = Sending::of(&Account::new(share, &Overload::new(1)));
        let (near, far) = duplex(1 << 16);
        let peer = tokio::spawn(async move {
            let mut tunnel = http2().handshake::<_, Bytes>(far).await.unwrap();
            let (mut request, mut respond) = tunnel.accept().await.unwrap().unwrap();
            let served = async {
                let received = if waits { request.body_mut().data().await.unwrap().unwrap() } else { Bytes::new() };
                let response = Response::builder().status(status).body(()).unwrap();
                respond.send_response(response, status != StatusCode::OK).unwrap();
                received
            };
            // The connection moves only while it is polled.
            let moves = async { while tunnel.accept().await.is_some() {} };
            let received = tokio::select! { received = served => received, () = moves => Bytes::new() };
            let _ = timeout(Duration::from_millis(100), tunnel.accept()).await;
            received
        });
        let (requests, connection) = h2::client::Builder::new().handshake::<_, Chunk>(near).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::builder().method(Method::CONNECT).uri("192.0.2.1:80").body(()).unwrap();
        let (answer, mut stream) = requests.ready().await.unwrap().send_request(request, false).unwrap();
        let (answer, sent) = answered(answer, (&mut stream, &sending), Some(agent)).await;
        let received = peer.await.unwrap();
        connection.abort();
        (answer.unwrap().status(), sent, received)
    }

    #[tokio::test]
    async fn what_a_client_says_reaches_the_peer_before_its_answer_and_is_taken_out_once() {
        for pause in [Duration::ZERO, Duration::from_millis(30)] {
            let (mut application, mut agent) = client().await;
            let speaks = async {
                sleep(pause).await;
                application.write_all(WORDS).await.unwrap();
            };
            let ((status, sent, received), ()) = tokio::join!(asked(&agent, StatusCode::OK, true), speaks);
            assert_eq!((status, sent.unwrap(), &*received), (StatusCode::OK, WORDS.len(), WORDS), "{pause:?}");
            agent.readable().await.unwrap();
            take_out(&agent, WORDS.len()).unwrap();
            let quiet = timeout(Duration::from_millis(20), agent.readable()).await;
            assert!(quiet.is_err(), "nothing is there to be read");
            application.write_all(b", more").await.unwrap();
            drop(application);
            let mut rest = Vec::new();
            agent.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b", more");
        }
    }

    #[tokio::test]
    async fn a_refused_stream_has_taken_nothing_and_a_silent_client_waits_for_the_answer_alone() {
        let (mut application, mut agent) = client().await;
        let (status, sent, received) = asked(&agent, StatusCode::OK, false).await;
        assert_eq!((status, sent.unwrap(), &*received), (StatusCode::OK, 0, &b""[..]));
        application.write_all(WORDS).await.unwrap();
        let (status, sent, received) = asked(&agent, StatusCode::SERVICE_UNAVAILABLE, true).await;
        assert_eq!((status, sent.unwrap(), &*received), (StatusCode::SERVICE_UNAVAILABLE, WORDS.len(), WORDS));
        drop(application);
        let mut kept = Vec::new();
        agent.read_to_end(&mut kept).await.unwrap();
        assert_eq!(kept, WORDS);
    }

    #[tokio::test]
    async fn a_client_that_breaks_off_meanwhile_is_told_from_one_that_has_said_all() {
        let (application, agent) = client().await;
        reset_on_close(&application);
        drop(application);
        let (_, sent, _) = asked(&agent, StatusCode::OK, false).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
