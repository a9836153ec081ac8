//! Requests that are meant to harm: refused in words where they can be, bounded where they cannot, and never passed on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::peer::http::report::{Ask, HttpEvent, Raw};

use super::tools::Web;
use crate::world::World;

/// What one proxy and the next may read differently (RFC 9112, 11.2), and what is no HTTP at all.
const REFUSED: [(&str, &str); 22] = [
    ("two lengths", "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
    ("two lengths in one line", "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 5, 6\r\n\r\nhello!"),
    (
        "a length and chunks",
        "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    (
        "chunks and a length",
        "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\nG",
    ),
    ("chunked is not last", "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("an unknown coding", "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked in two lines with identity",
        "POST / HTTP/1.1\r\nhost: web\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("chunks in HTTP/1.0", "POST / HTTP/1.0\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a signed length", "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: +5\r\n\r\nhello"),
    ("a negative length", "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: -5\r\n\r\nhello"),
    ("a length in hexadecimal", "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 0x5\r\n\r\nhello"),
    ("a length that is too large", "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 99999999999999999999\r\n\r\n"),
    ("a blank before the colon", "GET / HTTP/1.1\r\nhost: web\r\ncontent-length : 5\r\n\r\nhello"),
    ("a folded line", "GET / HTTP/1.1\r\nhost: web\r\nx-a: b\r\n c: d\r\n\r\n"),
    ("a zero byte in a value", "GET / HTTP/1.1\r\nhost: web\r\nx-a: b\0c\r\n\r\n"),
    ("a bare carriage return in a value", "GET / HTTP/1.1\r\nhost: web\r\nx-a: b\rtransfer-encoding: chunked\r\n\r\n"),
    ("a name with a blank", "GET / HTTP/1.1\r\nhost: web\r\nx a: b\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nhost: web\r\nhost: other\r\n\r\n"),
    ("no host", "GET / HTTP/1.1\r\nx-a: b\r\n\r\n"),
    ("another host in the target", "GET http://user@other/ HTTP/1.1\r\nhost: web\r\n\r\n"),
    ("no version", "GET / HTTP\r\nhost: web\r\n\r\n"),
];

#[test]
fn what_can_be_read_in_two_ways_gets_400_and_reaches_nobody() -> Result<()> {
    let mut web = Web::new("http-smuggling")?;
    let to = web.service.at(80);
    let mut wrong = Vec::new();
    for (what, bytes) in REFUSED {
        // With a second request behind it, which must not be answered.
        let answer = web.client.raw(to, &format!("{bytes}GET /smuggled HTTP/1.1\r\nhost: web\r\n\r\n"), 3_000)?;
        if !answer.received.starts_with("HTTP/1.1 400") && !answer.received.starts_with("HTTP/1.0 400") {
            wrong.push(format!("{what}: {:?} {}", answer.received, answer.ended));
        } else if answer.received.matches("HTTP/1.").count() != 1 || answer.ended != "eof" {
            wrong.push(format!("{what}: goes on: {:?} {}", answer.received, answer.ended));
        }
    }
    let reached: Vec<_> = web.server.requests().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect();
    ensure!(
        wrong.is_empty() && reached.is_empty(),
        "not refused:\n{}\nreached the server: {reached:?}",
        wrong.join("\n")
    );
    let broken: Vec<_> =
        web.server.events().into_iter().filter(|e| matches!(e, HttpEvent::Ended { error: Some(_), .. })).collect();
    assert_eq!(broken, [], "nor did parts of them");
    assert_eq!(web.client.ask(web.get("/after"))?.status, 200, "others are served");
    Ok(())
}

#[test]
fn the_same_is_refused_in_plaintext_at_the_servers_node() -> Result<()> {
    let web = Web::new("http-smuggling-in")?;
    let mut stranger = super::tools::Client::of(&web.world.stranger()?)?;
    let mut wrong = Vec::new();
    for (what, bytes) in REFUSED {
        let answer = stranger.raw(web.world.far.at(8080), bytes, 3_000)?;
        if !answer.received.starts_with("HTTP/1.1 400") && !answer.received.starts_with("HTTP/1.0 400") {
            wrong.push(format!("{what}: {:?} {}", answer.received, answer.ended));
        }
    }
    ensure!(wrong.is_empty(), "not refused:\n{}", wrong.join("\n"));
    assert_eq!(web.server.requests().len(), 0);
    Ok(())
}

#[test]
fn header_sections_that_are_too_large_get_431() -> Result<()> {
    let mut web = Web::new("http-431")?;
    let large = "x".repeat(20_000);
    let fits = web.client.ask(web.get("/").header("x-large", &large))?;
    assert_eq!(fits.status, 200, "{fits:?}");
    let one = web.client.ask(web.get("/").header("x-large", &"x".repeat(200_000)))?;
    assert_eq!(one.status, 431, "one line: {one:?}");
    let mut many = web.get("/");
    for number in 0..3_000 {
        many = many.header(&format!("x-{number}"), "0123456789012345678901234567890123456789");
    }
    let answer = web.client.ask(many)?;
    assert_eq!(answer.status, 431, "many lines: {answer:?}");
    let target = web.client.ask(web.get(&format!("/{}", "x".repeat(200_000))))?;
    assert!(matches!(target.status, 414 | 431), "{target:?}");
    let h2 = web.client.ask(Ask { h2: true, ..web.get("/").header("x-large", &"x".repeat(200_000)) })?;
    assert!(h2.status == 431 || h2.error.is_some(), "{h2:?}");
    assert_eq!(web.server.requests().len(), 1, "only the one that fits");
    assert_eq!(web.client.ask(web.get("/after"))?.status, 200);
    Ok(())
}

#[test]
fn heads_that_do_not_end_are_closed_and_bodies_may_take_their_time() -> Result<()> {
    let mut web = Web::new("http-slowloris")?;
    let (to, header) = (web.service.at(80), "x-another: line\r\n".to_owned());
    let mut pieces = vec!["GET / HTTP/1.1\r\nhost: web\r\n".to_owned()];
    pieces.extend(std::iter::repeat_n(header, 120));
    let slow = web.client.begin_raw(Raw { to, pieces, pause_ms: 500, wait_ms: 1_000, until: None })?;
    let body = Ask { send_every_ms: 3_000, body_bytes: 80_000, timeout_ms: 60_000, ..web.get("/body").method("POST") };
    let body = web.client.begin(body)?;
    let ended = web.client.end_raw(slow)?;
    assert!(ended.ended != "open" && ended.ms < 30_000.0, "the head of 60 s was waited for: {ended:?}");
    let statuses: Vec<&str> = ended.received.get(9..12).into_iter().collect();
    assert!(statuses.is_empty() || statuses == ["408"] || statuses == ["400"], "{ended:?}");
    let answer = &web.client.end(body)?[0];
    assert_eq!((answer.status, answer.sent_all), (200, true), "a body of 12 s: {answer:?}");
    Ok(())
}

#[test]
fn bodies_that_stand_still_end_and_those_of_grpc_may() -> Result<()> {
    let world = World::with("http-still", |agent| agent.set("http.requestBodyTimeout", "1500ms"))?;
    let mut web = Web::within(world)?;
    let body = |web: &Web, h2, every| Ask {
        h2,
        send_every_ms: every,
        body_bytes: 80_000,
        timeout_ms: 60_000,
        ..web.get("/body").method("POST")
    };
    for h2 in [true, false] {
        let still = web.client.ask(body(&web, h2, 5_000))?;
        assert_eq!(still.status, 408, "h2 {h2}: {still:?}");
        assert!((1_500.0..4_900.0).contains(&still.head_ms), "h2 {h2}: {still:?}");
    }
    let call = web.client.ask(body(&web, true, 2_500).header("content-type", "application/grpc"))?;
    assert_eq!((call.status, call.sent_all), (200, true), "{call:?}");
    for h2 in [true, false] {
        let slow = web.client.ask(body(&web, h2, 700))?;
        assert_eq!((slow.status, slow.sent_all), (200, true), "h2 {h2}: {slow:?}");
    }
    Ok(())
}

/// HTTP/2 that no client library sends.
struct Frames(Vec<u8>);

impl Frames {
    fn new() -> Self {
        Self(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec())
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.0.extend(length);
        self.0.extend([kind, flags]);
        self.0.extend(stream.to_be_bytes());
        self.0.extend(payload);
    }

    /// GET http://web/, with `:authority` literal and the rest from HPACK's static table.
    fn head() -> Vec<u8> {
        [&[0x82, 0x86, 0x84, 0x41, 3][..], b"web"].concat()
    }

    fn text(&self) -> String {
        self.0.iter().map(|byte| char::from(*byte)).collect()
    }
}

#[test]
fn rapid_resets_end_the_connection_and_reach_the_server_in_a_bounded_number() -> Result<()> {
    let mut web = Web::new("http-rapid-reset")?;
    let before = web.world.a.process().resident_bytes()?;
    let mut frames = Frames::new();
    for number in 0..20_000u32 {
        frames.frame(1, 0x5, number * 2 + 1, &Frames::head());
        frames.frame(3, 0, number * 2 + 1, &[0, 0, 0, 8]);
    }
    let answer = web.client.raw(web.service.at(80), &frames.text(), 5_000)?;
    assert_ne!(answer.ended, "open", "the connection goes on after 20000 resets");
    let reached = web.server.requests().len();
    assert!(reached < 5_000, "{reached} of 20000 requests that were taken back at once reached the server");
    let now = web.world.a.process().resident_bytes()?;
    ensure!(now < before + (64 << 20), "the agent grew by {} MiB", (now - before) >> 20);
    assert_eq!(web.client.ask(web.get("/after"))?.status, 200);
    Ok(())
}

#[test]
fn endless_continuations_end_the_connection() -> Result<()> {
    let mut web = Web::new("http-continuation")?;
    let before = web.world.a.process().resident_bytes()?;
    let mut frames = Frames::new();
    frames.frame(1, 0, 1, &Frames::head());
    for number in 0..4_000u32 {
        // A literal header with a new name and without indexing, 4 KiB each.
        let name = format!("x-{number:05}");
        let mut line = vec![0x00, 7];
        line.extend(name.as_bytes());
        line.extend([0x7f, 0x81, 0x1f]);
        line.extend(vec![b'v'; 127 + 1 + 31 * 128]);
        frames.frame(9, 0, 1, &line);
    }
    let answer = web.client.raw(web.service.at(80), &frames.text(), 5_000)?;
    assert_ne!(answer.ended, "open", "16 MiB of headers are taken");
    let now = web.world.a.process().resident_bytes()?;
    ensure!(now < before + (32 << 20), "the agent grew by {} MiB", (now - before) >> 20);
    assert_eq!((web.client.ask(web.get("/after"))?.status, web.server.requests().len()), (200, 1));
    Ok(())
}

#[test]
fn connections_that_do_nothing_do_not_keep_others_out() -> Result<()> {
    let mut web = Web::new("http-idle")?;
    let to = web.service.at(80);
    let idle: Vec<u64> = (0..200)
        .map(|_| {
            web.client.begin_raw(Raw {
                to,
                pieces: vec!["GET / HTT".to_owned()],
                pause_ms: 0,
                wait_ms: 4_000,
                until: None,
            })
        })
        .collect::<Result<_>>()?;
    let answers = web.client.all(web.get("/").times(50, 5))?;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let slowest = answers.iter().map(|answer| answer.ms).fold(0.0, f64::max);
    ensure!(slowest < Duration::from_secs(3).as_secs_f64() * 1e3, "{slowest} ms");
    for id in idle {
        web.client.end_raw(id).context("an idle connection")?;
    }
    Ok(())
}
