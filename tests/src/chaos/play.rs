//! One scenario from its beginning to what is left of it: the record of the wire, the trouble, the recovery, and the verdict.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::ground::{Ground, Kind, Setting, policy, put_documents};
use super::load::Standing;
use super::report::Played;
use super::scenarios::Scenario;
use super::stage::Stage;
use super::{GUARDED, STREAMS};
use crate::bed::Capture;
use crate::peer::report::ProbeReport;
use crate::peer::stream::MARKER;
use crate::peer::stream::report::StreamReport;

/// For new connections to work again after the trouble: a bound that a broken mesh misses, and no measure of speed.
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
/// For clients that were there to go on: they give a silent connection up after 15 s and a request after 20.
const LOAD_WITHIN: Duration = Duration::from_secs(60);
/// For memory to come back: the allocator gives pages back over ten seconds, in steps.
const MEMORY_WITHIN: Duration = Duration::from_secs(30);
/// How long the load runs in peace before memory is compared with anything.
const WARM_UP: Duration = Duration::from_secs(2);
/// Streams of the proof that new connections work.
const PROOF: u64 = 8;
/// The agents' port for tunnels.
const HBONE: u16 = 15008;

/// A ground whose load runs.
pub(super) fn prepared(kind: Kind, setting: Setting) -> Result<Ground> {
    let mut ground = Ground::build(kind, setting).with_context(|| format!("building the ground {kind:?}"))?;
    if setting.flip.is_none() {
        let begun = Instant::now();
        let mut standing = ground.load.look()?;
        while begun.elapsed() < WARM_UP || standing.whole < 3 || standing.answered < 20 || standing.tries < 3 {
            ensure!(begun.elapsed() < RECOVERS_WITHIN, "there is no load in peace: {standing:?}");
            std::thread::sleep(Duration::from_millis(100));
            standing = ground.load.look()?;
        }
        ground.begin_to_compare_memory();
    }
    Ok(ground)
}

/// Plays a scenario on a ground of its own, as tests do; an error says what did not hold.
pub fn play_alone(name: &str, seed: u64, time: Duration) -> Result<Played> {
    let scenario = super::ALL.iter().find(|scenario| scenario.name == name).context("no such scenario")?;
    let mut ground = prepared(scenario.kind, Setting::default())?;
    let played = play(scenario, &mut ground, seed, time);
    ground.close()?;
    ensure!(played.held(), "{}\n{}", scenario.name, played.describe());
    Ok(played)
}

/// Plays a scenario; what does not hold is in what comes out.
pub(super) fn play(scenario: &'static Scenario, ground: &mut Ground, seed: u64, time: Duration) -> Played {
    let mut stage = Stage::new(ground, seed, time);
    let broken = whole(scenario, &mut stage).err().map(|error| format!("{error:#}"));
    let (did, checked) = stage.into_counts();
    Played { scenario: scenario.name, seed, seconds: time.as_secs(), did, checked, broken }
}

fn whole(scenario: &Scenario, stage: &mut Stage<'_>) -> Result<()> {
    let capture = stage.ground.bed.wire_capture()?;
    let before = stage.look()?;
    stage.ground.memory.iter().for_each(super::memory::Sampler::begin);
    (scenario.run)(stage)?;
    let recovery = recover(stage)?;
    for (name, at) in ["MiB more in agent a at most", "MiB more in agent b at most"].iter().zip(0..) {
        let grown = stage.ground.memory[at].during()?;
        stage.checked(name, grown);
    }
    load_goes_on(stage)?;
    let settled = memory_settles(stage)?;
    let standing = stage.look()?.since(&before);
    let record = capture.stop()?;
    nothing_readable(&record, stage.ground)?;
    count(stage, &standing, &record);
    stage.checked("ms until new connections worked", recovery.as_millis().try_into().unwrap_or(u64::MAX));
    stage.checked("MiB more in both agents afterwards", settled);
    Ok(())
}

/// New connections of who may work, each of them; and who may not is refused as before.
fn recover(stage: &mut Stage<'_>) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let proof = proof(stage.ground);
        if proof.as_ref().is_ok_and(|report| report.all_whole(PROOF)) {
            break;
        }
        ensure!(
            begun.elapsed() < RECOVERS_WITHIN,
            "new connections do not work {RECOVERS_WITHIN:?} after the trouble: {proof:?}"
        );
        stage.pause(Duration::from_millis(200))?;
    }
    let recovery = begun.elapsed();
    let to = stage.ground.pods.far.at(GUARDED);
    let refused: ProbeReport =
        stage.ground.pods.intruder.ask(&format!("probe --to {to} --send {MARKER} --watch-ms 3000"))?;
    ensure!(refused.data.is_none(), "the intruder had an answer: {refused:?}");
    Ok(recovery)
}

fn proof(ground: &Ground) -> Result<StreamReport> {
    let (far, web) = (ground.pods.far.at(STREAMS), ground.web.at(STREAMS));
    let line = format!("stream-load --to {far},{web} --streams 4 --count {PROOF} --bytes 30000 --silence 5");
    ground.pods.client.ask_held(&line)
}

