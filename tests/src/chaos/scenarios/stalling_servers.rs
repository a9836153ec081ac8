//! Servers of tunnels that stop at each step: machines that an agent takes for nodes of the mesh, and dials.
//!
//! They have certificates that are as they must be. A client whose agent waits for such a one is told in time as long as there is no
//! stream; after that a server that does not read is its own affair.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustls::ServerConfig;

use crate::bed::{Pod, Process};
use crate::chaos::frames::{ACK, END_HEADERS, HEADERS, OK, SETTINGS, frame, settings};
use crate::chaos::stage::Stage;
use crate::chaos::tunnels::{ServerTls, connected, limit, listen, say, serve_handshake, server_hello};
use crate::peer::report::ProbeReport;
use crate::rogue::{Leaf, Root, tls};
use crate::world::settle_within;

const HBONE: u16 = 15008;
/// Any port of theirs.
const PORT: u16 = 9000;
/// Several limits of an agent's patience, one after the other, with room for a machine that is busy.
const TOLD_WITHIN_MS: u64 = 15_000;
const PUBLISHED_WITHIN: Duration = Duration::from_secs(30);
const FREED_WITHIN: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(10);
/// More than a client would open.
const MOST: u64 = 100;

/// Where a server stops.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Connected,
    HalfHello,
    Handshake,
    NoAnswer,
    HalfAnswer,
    NeverReads,
    NoWindow,
}

const STEPS: [(Step, &str); 7] = [
    (Step::Connected, "mute"),
    (Step::HalfHello, "half-hello"),
    (Step::Handshake, "handshake"),
    (Step::NoAnswer, "no-answer"),
    (Step::HalfAnswer, "half-answer"),
    (Step::NeverReads, "never-reads"),
    (Step::NoWindow, "no-window"),
];

/// Has each of them dialled once.
pub(super) fn run(stage: &mut Stage<'_>, root: &Root) -> Result<()> {
    let mut servers = Vec::new();
    for (step, name) in STEPS {
        servers.push(Server::start(stage, root, step, name)?);
    }
    let ground = &*stage.ground;
    settle_within(&ground.bed, &[&ground.a, &ground.b], PUBLISHED_WITHIN)?;
    let client = stage.ground.pods.client.clone();
    let probe = |server: &Server| -> Result<Process> {
        let to = server.pod.at(PORT);
        client.peer(&format!("probe --to {to} --send hello --watch-ms {TOLD_WITHIN_MS} --timeout 20"))?.start()
    };
    let mut asked: Vec<Process> = servers.iter().map(probe).collect::<Result<_>>()?;
    stage.did("servers of tunnels that stopped", asked.len() as u64);
    for (server, process) in servers.iter().zip(&mut asked) {
        stage.pause(Duration::ZERO)?;
        let finished = process.wait(Duration::from_millis(TOLD_WITHIN_MS * 2))?;
        let report: ProbeReport = serde_json::from_str(finished.stdout.last().map_or("", String::as_str))?;
        ensure!(server.dialled.load(Ordering::Relaxed) > 0, "{:?} was never dialled: {report:?}", server.step);
        ensure!(report.data.is_none(), "{:?} has answered: {report:?}", server.step);
        let told = report.after.as_deref() != Some("open") || report.connect != "connected";
        let must = !matches!(server.step, Step::NeverReads | Step::NoWindow);
        ensure!(told || !must, "a client of a server that stopped at {:?} was not told: {report:?}", server.step);
        stage.checked("clients told in time", u64::from(told));
    }
    let addresses: Vec<_> = servers.iter().map(|server| server.pod.at(0).ip()).collect();
    for server in servers {
        server.end()?;
    }
    for address in addresses {
        stage.wait("what servers left behind is freed", FREED_WITHIN, |ground| {
            Ok(connected(&ground.pods.client, address)? == 0)
        })?;
    }
    Ok(())
}

struct Server {
    step: Step,
    pod: Pod,
    dialled: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(stage: &Stage<'_>, root: &Root, step: Step, name: &str) -> Result<Self> {
        let pod = stage.ground.nodes[2].pod(name).start()?;
        let own = root.mint(&Leaf::of(&pod.identity()), stage.ground.bed.directory(), name)?;
        let config = Arc::new(tls::server(&own)?);
        let listener = listen(pod.netns(), pod.at(HBONE))?;
        let (dialled, ended) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, stop) = (Arc::clone(&dialled), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            std::thread::scope(|scope| {
                while !stop.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) if count.fetch_add(1, Ordering::Relaxed) < MOST => {
                            // Who breaks off has had enough.
                            scope.spawn(|| stop_at(step, &config, stream, &stop).unwrap_or_default());
                        }
                        _ => std::thread::sleep(POLL),
                    }
                }
            });
        });
        Ok(Self { step, pod, dialled, ended, thread })
    }

    fn end(self) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.pod.delete()
    }
}

/// Serves a connection up to the step, and then keeps it open and says nothing.
fn stop_at(step: Step, config: &Arc<ServerConfig>, mut stream: TcpStream, ended: &AtomicBool) -> Result<()> {
    stream.set_nonblocking(false)?;
    limit(&stream)?;
    let mut kept: Option<ServerTls> = None;
    match step {
        Step::Connected => {}
        Step::HalfHello => {
            let hello = server_hello(config, &mut stream)?;
            say(&mut stream, &hello[..hello.len() / 2]);
        }
        _ => kept = Some(serve_handshake(config, stream.try_clone()?)?),
    }
    if let Some(tunnel) = &mut kept {
        answer(step, tunnel)?;
    }
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn answer(step: Step, tunnel: &mut ServerTls) -> Result<()> {
    if step == Step::Handshake {
        return Ok(());
    }
    say(tunnel, &settings((step == Step::NoWindow).then_some(0)));
    say(tunnel, &frame(SETTINGS, ACK, 0, &[]));
    let Some(stream) = stream_of_head(tunnel)? else { return Ok(()) };
    let head = frame(HEADERS, END_HEADERS, stream, OK);
    match step {
        Step::HalfAnswer => say(tunnel, &head[..head.len() - 1]),
        Step::NeverReads | Step::NoWindow => say(tunnel, &head),
        _ => {}
    }
    Ok(())
}

/// The stream of the first HEADERS frame that the client sends.
fn stream_of_head(tunnel: &mut ServerTls) -> Result<Option<u32>> {
    let mut preface = [0; crate::chaos::frames::PREFACE.len()];
    tunnel.read_exact(&mut preface)?;
    for _ in 0..100 {
        let mut header = [0; 9];
        tunnel.read_exact(&mut header)?;
        let [a, b, c, kind, _, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        tunnel.read_exact(&mut payload)?;
        if kind == HEADERS {
            return Ok(Some(u32::from_be_bytes(stream)));
        }
    }
    Ok(None)
}
