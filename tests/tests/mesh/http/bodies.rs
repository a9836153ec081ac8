//! Large and slow bodies: whole, streamed, and with memory that does not grow with them.

use std::time::Duration;

use anyhow::{Result, ensure};
use heddle_tests::peer::http::patterned;
use heddle_tests::peer::http::report::Ask;

use super::tools::Web;
use crate::world::{SOON, eventually};

const MIB: u64 = 1 << 20;
/// What an agent may take more than before while bodies wait: windows and buffers of the few streams of these tests.
const ROOM: u64 = 48 * MIB;

#[test]
fn two_hundred_mebibytes_arrive_whole_in_both_directions_and_versions() -> Result<()> {
    let mut web = Web::new("http-large")?;
    let bytes = 200 * MIB;
    let expected = patterned(bytes);
    let before = memory(&mut web)?;
    for h2 in [false, true] {
        let ask = Ask { h2, body_bytes: bytes, timeout_ms: 90_000, ..web.get("/up").method("POST") };
        let answer = web.client.ask(ask)?;
        assert_eq!(answer.seen().and_then(|seen| seen.body).as_ref(), Some(&expected), "upload, h2 {h2}: {answer:?}");
        let ask = Ask { h2, timeout_ms: 90_000, ..web.get("/down").behave(&format!("size={bytes}")) };
        let answer = web.client.ask(ask)?;
        assert_eq!((answer.received.as_ref(), answer.error), (Some(&expected), None), "download, h2 {h2}");
    }
    bounded(&mut web, before)
}

#[test]
fn a_slow_reader_holds_its_server_back_and_fills_no_memory() -> Result<()> {
    let mut web = Web::new("http-slow-reader")?;
    let _ = web.client.ask(web.get("/warm"))?;
    let before = memory(&mut web)?;
    for h2 in [false, true] {
        // Whoever read ahead would have to keep a hundred times what ROOM is.
        let ask = Ask {
            h2,
            read_every_ms: 200,
            timeout_ms: 4_000,
            ..web.get("/slow").behave(&format!("size={}", 5_000 * MIB))
        };
        let slow: Vec<u64> = (0..3).map(|_| web.client.begin(ask.clone())).collect::<Result<_>>()?;
        std::thread::sleep(Duration::from_secs(2));
        bounded(&mut web, before)?;
        let quick = web.client.ask(Ask { h2, ..web.get("/quick") })?;
        assert_eq!(quick.status, 200, "others are not held back: {quick:?}");
        for id in slow {
            assert_eq!(web.client.end(id)?[0].error.as_deref(), Some("timeout"));
        }
    }
    Ok(())
}

#[test]
fn a_server_that_reads_slowly_holds_its_client_back() -> Result<()> {
    let mut web = Web::new("http-slow-server")?;
    let _ = web.client.ask(web.get("/warm"))?;
    let before = memory(&mut web)?;
    let ask =
        Ask { body_bytes: 2_000 * MIB, timeout_ms: 4_000, ..web.get("/slow").method("POST").behave("read-every=200") };
    let slow: Vec<u64> =
        [false, true].into_iter().map(|h2| web.client.begin(Ask { h2, ..ask.clone() })).collect::<Result<_>>()?;
    std::thread::sleep(Duration::from_secs(2));
    bounded(&mut web, before)?;
    for id in slow {
        let answer = &web.client.end(id)?[0];
        assert_eq!((answer.error.as_deref(), answer.sent_all), (Some("timeout"), false), "{answer:?}");
    }
    Ok(())
}

#[test]
fn parts_of_a_body_arrive_while_it_goes_on() -> Result<()> {
    let mut web = Web::new("http-streamed")?;
    for h2 in [false, true] {
        let ask = Ask { h2, ..web.get("/").behave("size=200000;chunked;every=100") };
        let answer = web.client.ask(ask)?;
        assert_eq!(answer.received, Some(patterned(200_000)));
        // Thirteen parts, 100 ms apart: whoever collects them first answers with the head at the end.
        ensure!(answer.head_ms < answer.ms / 2.0, "the head took {} of {} ms", answer.head_ms, answer.ms);
        let ask = Ask {
            h2,
            body_bytes: 200_000,
            chunked: true,
            send_every_ms: 100,
            ..web.get("/").method("POST").behave("echo")
        };
        let answer = web.client.ask(ask)?;
        assert_eq!(answer.received, Some(patterned(200_000)));
        ensure!(answer.head_ms < answer.ms / 2.0, "the head took {} of {} ms", answer.head_ms, answer.ms);
    }
    Ok(())
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() -> Result<()> {
    let mut web = Web::new("http-early")?;
    let ask =
        Ask { body_bytes: 500 * MIB, timeout_ms: 15_000, ..web.get("/").method("POST").behave("early;status=413") };
    for h2 in [false, true] {
        let answer = web.client.ask(Ask { h2, ..ask.clone() })?;
        assert_eq!(answer.status, 413, "h2 {h2}: {answer:?}");
    }
    assert_eq!(web.client.ask(web.get("/after"))?.status, 200);
    Ok(())
}

#[test]
fn an_answer_that_is_cut_off_does_not_look_whole() -> Result<()> {
    let mut web = Web::new("http-cut")?;
    for h2 in [false, true] {
        for how in ["cut=after;size=100000", "cut=after;size=100000;chunked"] {
            let answer = web.client.ask(Ask { h2, ..web.get("/").behave(how) })?;
            assert!(answer.error.is_some(), "h2 {h2}, {how}: {answer:?}");
        }
        let before = web.client.ask(Ask { h2, ..web.get("/").method("POST").behave("cut=before") })?;
        assert!(matches!(before.status, 502..=504), "h2 {h2}: {before:?}");
    }
    Ok(())
}

#[test]
fn a_client_that_leaves_ends_its_request_at_the_server() -> Result<()> {
    let mut web = Web::new("http-leaves")?;
    for h2 in [false, true] {
        let ask = Ask { h2, timeout_ms: 500, ..web.get("/").behave(&format!("size={};every=10", 1_000 * MIB)) };
        assert_eq!(web.client.ask(ask)?.error.as_deref(), Some("timeout"));
    }
    eventually("the server's side is closed", SOON, || {
        let open = web.world.far.command("ss").words("-Htn state established ( sport = :8080 )").output(SOON)?;
        Ok(open.lines().count() <= 1)
    })
}

fn memory(web: &mut Web) -> Result<[u64; 2]> {
    Ok([web.world.a.process().resident_bytes()?, web.world.b.process().resident_bytes()?])
}

fn bounded(web: &mut Web, before: [u64; 2]) -> Result<()> {
    let now = memory(web)?;
    for (before, now) in before.into_iter().zip(now) {
        ensure!(now < before + ROOM, "an agent grew from {} to {} MiB", before / MIB, now / MIB);
    }
    Ok(())
}