fn memory_settles(stage: &mut Stage<'_>) -> Result<u64> {
    let begun = Instant::now();
    loop {
        let now: Result<Vec<u64>> = stage.ground.memory.iter().map(super::memory::Sampler::after).collect();
        match now {
            Ok(grown) => return Ok(grown.iter().sum()),
            Err(error) if begun.elapsed() > MEMORY_WITHIN => return Err(error),
            Err(_) => stage.pause(Duration::from_millis(300))?,
        }
    }
}

/// Streams are whole and requests answered again, of clients that were there all the time, and there are tries of who may not.
fn load_goes_on(stage: &mut Stage<'_>) -> Result<()> {
    let (begun, before) = (Instant::now(), stage.look()?);
    loop {
        let standing = stage.look()?.since(&before);
        if standing.whole > 0 && standing.answered > 0 && standing.tries > 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < LOAD_WITHIN, "the load does not go on after the trouble: {standing:?}");
        stage.pause(Duration::from_millis(200))?;
    }
}

/// Nothing of what the pods say, and no byte from or to a pod of the mesh outside of tunnels.
fn nothing_readable(record: &Capture, ground: &Ground) -> Result<()> {
    let pods = &ground.pods;
    if record.contains(MARKER.as_bytes()) {
        let flows = record.flows_with(MARKER.as_bytes());
        let strangers = |ip: IpAddr| ip == pods.stranger.at(0).ip() || ip == pods.stranger.at6(0).ip();
        // A machine that the mesh does not know says what it likes: it is what is tried that must not be answered.
        let of_pods: Vec<_> = flows.iter().filter(|flow| !strangers(flow.source.ip())).collect();
        ensure!(of_pods.is_empty(), "plaintext is on the wire: {of_pods:?}");
    }
    let mut strays = BTreeMap::new();
    // `open` answers in plaintext whom it lets in.
    let enrolled = [&pods.client, &pods.intruder, &pods.far, &pods.other];
    let own = |ip: IpAddr| enrolled.iter().any(|pod| ip == pod.at(0).ip() || ip == pod.at6(0).ip());
    for (flow, bytes) in record.flows() {
        let tunnel = flow.source.port() == HBONE || flow.destination.port() == HBONE;
        if bytes > 0 && !tunnel && own(flow.source.ip()) {
            strays.insert(flow, bytes);
        }
    }
    ensure!(strays.is_empty(), "bytes of pods outside of tunnels: {strays:?}");
    Ok(())
}

fn count(stage: &mut Stage<'_>, standing: &Standing, record: &Capture) {
    let bytes: usize = record.packets().iter().map(|packet| packet.payload.len()).sum();
    let looks = stage.looks();
    for (what, count) in [
        ("whole streams", standing.whole),
        ("broken streams", standing.broken),
        ("requests with the right body", standing.answered),
        ("other requests", standing.unanswered),
        ("KiB verified", standing.verified >> 10),
        ("refused tries with 0 bytes", standing.tries),
        ("KiB of the wire searched", (bytes >> 10) as u64),
        ("looks at everything", looks),
    ] {
        stage.checked(what, count);
    }
}

/// Ways to break what must hold, to see that it is noticed.
#[derive(Clone, Copy, Debug)]
pub enum Sabotage {
    /// A pod outside the mesh says on the wire what the pods of the mesh say.
    Plaintext,
    /// The policy lets the intruder in.
    Deliver,
    /// A server changes a byte of each stream.
    Flip,
}

/// Breaks something and gives back what is said of it; an error says that nothing was.
pub fn sabotage(how: Sabotage) -> Result<String> {
    let flip = matches!(how, Sabotage::Flip).then_some(50_000);
    let mut ground = prepared(Kind::Files, Setting { flip, ..Setting::default() })?;
    let run = match how {
        Sabotage::Plaintext => say_it_in_the_clear,
        Sabotage::Deliver => let_the_intruder_in,
        Sabotage::Flip => wait,
    };
    let scenario = Scenario { name: "sabotage", about: "something is broken on purpose", kind: Kind::Files, run };
    let mut stage = Stage::new(&mut ground, 0, Duration::from_secs(2));
    let told = whole(&scenario, &mut stage);
    ground.close()?;
    match told {
        Ok(()) => bail!("{how:?} was not noticed"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

fn wait(stage: &mut Stage<'_>) -> Result<()> {
    stage.pause(Duration::from_secs(2))
}

fn say_it_in_the_clear(stage: &mut Stage<'_>) -> Result<()> {
    let outside = stage.ground.nodes[0].pod("outside").outside_mesh().start()?;
    let to = stage.ground.pods.open.at(7);
    let _server = stage.ground.pods.open.serve("--listen 7")?;
    let said: ProbeReport = outside.ask(&format!("probe --to {to} --send {MARKER}"))?;
    ensure!(said.data.is_some(), "it could not be said: {said:?}");
    outside.delete()
}

fn let_the_intruder_in(stage: &mut Stage<'_>) -> Result<()> {
    put_documents(&stage.ground.bed, "policies", &policy(&["client", "intruder"]))?;
    stage.pause(Duration::from_secs(10))
}
