//! The agent of the client's node is killed: nothing leaves in the clear. Started again, it finds everything in place.

use std::net::SocketAddr;

use anyhow::Result;
use serde_json::json;

use super::super::app::Call;
use super::super::cast::{Cast, POD_PORT, SERVICE_PORT};
use super::super::pins::Pins;
use super::super::story::Story;
use crate::bed::{Capture, Packet};

const SYN: u8 = 0x02;
/// Counted by the kernel programs, in a pinned map.
const CAPTURED: (&str, &str) = ("event", "outbound_captured");

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("fail_closed", "Without an agent: refused, not in the clear");
    let pins = Pins::below(&cast.agent_a.node.bpffs())?;
    let before = captured(cast)?;
    let pid = cast.agent_a.agent.process().pid();
    cast.agent_a.kill()?;
    story.text(&format!("kill -9 {pid} (the agent of node-a), and the wire is recorded again."));
    story.pause();
    without_agent(story, cast)?;
    let left = Pins::below(&cast.agent_a.node.bpffs())?;
    story.fact("still pinned", &left.describe());
    let took = cast.agent_a.restart()?;
    let pid = cast.agent_a.agent.process().pid();
    story.fact("agent again", &format!("pid {pid}, ready after {:.2} s", took.as_secs_f64()));
    let call = cast.call_once(&cast.client, cast.service.at(SERVICE_PORT), "/")?;
    story.fact("client", &call.outcome());
    story.pause();
    let kept = pins == left && left == Pins::below(&cast.agent_a.node.bpffs())?;
    story.expect(kept, "the new agent adopted what was pinned, and made nothing anew", || {
        "maps or links were made anew".to_owned()
    });
    let after = captured(cast)?;
    // Two that were refused while no agent ran, and one that was not.
    let expected = format!("the kernel went on counting: {before} connections captured before, {after} now");
    story.expect(after - before == 3.0, &expected, || "three more were made".to_owned());
    story.expect(call.answer.is_some(), "the client works again, and its pod was not touched", || call.outcome());
    story.record("restart_seconds", took.as_secs_f64());
    story.record("pins", left.describe());
    Ok(())
}

fn without_agent(story: &mut Story, cast: &Cast<'_>) -> Result<()> {
    let (service, pod) = (cast.service.at(SERVICE_PORT), cast.servers[0].at(POD_PORT));
    let record = cast.bed.wire_capture()?;
    let refused = [attempt(cast, service)?, attempt(cast, pod)?];
    let outsider = cast.call_once(&cast.outsider, pod, "/still-here")?;
    let record = record.stop()?;
    for (to, call) in [service, pod].iter().zip(&refused) {
        story.fact("client", &format!("connect({to}): {} after {} us", call.outcome(), call.connect_us));
    }
    story.fact("outsider", &format!("connect({pod}): {}", outsider.outcome()));
    let (begun, carried) = sent_by_client(&record, cast);
    story.fact("wire", &format!("from the client: {begun} connections begun, {carried} bytes of data"));
    story.pause();
    story.expect(refused.iter().all(is_refused_at_once), "the client's connect() is refused at once", || {
        format!("{refused:?}")
    });
    story.expect((begun, carried) == (0, 0), "nothing of the client left its node", || {
        format!("{begun} connections begun, {carried} bytes of data")
    });
    let seen = record.contains(b"/still-here");
    story.expect(outsider.answer.is_some() && seen, "a pod outside the mesh is not concerned", || {
        format!("{}; its words are in the record: {seen}", outsider.outcome())
    });
    story.pause();
    story.record("refused", &refused);
    story.record("wire", json!({"connections_begun": begun, "bytes": carried}));
    Ok(())
}

/// By the kernel and not by a time limit, hence far within a second on any machine.
fn is_refused_at_once(call: &Call) -> bool {
    call.connect_error.as_deref() == Some("connection refused") && call.connect_us < 1_000_000
}

fn attempt(cast: &Cast<'_>, to: SocketAddr) -> Result<Call> {
    cast.call_once(&cast.client, to, "/lost")
}

/// Connections begun and bytes of data. The end of the killed agent's own connections is neither.
fn sent_by_client(record: &Capture, cast: &Cast<'_>) -> (usize, usize) {
    let own = |packet: &&Packet| packet.flow.source.ip() == cast.client.v4();
    let begun = record.packets().iter().filter(own).filter(|packet| packet.flags & SYN != 0).count();
    let carried = record.packets().iter().filter(own).map(|packet| packet.payload.len()).sum();
    (begun, carried)
}

fn captured(cast: &Cast<'_>) -> Result<f64> {
    Ok(cast.agent_a.agent.metrics()?.sum("heddle_kernel_events_total", &[CAPTURED]))
}
