//! Malformed TLS, HBONE and HTTP at every port of an agent: right bytes that were changed by chance, thousands of them.
//!
//! As ClientHello, as frames in a tunnel whose TLS is right, as requests in such a tunnel, as plaintext from outside, as requests of a
//! captured client, and as what a server answers that an agent has dialled. What they begin with is made here, and taken from the
//! inputs that the agent's fuzz targets keep.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use rustls::{ClientConfig, ServerConfig};

use crate::bed::{NetNs, Pod};
use crate::chaos::frames::{END_HEADERS, HEADERS, OK, PREFACE, connect, conversation, frame, settings};
use crate::chaos::mutate::mutated;
use crate::chaos::reporter::listening;
use crate::chaos::stage::Stage;
use crate::chaos::tunnels::{closes, dial, handshake, hello, limit, listen, say, serve_handshake};
use crate::chaos::{LOOSE, REQUESTS};
use crate::peer::http::Client;
use crate::peer::http::report::Raw;
use crate::rogue::{Leaf, Root, tls};
use crate::world::settle_within;

const HBONE: u16 = 15008;
/// Nobody has to answer what is malformed: a short look at what comes is enough, so that there are many.
const WATCHED: Duration = Duration::from_millis(10);
const PUBLISHED_WITHIN: Duration = Duration::from_secs(30);
/// Attackers outside the mesh, each one connection at a time.
const ATTACKERS: usize = 4;
/// Orders to the captured client at a time.
const TOGETHER: usize = 20;

/// What the attackers share.
struct Shared {
    from: NetNs,
    open: Pod,
    config: Arc<ClientConfig>,
    hellos: Vec<Vec<u8>>,
    tunnels: Vec<Vec<u8>>,
    requests: Vec<Vec<u8>>,
    ended: AtomicBool,
    sent: [AtomicU64; 4],
}

const KINDS: [&str; 4] =
    ["changed hellos", "changed tunnels", "changed requests in tunnels", "changed requests in plaintext"];

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let open = stage.ground.pods.open.clone();
    let _web = listening(&open, &format!("http-serve --listen {REQUESTS} --quiet"))?;
    let shared = Arc::new(Shared::of(stage)?);
    let seeds: Vec<u64> = (0..ATTACKERS).map(|_| stage.rng.u64(..)).collect();
    let attackers: Vec<_> = seeds
        .into_iter()
        .map(|seed| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.attack(&mut Rng::with_seed(seed)))
        })
        .collect();
    let answerer = Answerer::start(stage)?;
    let attacked = from_within(stage, &shared, answerer.pod.at(LOOSE));
    shared.ended.store(true, Ordering::Relaxed);
    for attacker in attackers {
        let _ = attacker.join();
    }
    let answers = answerer.end()?;
    attacked?;
    for (kind, sent) in KINDS.iter().zip(&shared.sent) {
        let sent = sent.load(Ordering::Relaxed);
        ensure!(sent > 0, "there were no {kind}");
        stage.did(kind, sent);
    }
    stage.did("changed answers", answers);
    Ok(())
}

impl Shared {
    fn of(stage: &Stage<'_>) -> Result<Self> {
        let pods = &stage.ground.pods;
        // Of an identity that may come near this pod only.
        let root = Root::of_agents(&stage.ground.bed.ca_directory())?;
        let own = root.mint(&Leaf::of(&pods.intruder.identity()), stage.ground.bed.directory(), "malformed")?;
        let config = Arc::new(tls::client(Some(&own), tls::NEW, "h2")?);
        let old = Arc::new(tls::client(Some(&own), tls::OLD, "h2")?);
        let to = pods.open.at(HBONE);
        let authority = pods.open.at(REQUESTS).to_string();
        let mut tunnels = kept("http2")?;
        tunnels.push(conversation(None, &authority, b"GET / HTTP/1.1\r\nhost: open\r\n\r\n"));
        tunnels.push(conversation(Some(0), &authority, b"x"));
        tunnels.push([PREFACE, &settings(None), &settings(Some(1))].concat());
        let mut requests = kept("http")?;
        requests.extend(kept("head")?);
        requests.push(
            b"POST /x HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(),
        );
        Ok(Self {
            from: pods.stranger.netns().clone(),
            open: pods.open.clone(),
            hellos: vec![hello(&config, to)?, hello(&old, to)?],
            config,
            tunnels,
            requests,
            ended: AtomicBool::default(),
            sent: Default::default(),
        })
    }

