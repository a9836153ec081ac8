//! What a client says before its stream is open: it is sent along where the one peer can be the only one, and to nobody else.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::bed::{Agent, Bed, Node, Pod};
use heddle_tests::peer::report::ProbeReport;
use heddle_tests::rogue::{Leaf, Root, tls};
use heddle_tests::world::settle;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

const PORT: u16 = 9000;
/// What the client says to this.
const SAID: &str = "hello\n";
/// Longer than what is sent along takes, and shorter than until another endpoint is tried.
const BEFORE_THE_ANSWER: Duration = Duration::from_millis(500);

/// A pod of a node without an agent, which serves its own tunnels: it answers a request for a stream only when words came along,
/// or after a while, and then echoes.
struct Peer {
    pod: Pod,
    /// What each stream had received when it was answered.
    early: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Peer {
    fn start(bed: &Bed, node: &Node, name: &str, root: &Root) -> Result<Self> {
        let pod = node.pod(name).annotation("heddle.io/opaque-ports", &PORT.to_string()).start()?;
        let own = root.mint(&Leaf::of(&pod.identity()), bed.directory(), name)?;
        let acceptor = TlsAcceptor::from(Arc::new(tls::server(&own)?));
        let listener = pod.netns().run(|| Ok(TcpListener::bind(pod.at(15008))?))?;
        listener.set_nonblocking(true)?;
        let early = Arc::<Mutex<Vec<_>>>::default();
        let heard = Arc::clone(&early);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
                    // Who breaks off has had enough.
                    tokio::spawn(async move { serve(acceptor.accept(stream).await?, heard).await });
                }
            });
        });
        Ok(Self { pod, early })
    }
}

async fn serve(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
) -> Result<()> {
    let mut tunnel = h2::server::handshake(stream).await?;
    while let Some(asked) = tunnel.accept().await {
        let (mut request, mut respond) = asked?;
        let heard = Arc::clone(&heard);
        tokio::spawn(async move {
            let early = timeout(BEFORE_THE_ANSWER, request.body_mut().data()).await;
            let early = early.ok().flatten().transpose()?.unwrap_or_default();
            heard.lock().push(early.to_vec());
            let mut answer = respond.send_response(http::Response::new(()), false)?;
            answer.send_data(early, false)?;
            while let Some(data) = request.body_mut().data().await {
                let data = data?;
                request.body_mut().flow_control().release_capacity(data.len())?;
                answer.send_data(data, false)?;
            }
            answer.send_data(bytes::Bytes::new(), true)?;
            anyhow::Ok(())
        });
    }
    Ok(())
}

/// One node with an agent and a client, and another of peers.
fn ground(name: &str) -> Result<(Bed, Pod, Agent, Node, Root)> {
    let bed = Bed::new(name)?;
    let (a, b) = (bed.node("a")?, bed.node("b")?);
    let client = a.pod("client").start()?;
    let agent = a.agent().start()?;
    let root = Root::of_agents(&bed.ca_directory())?;
    Ok((bed, client, agent, b, root))
}

fn probe(client: &Pod, to: std::net::SocketAddr) -> Result<ProbeReport> {
    client.ask(&format!("probe --to {to} --send hello --watch-ms 3000"))
}

#[test]
fn first_words_come_along_with_the_request_and_arrive_once() -> Result<()> {
    let (bed, client, mut agent, node, root) = ground("optimistic")?;
    let peer = Peer::start(&bed, &node, "peer", &root)?;
    settle(&bed, &[&agent])?;
    for _ in 0..3 {
        let report = probe(&client, peer.pod.at(PORT))?;
        ensure!(report.data.as_deref() == Some(SAID), "{report:?}");
    }
    assert_eq!(*peer.early.lock(), vec![SAID.as_bytes().to_vec(); 3]);
    let to = peer.pod.at(PORT).to_string();
    let line = agent.wait_access_log(Duration::from_secs(5), |line| line["destination_address"] == *to)?;
    assert_eq!((&line["sent_bytes"], &line["received_bytes"]), (&6.into(), &6.into()), "{line}");
    Ok(())
}

#[test]
fn nothing_is_sent_along_where_another_endpoint_could_have_it_too() -> Result<()> {
    let (bed, client, agent, node, root) = ground("optimistic-two")?;
    let peers = ["one", "two"].map(|name| Peer::start(&bed, &node, name, &root).unwrap());
    let service = bed.service("pair", &[(PORT, PORT)])?;
    service.backends(&[&peers[0].pod, &peers[1].pod])?;
    settle(&bed, &[&agent])?;
    for _ in 0..3 {
        let report = probe(&client, service.at(PORT))?;
        ensure!(report.data.as_deref() == Some(SAID), "{report:?}");
    }
    let early = [peers[0].early.lock().clone(), peers[1].early.lock().clone()].concat();
    assert_eq!(early, vec![Vec::<u8>::new(); 3]);
    Ok(())
}
