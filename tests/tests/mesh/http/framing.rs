//! Messages of HTTP/1.1 and HTTP/2 as they have to arrive: framing, trailers, interim answers, upgrades, versions.

use anyhow::{Context, Result};
use heddle_tests::peer::http::patterned;
use heddle_tests::peer::http::report::{Ask, Raw};
use heddle_tests::peer::websocket::WsReport;
use serde_json::json;

use super::tools::{Client, Server, Web, listening};

#[test]
fn a_connection_is_used_for_many_requests_and_pipelined_ones_are_answered_in_their_order() -> Result<()> {
    let mut web = Web::new("http-keep-alive")?;
    let answers = web.client.all(web.get("/many").times(50, 1))?;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.error.is_none()), "{:?}", answers.last());
    let connections: std::collections::BTreeSet<u64> =
        answers.iter().filter_map(|answer| Some(answer.seen()?.connection)).collect();
    assert_eq!(connections.len(), 1, "the server's end is kept open too");

    let pipelined: String =
        (0..10).map(|number| format!("GET /pipelined/{number} HTTP/1.1\r\nhost: web\r\n\r\n")).collect();
    let last = "GET /last HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    let answer = web.client.raw(web.service.at(80), &(pipelined + last), 10_000)?;
    let places: Vec<Option<usize>> =
        (0..10).map(|number| answer.received.find(&format!("/pipelined/{number}\""))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {}", answer.received);
    assert!(answer.received.find("/last\"") > places[9] && answer.ended == "eof", "{answer:?}");
    Ok(())
}

#[test]
fn what_a_server_sees_is_what_was_sent() -> Result<()> {
    let mut web = Web::new("http-as-sent")?;
    for h2 in [false, true] {
        let ask = Ask {
            h2,
            ..web.get("/a/b;c?d=e&f=%20").method("PATCH").header("x-a", "1").header("x-a", "2").body("content")
        };
        let (_, seen) = web.seen(ask)?;
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str(), seen.host.as_deref()),
            ("PATCH", "/a/b;c?d=e&f=%20", Some("web"))
        );
        assert_eq!((seen.header("x-a").as_deref(), seen.body.map(|body| body.bytes)), (Some("1 | 2"), Some(7)));
        assert_eq!(seen.version, if h2 { "HTTP/2.0" } else { "HTTP/1.1" });
        let client = web.world.client.v4().to_string();
        assert_eq!(seen.peer.split(':').next(), Some(client.as_str()), "the client's own address");
    }
    Ok(())
}

#[test]
fn chunked_bodies_and_trailers_go_both_ways() -> Result<()> {
    let mut web = Web::new("http-trailers")?;
    for h2 in [false, true] {
        let trailers = vec![("x-sum".to_owned(), "abc".to_owned())];
        let ask = Ask { h2, body_bytes: 300_000, chunked: true, ..web.get("/chunked").method("POST") };
        let (_, seen) = web.seen(ask)?;
        assert_eq!(seen.body, Some(patterned(300_000)), "chunked, {h2}");
        let ask =
            Ask { h2, body_bytes: 70_000, trailers, ..web.get("/trailers").method("POST").header("trailer", "x-sum") };
        let (_, seen) = web.seen(ask)?;
        assert_eq!(seen.body, Some(patterned(70_000)));
        assert_eq!(seen.trailers, [("x-sum".to_owned(), "abc".to_owned())], "of a request, {h2}");
        // A client of HTTP/1.1 says with TE that it takes trailers (RFC 9110, 6.5.1).
        let ask = Ask {
            h2,
            ..web.get("/").behave("size=50000;trailer=x-end:1").header("te", "trailers").header("connection", "te")
        };
        let ask = if h2 {
            Ask { headers: ask.headers.into_iter().filter(|(name, _)| name != "connection").collect(), ..ask }
        } else {
            ask
        };
        let answer = web.client.ask(ask)?;
        assert_eq!(answer.received, Some(patterned(50_000)));
        assert_eq!(answer.trailers, [("x-end".to_owned(), "1".to_owned())], "of an answer, {h2}");
    }
    Ok(())
}