    /// One after the other until told to end; what fails to connect is tried again.
    fn attack(&self, rng: &mut Rng) {
        while !self.ended.load(Ordering::Relaxed) {
            let kind = rng.usize(..KINDS.len());
            if self.one(kind, rng).is_ok() {
                self.sent[kind].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn one(&self, kind: usize, rng: &mut Rng) -> Result<()> {
        let port = if kind == 3 { REQUESTS } else { HBONE };
        let mut stream = dial(&self.from, self.open.at(port))?;
        match kind {
            0 => say(&mut stream, &mutated(rng, &self.hellos)),
            3 => say(&mut stream, &mutated(rng, &self.requests)),
            _ => {
                let bytes = match kind {
                    1 => mutated(rng, &self.tunnels),
                    _ => conversation(None, &self.open.at(REQUESTS).to_string(), &mutated(rng, &self.requests)),
                };
                let mut tunnel = handshake(&self.config, stream)?;
                say(&mut tunnel, &bytes);
                stream = tunnel.sock;
            }
        }
        closes(&mut stream, WATCHED).map(drop)
    }
}

/// Requests of a client in the mesh: to a Service, and to a server that answers with malformed bytes.
fn from_within(stage: &mut Stage<'_>, shared: &Shared, answerer: SocketAddr) -> Result<()> {
    let mut client = Client::of(&stage.ground.pods.client)?;
    let to = stage.ground.web.at(REQUESTS);
    while stage.goes_on() {
        let mut begun = Vec::new();
        for number in 0..TOGETHER {
            let (to, bytes) = match number % 4 {
                0 => (answerer, b"GET / HTTP/1.1\r\nhost: answerer\r\n\r\n".to_vec()),
                _ => (to, mutated(&mut stage.rng, &shared.requests)),
            };
            let text = bytes.into_iter().map(char::from).collect();
            begun.push(client.begin_raw(Raw { to, pieces: vec![text], pause_ms: 0, wait_ms: 60, until: None })?);
        }
        for id in begun {
            client.end_raw(id)?;
            stage.pause(Duration::ZERO)?;
        }
        stage.did("changed requests of a client in the mesh", TOGETHER as u64);
    }
    Ok(())
}

/// A pod of the mesh whose machine answers with malformed bytes: in a tunnel, for its agent is no agent.
struct Answerer {
    pod: Pod,
    ended: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Answerer {
    fn start(stage: &mut Stage<'_>) -> Result<Self> {
        let ground = &*stage.ground;
        let pod = ground.nodes[2].pod("answerer").start()?;
        settle_within(&ground.bed, &[&ground.a, &ground.b], PUBLISHED_WITHIN)?;
        let root = Root::of_agents(&ground.bed.ca_directory())?;
        let config =
            Arc::new(tls::server(&root.mint(&Leaf::of(&pod.identity()), ground.bed.directory(), "answerer")?)?);
        let listener = listen(pod.netns(), pod.at(HBONE))?;
        let (ended, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stop, count) = (Arc::clone(&ended), Arc::clone(&answered));
        let mut rng = Rng::with_seed(stage.rng.u64(..));
        let samples = vec![
            [settings(None), frame(HEADERS, END_HEADERS, 1, OK), frame(0, 0, 1, b"HTTP/1.1 200 OK\r\n\r\nhello")]
                .concat(),
            [settings(Some(0)), frame(HEADERS, END_HEADERS, 1, &connect("x"))].concat(),
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 5\r\n\r\nhello".to_vec(),
        ];
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(WATCHED);
                    continue;
                };
                // Who breaks off has had enough.
                let done = answer(&config, stream, &mutated(&mut rng, &samples));
                count.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
            }
        });
        Ok(Self { pod, ended, answered, thread })
    }

    fn end(self) -> Result<u64> {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.pod.delete()?;
        Ok(self.answered.load(Ordering::Relaxed))
    }
}

fn answer(config: &Arc<ServerConfig>, stream: TcpStream, bytes: &[u8]) -> Result<()> {
    stream.set_nonblocking(false)?;
    limit(&stream)?;
    let mut tunnel = serve_handshake(config, stream)?;
    say(&mut tunnel, bytes);
    closes(&mut tunnel.sock, WATCHED).map(drop)
}

/// The inputs that a fuzz target of the agent keeps.
fn kept(target: &str) -> Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/corpus").join(target);
    let entries = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    // So that a seed means the same everywhere.
    paths.sort();
    paths.iter().map(|path| fs::read(path).with_context(|| format!("reading {}", path.display()))).collect()
}
