//! Every way in which the server can be told to misbehave, seen from the client's side.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;
use heddle_tests::kubernetes::{Cut, Fault, Verb};

use super::raw::Raw;
use super::setting::{SOON, Setting};

const SILENCE: Duration = Duration::from_millis(200);

/// A watch that has begun and sent what there was.
fn open_watch(setting: &Setting) -> Result<Raw> {
    let mut raw = setting.raw()?;
    raw.send("GET", "/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=0", "", "")?;
    assert_eq!(raw.head()?.0, 200);
    assert_eq!(raw.event()?.1, "ADDED");
    Ok(raw)
}

fn setting() -> Result<Setting> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    Ok(setting)
}

#[test]
fn the_next_so_many_matching_requests_are_refused_and_no_others() -> Result<()> {
    let setting = setting()?;
    setting.server.fault(Fault::too_many_requests(3).verb(Verb::List).resource("pods").times(2));
    assert_eq!(setting.get("/api/v1/nodes")?.0, 200);
    assert_eq!(setting.get("/api/v1/namespaces/default/pods/a")?.0, 200);
    let mut raw = setting.raw()?;
    for expected in [429, 429, 200] {
        raw.send("GET", "/api/v1/pods", "", "")?;
        let (status, head, body) = raw.answer()?;
        assert_eq!((status, head.contains("retry-after: 3\r\n")), (expected, expected == 429), "{head}");
        assert_eq!(body.contains("\"TooManyRequests\""), expected == 429);
    }
    let statuses: Vec<_> = setting.server.journal().of(Verb::List, "pods").iter().map(|asked| asked.status).collect();
    assert_eq!(statuses, [Some(429), Some(429), Some(200)]);
    Ok(())
}

#[test]
fn a_fault_without_a_number_lasts_until_it_is_cleared() -> Result<()> {
    let setting = setting()?;
    for (code, reason) in [(500, "InternalError"), (503, "ServiceUnavailable")] {
        setting.server.fault(Fault::status(code));
        for path in ["/api/v1/pods", "/version", "/api/v1/pods?watch=true"] {
            let (status, body) = setting.get(path)?;
            assert_eq!((status, body["reason"].as_str()), (code, Some(reason)), "{path}");
        }
        setting.server.clear_faults();
        assert_eq!(setting.get("/api/v1/pods")?.0, 200);
    }
    Ok(())
}

#[test]
fn answers_can_be_late_or_missing() -> Result<()> {
    let setting = setting()?;
    setting.server.fault(Fault::delay(SILENCE).resource("pods").times(1));
    let begin = Instant::now();
    assert_eq!(setting.get("/api/v1/pods")?.0, 200);
    assert!(begin.elapsed() >= SILENCE);
    setting.server.fault(Fault::hang_up().times(1));
    let mut raw = setting.raw()?;
    raw.send("GET", "/api/v1/pods", "", "")?;
    assert!(raw.answer().is_err());
    assert_eq!(setting.server.journal().requests.last().unwrap().status, None);
    assert_eq!(setting.get("/api/v1/pods")?.0, 200);
    Ok(())
}

#[test]
fn a_server_that_is_down_refuses_and_comes_back_where_it_was() -> Result<()> {
    let setting = setting()?;
    let mut watch = open_watch(&setting)?;
    setting.server.go_down();
    assert_eq!(watch.end()?, Some(ErrorKind::ConnectionReset));
    let refused = TcpStream::connect_timeout(&setting.address, Duration::from_secs(5)).map_err(|error| error.kind());
    assert_eq!(refused.map(drop), Err(ErrorKind::ConnectionRefused));
    setting.put_pod("b", "one")?;
    for _ in 0..2 {
        setting.server.come_back()?;
        let (status, list) = setting.get("/api/v1/pods")?;
        assert_eq!(
            (status, super::setting::names(&list)),
            (200, vec!["a", "b"]),
            "what it knew and what came meanwhile"
        );
        setting.server.go_down();
    }
    Ok(())
}

