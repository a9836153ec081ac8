//! The same request to the same server, once from inside the mesh and once from outside: what tcpdump saw between the
//! nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use serde_json::json;

use super::super::cast::{Cast, POD_PORT};
use super::super::story::Story;
use crate::bed::{Capture, Packet, Pod};

/// Where agents take HBONE: HTTP/2 CONNECT in mutual TLS.
const HBONE: u16 = 15008;

pub(super) fn play(story: &mut Story, cast: &mut Cast<'_>) -> Result<()> {
    story.scene("wire", "What crossed the wire");
    let server = cast.servers[0].at(POD_PORT);
    story.text(&format!(
        "tcpdump records every packet between the nodes while the client, and then the outsider, ask server-v1 \
         ({server}) for the same page."
    ));
    story.pause();
    // Differs from run to run, so that nothing of an earlier one can be taken for it.
    let secret = format!("card-{:08x}", std::process::id().wrapping_mul(0x9e37_79b1));
    let (inside, outside) = (format!("/pay/{secret}/inside"), format!("/pay/{secret}/outside"));
    let record = cast.bed.wire_capture()?;
    let calls = [cast.call_once(&cast.client, server, &inside)?, cast.call_once(&cast.outsider, server, &outside)?];
    let record = record.stop()?;
    show(story, &record, &cast.client, &inside);
    show(story, &record, &cast.outsider, &outside);
    story.pause();
    for (who, call) in ["client", "outsider"].into_iter().zip(&calls) {
        let asked = call.answer.as_ref().is_some_and(|answer| answer.asked.contains(&secret));
        story.expect(asked, &format!("the {who} was answered: server-v1 read its words"), || call.outcome());
    }
    judge(story, &record, &cast.client, &inside, &outside);
    story.record("packets", record.packets().len());
    story.record("words", json!({"inside": inside, "outside": outside}));
    Ok(())
}

fn show(story: &Story, record: &Capture, from: &Pod, words: &str) {
    story.fact(from.name(), &format!("asked for {words}"));
    for (to, bytes) in destinations(record, from.v4().into()) {
        let sent = |packet: &&Packet| packet.flow.source.ip() == from.v4() && packet.flow.destination == to;
        let payload =
            record.packets().iter().filter(sent).map(|packet| packet.payload.as_slice()).find(|p| !p.is_empty());
        story.fact("", &format!("{bytes} bytes to {to}"));
        story.fact("", &payload.map_or("nothing".to_owned(), begin));
    }
}

/// The first bytes of a payload: as text where they are text, else in hexadecimal with TLS's record type in words.
fn begin(payload: &[u8]) -> String {
    let line = payload.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if let Some(text) = std::str::from_utf8(line).ok().filter(|text| text.chars().all(|c| !c.is_control())) {
        return format!("\"{text}\"");
    }
    let bytes: Vec<String> = payload.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    // RFC 8446, section 5.1: the record's type, then 03 03.
    let kind = match payload {
        [0x17, 3, 3, ..] => "TLS application data",
        [0x16, 3, ..] => "TLS handshake",
        _ => "no TLS record",
    };
    format!("{} ...  {kind}", bytes.join(" "))
}

/// Where a pod sent TCP to as a client, with the bytes: the ends that did not begin with its own well-known port.
fn destinations(record: &Capture, from: IpAddr) -> BTreeMap<SocketAddr, usize> {
    let mut to = BTreeMap::new();
    for (flow, bytes) in record.flows() {
        if flow.tcp && flow.source.ip() == from {
            *to.entry(flow.destination).or_default() += bytes;
        }
    }
    to
}

fn judge(story: &mut Story, record: &Capture, client: &Pod, inside: &str, outside: &str) {
    let ports: BTreeSet<u16> = destinations(record, client.v4().into()).keys().map(SocketAddr::port).collect();
    story.expect(
        ports == BTreeSet::from([HBONE]),
        "the client's pod sent to port 15008 alone, where agents speak TLS",
        || format!("they went to the ports {ports:?}"),
    );
    let found = record.contains(inside.as_bytes());
    story.expect(!found, "the client's words are nowhere in the record", || format!("{inside} is in the record"));
    let found = record.contains(outside.as_bytes());
    story.expect(found, "the outsider's words are in it: it speaks plain TCP", || {
        format!("{outside} is not in the record")
    });
}
