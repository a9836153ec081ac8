//! The HTTP programs of `heddle-peer` against each other, without any agent.

use std::time::Duration;

use anyhow::Result;
use heddle_tests::peer::grpc::GrpcReport;
use heddle_tests::peer::http::patterned;
use heddle_tests::peer::http::report::{Ask, HttpEvent};
use heddle_tests::peer::websocket::WsReport;

use super::tools::{Client, HttpLoad, Server, listening};
use crate::world::{SOON, eventually, pair};

#[test]
fn the_server_says_what_it_saw_in_both_versions() -> Result<()> {
    let (_bed, client, server) = pair("http-seen")?;
    let serving = Server::start(&server, "--listen 80=v1,81=v2")?;
    let mut client = Client::of(&client)?;
    for (h2, version) in [(false, "HTTP/1.1"), (true, "HTTP/2.0")] {
        let ask =
            Ask::to(server.at(81)).host("web").target("/a?b=c").header("x-a", "1").header("x-a", "2").method("PUT");
        let ask = Ask { h2, body_bytes: 100_000, trailers: vec![("x-t".to_owned(), "end".to_owned())], ..ask };
        let answer = client.ask(ask)?;
        let seen = answer.seen().unwrap();
        assert_eq!((answer.status, answer.sent_all, answer.header("x-server").as_deref()), (200, true, Some("v2")));
        assert_eq!((seen.server.as_str(), seen.version.as_str(), seen.method.as_str()), ("v2", version, "PUT"));
        assert_eq!((seen.target.as_str(), seen.host.as_deref()), ("/a?b=c", Some("web")));
        assert_eq!(seen.header("X-A").as_deref(), Some("1 | 2"));
        assert_eq!((seen.body, seen.trailers.len()), (Some(patterned(100_000)), 1));
    }
    assert_eq!(serving.requests().len(), 2);
    Ok(())
}

#[test]
fn the_server_does_what_it_is_told() -> Result<()> {
    let (_bed, client, server) = pair("http-told")?;
    let mut serving = Server::start(&server, "--listen 80")?;
    let mut client = Client::of(&client)?;
    for h2 in [false, true] {
        let ask = |how: &str| Ask { h2, timeout_ms: 2_000, ..Ask::to(server.at(80)).behave(how) };
        let answer = client.ask(ask("status=418;delay=50").header("x-answer", "x-a: b"))?;
        assert_eq!((answer.status, answer.header("x-a").as_deref(), answer.head_ms >= 50.0), (418, Some("b"), true));
        for how in ["size=1000000", "size=1000000;chunked"] {
            let answer = client.ask(ask(how))?;
            assert_eq!(answer.received, Some(patterned(1_000_000)), "{how}");
            assert_eq!(answer.header("content-length").is_some(), how == "size=1000000", "{how}");
        }
        let answer = client.ask(ask("size=10;trailer=x-t:1").header("te", "trailers"))?;
        assert_eq!(answer.trailers, [("x-t".to_owned(), "1".to_owned())]);
        let head = client.ask(ask("size=10").method("HEAD"))?;
        assert_eq!((head.status, head.header("content-length").as_deref()), (200, Some("10")));
        let key = format!("fail=2:{h2};status=503");
        let statuses: Vec<u16> = client.all(ask(&key).times(3, 1))?.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [503, 503, 200]);
        let cut = client.ask(ask("cut=after;size=100000"))?;
        assert!(cut.status == 200 && cut.error.is_some(), "{cut:?}");
        let before = client.ask(ask("cut=before"))?;
        assert!(before.status == 0 && before.error.is_some(), "{before:?}");
        let reset = client.ask(ask("cut=reset"))?;
        assert!(reset.status == 0 && reset.error.is_some(), "{reset:?}");
        let late = client.ask(ask("delay=5000"))?;
        assert_eq!(late.error.as_deref(), Some("timeout"));
        let early = client.ask(Ask { body_bytes: 50_000_000, ..ask("early;status=413").method("POST") })?;
        assert_eq!(early.status, 413, "{early:?}");
        let echo = client.ask(Ask { body_bytes: 3_000_000, chunked: true, ..ask("echo").method("POST") })?;
        assert_eq!(echo.received, Some(patterned(3_000_000)));
        assert_eq!(client.ask(ask("dance"))?.status, 501, "a behaviour that it does not know");
    }
    let broken = client.raw(server.at(80), "no HTTP at all\r\n\r\n", 500)?;
    assert!(broken.ended == "eof", "{broken:?}");
    serving.process().wait_line(SOON, |line| {
        matches!(serde_json::from_str(line), Ok(HttpEvent::Ended { error: Some(error), .. }) if error.contains("pars"))
    })?;
    Ok(())
}