#[test]
fn watches_are_cut_cleanly_in_the_middle_of_an_event_or_by_a_reset() -> Result<()> {
    let setting = setting()?;
    let mut clean = open_watch(&setting)?;
    assert_eq!(setting.server.cut_watches("nodes", Cut::Cleanly), 0, "there is none of nodes");
    assert_eq!(setting.server.cut_watches("pods", Cut::Cleanly), 1);
    assert_eq!(clean.chunk()?, b"", "the proper end of the body");

    let mut half = open_watch(&setting)?;
    assert_eq!(setting.server.cut_watches("", Cut::MidFrame), 1);
    let part = half.chunk()?;
    assert!(part.starts_with(b"{\"") && !part.ends_with(b"\n"), "{}", String::from_utf8_lossy(&part));
    half.end()?;
    assert!(!half.rest().contains("0\r\n\r\n"), "the body has no proper end");

    let mut reset = open_watch(&setting)?;
    assert_eq!(setting.server.cut_watches("pods", Cut::Reset), 1);
    assert_eq!(reset.end()?, Some(ErrorKind::ConnectionReset));
    Ok(())
}

#[test]
fn a_silent_server_sends_nothing_keeps_connections_and_goes_on_later() -> Result<()> {
    let setting = setting()?;
    let (mut watch, mut idle) = (open_watch(&setting)?, setting.raw()?);
    idle.send("GET", "/version", "", "")?;
    idle.answer()?;
    setting.server.go_silent(true);
    setting.put_pod("b", "one")?;
    idle.send("GET", "/api/v1/pods", "", "")?;
    assert_eq!((setting.server.send_bookmarks("pods"), setting.server.send_garbage("pods")), (1, 1));
    assert!(watch.is_silent_for(SILENCE)? && idle.is_silent_for(SILENCE)?);
    // The kernel completes the connection; nobody answers in it.
    let mut fresh = setting.raw()?.within(SILENCE)?;
    assert!(fresh.send("GET", "/version", "", "").is_err(), "not even a handshake");
    setting.server.wait_journal("the request arrived", SOON, |journal| journal.last(Verb::List, "pods").is_some())?;
    assert_eq!(setting.server.journal().last(Verb::List, "pods").unwrap().status, None);
    setting.server.go_silent(false);
    assert_eq!(watch.event()?.2["metadata"]["name"], "b");
    assert_eq!(idle.answer()?.0, 200);
    Ok(())
}

#[test]
fn a_silent_watch_can_be_reset() -> Result<()> {
    let setting = setting()?;
    let mut watch = open_watch(&setting)?;
    setting.server.go_silent(true);
    assert_eq!(setting.server.cut_watches("pods", Cut::Reset), 1);
    assert_eq!(watch.end()?, Some(ErrorKind::ConnectionReset));
    Ok(())
}

#[test]
fn garbage_can_be_sent_into_a_watch_which_goes_on() -> Result<()> {
    let setting = setting()?;
    let mut watch = open_watch(&setting)?;
    assert_eq!(setting.server.send_garbage("pods"), 1);
    let line = watch.chunk()?;
    assert!(line.ends_with(b"\n") && serde_json::from_slice::<serde_json::Value>(&line).is_err());
    setting.put_pod("b", "one")?;
    assert_eq!(watch.event()?.2["metadata"]["name"], "b");
    Ok(())
}

#[test]
fn open_watches_can_be_told_that_they_are_outdated() -> Result<()> {
    let setting = setting()?;
    let mut watch = open_watch(&setting)?;
    assert_eq!(setting.server.expire_watches("pods"), 1);
    let (_, kind, status) = watch.event()?;
    assert_eq!((kind.as_str(), &status["code"]), ("ERROR", &serde_json::json!(410)));
    assert_eq!(watch.chunk()?, b"");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_server_that_was_dropped() -> Result<()> {
    let setting = setting()?;
    let mut watch = open_watch(&setting)?;
    let address = setting.address;
    drop(setting);
    watch.end()?;
    let refused = TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(|error| error.kind());
    assert_eq!(refused.map(drop), Err(ErrorKind::ConnectionRefused));
    Ok(())
}