#[test]
fn a_body_is_sent_after_100_continue_and_not_at_all_after_a_refusal() -> Result<()> {
    let mut web = Web::new("http-continue")?;
    let ask = Ask { wait_continue: true, body_bytes: 100_000, ..web.get("/").method("POST") };
    let answer = web.client.ask(ask.clone())?;
    assert_eq!((answer.status, answer.interim.as_slice(), answer.sent_all), (200, &[100][..], true), "{answer:?}");
    assert_eq!(answer.seen().and_then(|seen| seen.body), Some(patterned(100_000)));
    Ok(())
}

#[test]
fn head_and_answers_without_a_body_keep_the_connection() -> Result<()> {
    let mut web = Web::new("http-head")?;
    let to = web.service.at(80);
    let request = |method: &str, how: &str| format!("{method} / HTTP/1.1\r\nhost: web\r\nx-behave: {how}\r\n\r\n");
    let all = request("HEAD", "size=1000") + &request("GET", "status=204") + &request("GET", "status=304");
    let last = "GET /last HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    let answer = web.client.raw(to, &(all + last), 10_000)?;
    let received = &answer.received;
    let statuses: Vec<&str> = received.match_indices("HTTP/1.1 ").map(|(at, _)| &received[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "204", "304", "200"], "{answer:?}");
    assert!(received.to_lowercase().contains("content-length: 1000\r\n") && received.contains("/last"), "{answer:?}");
    let answer = web.client.ask(Ask { h2: true, ..web.get("/").method("HEAD").behave("size=1000") })?;
    assert_eq!((answer.status, answer.header("content-length").as_deref()), (200, Some("1000")), "{answer:?}");
    Ok(())
}

#[test]
fn protocols_are_switched_and_web_sockets_work() -> Result<()> {
    let mut web = Web::new("http-upgrade")?;
    let sockets = listening(&web.world.near, "ws-serve --listen 8081")?;
    let far = listening(&web.world.far, "ws-serve --listen 8081")?;
    let service = web.world.bed.service("sockets", &[(80, 8081)])?;
    service.backends(&[&web.world.far])?;
    web.world.settle()?;
    for to in [service.at(80), service.at6(80), web.world.near.at(8081), web.world.far.at(8081)] {
        let report: WsReport = web.world.client.ask(&format!("ws --to {to} --count 20 --bytes 50000 --path /chat"))?;
        assert_eq!(report, WsReport { echoed: 20, pong: true, closed: true, ..WsReport::default() }, "{to}");
    }
    drop((sockets, far));
    let upgrade = "GET / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    let pieces = vec![upgrade.to_owned(), "over the new protocol".to_owned()];
    let until = Some("over the new protocol".to_owned());
    let raw = Raw { to: web.service.at(80), pieces, pause_ms: 500, wait_ms: 10_000, until };
    let answer = web.client.pieces(raw)?;
    assert!(answer.received.starts_with("HTTP/1.1 101") && answer.ended == "until", "{answer:?}");
    let refused: WsReport = web.world.client.ask(&format!("ws --to {}", web.service.at(80)))?;
    assert_eq!(refused.refused, Some(200), "a server that does not switch");
    Ok(())
}

#[test]
fn connect_is_refused_in_words_or_carried_to_its_end() -> Result<()> {
    let mut web = Web::new("http-connect")?;
    let connect = "CONNECT web:80 HTTP/1.1\r\nhost: web:80\r\n\r\n";
    let pieces = vec![connect.to_owned(), "through".to_owned()];
    let raw = Raw { to: web.service.at(80), pieces, pause_ms: 500, wait_ms: 3_000, until: Some("through".to_owned()) };
    let answer = web.client.pieces(raw)?;
    let status = answer.received.get(9..12).context("an answer")?.to_owned();
    if status == "200" {
        assert!(answer.received.ends_with("through"), "{answer:?}");
    } else {
        assert!(status.starts_with('4') || status.starts_with('5'), "{answer:?}");
        assert!(!answer.received.contains("through"), "{answer:?}");
        assert!(web.server.requests().is_empty(), "refused, and yet forwarded");
    }
    Ok(())
}