#[test]
fn the_client_waits_for_100_and_switches_protocols() -> Result<()> {
    let (_bed, client, server) = pair("http-continue")?;
    let _serving = Server::start(&server, "--listen 80")?;
    let mut client = Client::of(&client)?;
    let ask = Ask { wait_continue: true, ..Ask::to(server.at(80)).method("POST").body("x") };
    let answer = client.ask(ask.clone())?;
    assert_eq!((answer.status, answer.interim.as_slice(), answer.sent_all), (200, &[100][..], true));
    let refused = client.ask(ask.behave("early;status=417"))?;
    assert_eq!((refused.status, refused.interim.len(), refused.sent_all), (417, 0, false));
    let upgrade = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello";
    let answer = client.raw(server.at(80), upgrade, 300)?;
    assert!(answer.received.starts_with("HTTP/1.1 101") && answer.received.ends_with("hello"), "{answer:?}");
    Ok(())
}

#[test]
fn the_load_finds_failures_and_mixed_generations() -> Result<()> {
    let (_bed, client, server) = pair("http-load")?;
    let mut serving = Server::start(&server, "--listen 80 --name v1 --quiet")?;
    let good = HttpLoad::start(&client, &format!("--to {}", server.at(80)))?.end()?;
    assert_eq!((good.answers.get("200 v1"), good.failures.len()), (Some(&good.attempted), 0), "{good:?}");
    let mixed = HttpLoad::start(&client, &format!("--to {} --agree --target /g7/", server.at(80)))?.end()?;
    assert_eq!((mixed.mixed, mixed.generations), (mixed.attempted, 1), "nobody writes the header: {mixed:?}");
    let load = HttpLoad::start(&client, &format!("--to {} --h2 --pause-ms 1", server.at(80)))?;
    std::thread::sleep(Duration::from_millis(200));
    serving.process().kill()?;
    let report = load.end()?;
    assert!(report.failures.values().sum::<u64>() > 0 && report.answers.contains_key("200 v1"), "{report:?}");
    Ok(())
}

#[test]
fn web_sockets_echo_and_refusals_are_told() -> Result<()> {
    let (_bed, client, server) = pair("ws")?;
    let _serving = listening(&server, "ws-serve --listen 80")?;
    let _http = Server::start(&server, "--listen 81")?;
    let report: WsReport = client.ask(&format!("ws --to {} --count 6 --bytes 70000", server.at(80)))?;
    assert_eq!(report, WsReport { echoed: 6, pong: true, closed: true, ..WsReport::default() });
    let report: WsReport = client.ask(&format!("ws --to {}", server.at(81)))?;
    assert_eq!(report.refused, Some(200));
    Ok(())
}

#[test]
fn calls_of_each_kind_are_made_and_their_status_told() -> Result<()> {
    let (_bed, client, server) = pair("grpc")?;
    let _serving = listening(&server, "grpc-serve --listen 80 --name v1")?;
    let ask = |line: &str| client.ask::<GrpcReport>(&format!("grpc --to {} {line}", server.at(80)));
    for (method, replies) in [
        ("unary", &["hello"][..]),
        ("server", &["hello 0", "hello 1", "hello 2"]),
        ("client", &["hello0,hello1,hello2"]),
        ("bidi", &["hello0", "hello1", "hello2"]),
    ] {
        let report = ask(&format!("--method {method} --times 2"))?;
        assert_eq!(report.calls.len(), 2);
        for call in report.calls {
            assert_eq!((call.code.as_str(), call.server.as_str()), ("OK", "v1"), "{method}: {call:?}");
            assert_eq!(call.replies, replies, "{method}");
        }
    }
    let failed = ask("--code 5 --text nowhere")?.calls.remove(0);
    assert_eq!((failed.code.as_str(), failed.message.as_str()), ("NOT_FOUND", "nowhere"));
    let late = ask("--delay-ms 3000 --deadline-ms 100")?.calls.remove(0);
    assert!(["DEADLINE_EXCEEDED", "CANCELLED"].contains(&late.code.as_str()) && late.ms < 2_000.0, "{late:?}");
    Ok(())
}

#[test]
fn orders_do_not_wait_for_each_other() -> Result<()> {
    let (_bed, client, server) = pair("http-orders")?;
    let serving = Server::start(&server, "--listen 80")?;
    let mut client = Client::of(&client)?;
    let slow = client.begin(Ask::to(server.at(80)).behave("delay=1000"))?;
    eventually("the slow one has arrived", SOON, || Ok(!serving.requests().is_empty()))?;
    let quick = client.ask(Ask::to(server.at(80)).times(10, 2))?;
    assert_eq!((quick.status, serving.requests().len()), (200, 11));
    assert_eq!(client.end(slow)?[0].status, 200);
    Ok(())
}
