//! Peers and applications that stop at each step of what they speak, and keep their connection open.
//!
//! As clients of an agent's port for tunnels, as servers that an agent dials, and as applications at either end. Whoever stops before
//! there is a tunnel is cut off in time; who waits for one that does not come is told; and what is left is freed when they go.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustls::ClientConfig;

use super::stalling_servers;
use crate::bed::Process;
use crate::chaos::frames::{HEADERS, PREFACE, connect, conversation, frame, settings};
use crate::chaos::ground::PATIENCE;
use crate::chaos::stage::Stage;
use crate::chaos::tunnels::{closes, connected, dial, handshake, hello, say};
use crate::peer::http::Client;
use crate::peer::http::report::Raw;
use crate::rogue::{Leaf, Root, tls};

const HBONE: u16 = 15008;
/// Ports of the pod that lets in everybody: a source, and a server that does not read.
const SOURCE: u16 = 9002;
const STALLING: u16 = 9003;
/// Connections that stop at each step.
const EACH: u64 = 12;
/// An agent's patience, with room for a machine that is busy.
const CLOSED_WITHIN: Duration = Duration::from_secs(15);
const FREED_WITHIN: Duration = Duration::from_secs(30);

/// Where a client of a tunnel stops.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Connected,
    HalfHello,
    Handshake,
    Preface,
    HalfHead,
    NeverReads,
    NoWindow,
}

const STEPS: [Step; 7] = [
    Step::Connected,
    Step::HalfHello,
    Step::Handshake,
    Step::Preface,
    Step::HalfHead,
    Step::NeverReads,
    Step::NoWindow,
];

impl Step {
    /// Whether there is a tunnel, which an agent keeps as long as its peer lives: one that has proved who it is, and has sent what
    /// begins HTTP/2. The library does not tell whether SETTINGS followed.
    fn has_tunnel(self) -> bool {
        matches!(self, Self::Preface | Self::HalfHead | Self::NeverReads | Self::NoWindow)
    }
}

pub(super) fn run(stage: &mut Stage<'_>) -> Result<()> {
    let open = stage.ground.pods.open.clone();
    let _source = open.serve(&format!("--listen {SOURCE} --mode source"))?;
    let _stalling = open.serve(&format!("--listen {STALLING} --mode stall"))?;
    // Of an identity that exists, and may speak with this pod.
    let leaf = Leaf::of(&stage.ground.pods.intruder.identity());
    let root = Root::of_agents(&stage.ground.bed.ca_directory())?;
    let own = root.mint(&leaf, stage.ground.bed.directory(), "stalling")?;
    let config = Arc::new(tls::client(Some(&own), tls::NEW, "h2")?);
    loop {
        let _applications = applications(stage)?;
        clients(stage, &config)?;
        if !stage.goes_on() {
            break;
        }
    }
    stalling_servers::run(stage, &root)
}

/// Connections to the agent's port, all at once.
fn clients(stage: &mut Stage<'_>, config: &Arc<ClientConfig>) -> Result<()> {
    let mut stopped = Vec::new();
    for step in STEPS {
        for _ in 0..EACH {
            stopped.push((step, stop_at(stage, step, config)?));
            stage.pause(Duration::ZERO)?;
        }
        stage.did("clients of tunnels that stopped", EACH);
    }
    for (step, stream) in stopped.iter_mut().filter(|(step, _)| !step.has_tunnel()) {
        ensure!(
            closes(stream, CLOSED_WITHIN)?,
            "{CLOSED_WITHIN:?} after it stopped at {step:?} a client is still there"
        );
        stage.checked("cut off in time", 1);
        stage.pause(Duration::ZERO)?;
    }
    drop(stopped);
    let (open, from) = (stage.ground.pods.open.clone(), stage.ground.pods.stranger.at(0).ip());
    stage.wait("what clients left behind is freed", FREED_WITHIN, |_| Ok(connected(&open, from)? == 0))?;
    Ok(())
}

fn stop_at(stage: &Stage<'_>, step: Step, config: &Arc<ClientConfig>) -> Result<TcpStream> {
    let (open, from) = (&stage.ground.pods.open, stage.ground.pods.stranger.netns());
    let to = open.at(HBONE);
    let mut stream = dial(from, to)?;
    if matches!(step, Step::Connected | Step::HalfHello) {
        if step == Step::HalfHello {
            let hello = hello(config, to)?;
            say(&mut stream, &hello[..hello.len() / 2]);
        }
        return Ok(stream);
    }
    let mut tunnel = handshake(config, stream)?;
    let source = open.at(SOURCE).to_string();
    let head = frame(HEADERS, 0, 1, &connect(&source));
    let request = b"100000000 7\n";
    let bytes = match step {
        Step::Connected | Step::HalfHello | Step::Handshake => Vec::new(),
        Step::Preface => PREFACE.to_vec(),
        Step::HalfHead => [PREFACE, &settings(None), &head[..head.len() / 2]].concat(),
        Step::NeverReads => conversation(None, &source, request),
        Step::NoWindow => conversation(Some(0), &source, request),
    };
    say(&mut tunnel, &bytes);
    Ok(tunnel.sock)
}

/// Clients of applications that stop in a request, or do not read; the returned ones go on until they are dropped.
fn applications(stage: &mut Stage<'_>) -> Result<Vec<Process>> {
    let (client, open, web) = (stage.ground.pods.client.clone(), stage.ground.pods.open.clone(), &stage.ground.web);
    let to = web.at(crate::chaos::REQUESTS);
    let mut http = Client::of(&client)?;
    let halves = [
        "GET / HTTP/1.1\r\nhost: w",
        "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 1000\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhalf",
    ];
    let wait_ms = (PATIENCE * 6).as_millis().try_into()?;
    let begun: Vec<u64> = halves
        .iter()
        .map(|half| http.begin_raw(Raw { to, pieces: vec![(*half).to_owned()], pause_ms: 0, wait_ms, until: None }))
        .collect::<Result<_>>()?;
    let ask = format!("stall --to {} --bytes 50000000 --count 4 --timeout 60", open.at(SOURCE));
    let send = format!("bulk --to {} --bytes 50000000 --direction upload --streams 4 --timeout 100", open.at(STALLING));
    let held = vec![client.peer(&ask)?.start()?, client.peer(&send)?.start()?];
    stage.did("applications that stopped", 3 + 8);
    stage.pause(PATIENCE)?;
    for (id, half) in begun.into_iter().zip(halves) {
        let answer = http.end_raw(id)?;
        ensure!(answer.ended != "open", "a request that stopped is still waited for: {half:?} {answer:?}");
        stage.checked("stopped requests ended", 1);
        stage.pause(Duration::ZERO)?;
    }
    Ok(held)
}