#[test]
fn hop_by_hop_headers_end_at_the_mesh() -> Result<()> {
    let mut web = Web::new("http-hops")?;
    let ask =
        web.get("/").header("connection", "x-hop, keep-alive").header("x-hop", "1").header("keep-alive", "timeout=5");
    let ask = ask.header("proxy-connection", "keep-alive").header("te", "gzip").header("x-stays", "1");
    let ask =
        ask.header("x-answer", "connection: x-back").header("x-answer", "x-back: 1").header("x-answer", "x-kept: 1");
    let (answer, seen) = web.seen(ask)?;
    for name in ["x-hop", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert_eq!(seen.header(name), None, "{name}: {seen:?}");
    }
    assert_eq!((seen.header("x-stays").as_deref(), answer.header("x-kept").as_deref()), (Some("1"), Some("1")));
    assert_eq!(answer.header("x-back"), None, "{answer:?}");
    Ok(())
}

#[test]
fn declared_versions_are_spoken_to_the_server_whatever_the_client_speaks() -> Result<()> {
    let web = Web::new("http-versions")?;
    let service = web.world.bed.service("versions", &[(80, 8080), (81, 8080), (82, 8080)])?;
    let ports = json!([
        {"name": "one", "protocol": "TCP", "port": 80, "targetPort": 8080, "appProtocol": "kubernetes.io/ws"},
        {"name": "two", "protocol": "TCP", "port": 81, "targetPort": 8080, "appProtocol": "kubernetes.io/h2c"},
        {"name": "any", "protocol": "TCP", "port": 82, "targetPort": 8080, "appProtocol": "http"},
    ]);
    service.specify("ports", ports)?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "versions-named", "namespace": "default", "labels": {"kubernetes.io/service-name": "versions"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [web.world.far.v4()], "conditions": {"ready": true}, "nodeName": web.world.far.node().name()}],
        "ports": [{"name": "one", "protocol": "TCP", "port": 8080}, {"name": "two", "protocol": "TCP", "port": 8080},
            {"name": "any", "protocol": "TCP", "port": 8080}],
    });
    web.world.bed.objects().put(&slice)?;
    web.world.settle()?;
    let mut client = Client::of(&web.world.client)?;
    let trailers = vec![("x-t".to_owned(), "1".to_owned())];
    for (port, declared) in [(80, Some("HTTP/1.1")), (81, Some("HTTP/2.0")), (82, None)] {
        for h2 in [false, true] {
            let ask = Ask {
                h2,
                body_bytes: 50_000,
                trailers: trailers.clone(),
                ..Ask::to(service.at(port)).host("versions").method("POST").header("trailer", "x-t")
            };
            // Where the version is left open, it is the client's.
            let version = declared.unwrap_or(if h2 { "HTTP/2.0" } else { "HTTP/1.1" });
            let answer = client.ask(ask.target("/x?y"))?;
            assert_eq!(answer.status, 200, "port {port}, h2 {h2}: {answer:?}");
            let seen = answer.seen().with_context(|| format!("{answer:?}"))?;
            assert_eq!(
                (seen.version.as_str(), seen.host.as_deref(), seen.target.as_str()),
                (version, Some("versions"), "/x?y"),
                "h2 {h2}"
            );
            assert_eq!((seen.body, seen.trailers.len()), (Some(patterned(50_000)), 1), "port {port}, h2 {h2}");
        }
    }
    Ok(())
}

#[test]
fn every_way_through_the_mesh_is_http_alike() -> Result<()> {
    let mut web = Web::new("http-ways")?;
    let _near = Server::start(&web.world.near, "--listen 8080 --name near")?;
    let stranger = web.world.stranger()?;
    let mut outside = Client::of(&stranger)?;
    let (near, far) = (&web.world.near, &web.world.far);
    for (to, name) in [(near.at(8080), "near"), (near.at6(8080), "near"), (far.at(8080), "far"), (far.at6(8080), "far")]
    {
        for h2 in [false, true] {
            let ask = Ask { h2, body_bytes: 200_000, ..Ask::to(to).host("web").method("POST") };
            let answer = web.client.ask(ask.clone())?;
            let seen = answer.seen().with_context(|| format!("{to}, h2 {h2}: {answer:?}"))?;
            assert_eq!((seen.server.as_str(), seen.body), (name, Some(patterned(200_000))), "{to}, h2 {h2}");
            let answer = outside.ask(ask)?;
            let seen = answer.seen().with_context(|| format!("in plaintext to {to}, h2 {h2}: {answer:?}"))?;
            assert_eq!((seen.server.as_str(), seen.body), (name, Some(patterned(200_000))), "{to}, h2 {h2}");
        }
    }
    Ok(())
}
