//! What is HTTP and what is not: declared, sniffed, learned; and nothing waits for long that is not.

use anyhow::{Result, ensure};
use heddle_tests::peer::grpc::GrpcReport;
use heddle_tests::peer::http::report::{Ask, Raw};
use heddle_tests::peer::report::ProbeReport;
use serde_json::json;

use super::tools::{Client, Server, Web, document, in_force, listening, route};
use crate::world::{SOON, World, echoed, eventually, probe};

/// Longer than detection may take, shorter than any timeout that would hide its absence.
const STALL_MS: f64 = 2_000.0;

#[test]
fn a_server_that_speaks_first_is_heard_without_a_word_of_the_client() -> Result<()> {
    let world = World::new("http-server-first")?;
    let _greeting = world.far.serve("--listen 2525 --greet hello-from-the-server")?;
    let service = world.bed.service("mail", &[(25, 2525)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    for to in [service.at(25), service.at6(25), world.far.at(2525)] {
        for turn in 0..3 {
            let report: ProbeReport = world.client.ask(&format!("probe --to {to} --watch-ms 8000"))?;
            assert_eq!(report.data.as_deref(), Some("hello-from-the-server\n"), "{to}, turn {turn}: {report:?}");
            ensure!(report.after_ms.is_some_and(|ms| ms < STALL_MS), "{to}, turn {turn}: {report:?}");
        }
    }
    Ok(())
}

#[test]
fn a_server_of_http2_that_speaks_first_is_one_of_http_all_the_same() -> Result<()> {
    let world = World::new("http-settings-first")?;
    // tonic's server sends its SETTINGS before it has read anything.
    let _calls = listening(&world.far, "grpc-serve --listen 9000 --name calls")?;
    let service = world.bed.service("calls", &[(80, 9000)])?;
    service.backends(&[&world.far])?;
    let denied = "{selector: {matchLabels: {app: far}}, action: DENY, rules: [{to: [{operation: {paths: [/never]}}]}]}";
    in_force(&world, &document("security.istio.io/v1", "AuthorizationPolicy", "never", denied))?;
    for turn in 0..30 {
        let report: GrpcReport = world.client.ask(&format!("grpc --to {}", service.at(80)))?;
        // A connection that is taken for bytes is refused: nobody can tell what its path is.
        assert_eq!(report.calls[0].code, "OK", "turn {turn}: {report:?}");
    }
    let metrics = world.b.metrics()?;
    let by_bytes = metrics.sum("heddle_protocol_detections_total", &[("direction", "inbound"), ("protocol", "tcp")]);
    assert_eq!(by_bytes, 0.0, "{}", metrics.heddle());
    Ok(())
}

#[test]
fn protocols_that_are_not_http_pass_as_they_are_wherever_their_client_begins() -> Result<()> {
    let world = World::new("http-opaque")?;
    let _echo = world.far.serve("--listen 9000")?;
    let service = world.bed.service("tcp", &[(9000, 9000)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    let mut client = Client::of(&world.client)?;
    let to = service.at(9000);
    // Like a method, like TLS, like HTTP/2, a single byte, and nothing of these.
    for bytes in [
        "GETX no request\n",
        "G",
        "\u{16}\u{3}\u{1}no hello",
        "PRI * HTTX/2.0 no preface",
        "\0\u{1}\u{2}",
        "SSH-2.0-x\r\n",
    ] {
        let answer = client.pieces(Raw {
            to,
            pieces: vec![bytes.to_owned()],
            pause_ms: 0,
            wait_ms: 8_000,
            until: Some(bytes.to_owned()),
        })?;
        assert_eq!((answer.received.as_str(), answer.ended.as_str()), (bytes, "until"), "{bytes:?}");
        ensure!(answer.ms < STALL_MS, "{bytes:?} took {} ms", answer.ms);
    }
    // A method that comes in two pieces is HTTP all the same: an echo is no answer to it, and the client is told so.
    let pieces = vec!["GE".to_owned(), "T / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()];
    let raw = Raw { to, pieces, pause_ms: 20, wait_ms: 8_000, until: Some("\r\n\r\n".to_owned()) };
    let answer = client.pieces(raw)?;
    assert!(answer.received.starts_with("HTTP/1.1 50"), "{answer:?}");
    Ok(())
}

#[test]
fn undeclared_ports_are_sniffed_on_every_way() -> Result<()> {
    let mut web = Web::new("http-sniffed")?;
    in_force(
        &web.world,
        &route(
            "[{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-by, value: mesh}]}}], backendRefs: [{name: web, port: 80}]}]",
        ),
    )?;
    for to in [web.service.at(80), web.service.at6(80)] {
        for h2 in [false, true] {
            let (_, seen) = web.seen(Ask { h2, ..Ask::to(to).host("web") })?;
            assert_eq!(seen.header("x-by").as_deref(), Some("mesh"), "{to}, h2 {h2}");
        }
    }
    let (_, seen) = web.seen(Ask::to(web.world.far.at(8080)))?;
    assert_eq!(seen.header("x-by"), None, "a pod's address matches no route of a Service");
    // In pieces, as a slow client sends it.
    let request = "POST /pieces HTTP/1.1\r\nhost: web\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
    let pieces: Vec<String> = request.chars().map(String::from).collect();
    let raw = Raw { to: web.service.at(80), pieces, pause_ms: 5, wait_ms: 8_000, until: None };
    let answer = web.client.pieces(raw)?;
    assert!(answer.received.starts_with("HTTP/1.1 200") && answer.received.contains("x-by"), "{answer:?}");
    Ok(())
}

#[test]
fn a_client_that_is_silent_for_long_is_connected_all_the_same() -> Result<()> {
    let mut web = Web::new("http-late")?;
    let pieces = vec![String::new(), "GET /late HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n".to_owned()];
    let raw = Raw { to: web.service.at(80), pieces, pause_ms: 1_500, wait_ms: 8_000, until: None };
    let answer = web.client.pieces(raw)?;
    assert!(answer.received.starts_with("HTTP/1.1 200"), "{answer:?}");
    Ok(())
}

#[test]
fn opaque_ports_are_never_parsed() -> Result<()> {
    let web = Web::new("http-opaque-ports")?;
    let pod = web.world.far.node().pod("opaque").annotation("heddle.io/opaque-ports", "8080").start()?;
    let server = Server::start(&pod, "--listen 8080 --name opaque")?;
    let service = web.world.bed.service("opaque", &[(80, 8080)])?;
    service.backends(&[&pod])?;
    web.world.settle()?;
    let mut client = Client::of(&web.world.client)?;
    for to in [service.at(80), pod.at(8080)] {
        // An agent that parsed it would join the lines, spell names in small letters, and end `connection` here.
        let request = "GET /opaque HTTP/1.1\r\nHoSt: web\r\nConnection: x-hop, close\r\nx-hop: 1\r\n\r\n";
        let answer = client.raw(to, request, 8_000)?;
        assert!(answer.received.starts_with("HTTP/1.1 200"), "{to}: {answer:?}");
    }
    let seen = server.requests();
    assert!(seen.len() == 2 && seen.iter().all(|seen| seen.header("x-hop").as_deref() == Some("1")), "{seen:?}");
    assert!(
        seen.iter()
            .all(|seen| seen.header("x-request-id").is_none() && seen.header("x-forwarded-client-cert").is_none())
    );
    Ok(())
}

#[test]
fn ports_declared_as_tcp_are_not_parsed_and_those_as_http_are() -> Result<()> {
    let world = World::new("http-declared")?;
    let server = Server::start(&world.far, "--listen 8080")?;
    let service = world.bed.service("declared", &[(80, 8080)])?;
    service.backends(&[&world.far])?;
    let mut client = Client::of(&world.client)?;
    for (app_protocol, is_parsed) in [("tcp", false), ("http", true), ("tcp", false), ("http", true)] {
        let port =
            json!([{"name": "p80", "protocol": "TCP", "port": 80, "targetPort": 8080, "appProtocol": app_protocol}]);
        service.specify("ports", port)?;
        world.settle()?;
        let before = server.requests().len();
        let request = "GET / HTTP/1.1\r\nhost: web\r\nconnection: x-hop, close\r\nx-hop: 1\r\n\r\n";
        let answer = client.raw(service.at(80), request, 8_000)?;
        assert!(answer.received.starts_with("HTTP/1.1 200"), "{app_protocol}: {answer:?}");
        let seen = server.requests().split_off(before);
        // The server's own node does not know the Service's declaration, and may parse what the client's did not.
        assert!(seen.len() == 1 && (!is_parsed || seen[0].header("x-hop").is_none()), "{app_protocol}: {seen:?}");
    }
    let _echo = world.far.serve("--listen 9000")?;
    let echo = world.bed.service("echo", &[(80, 9000)])?;
    echo.backends(&[&world.far])?;
    echo.specify(
        "ports",
        json!([{"name": "p80", "protocol": "TCP", "port": 80, "targetPort": 9000, "appProtocol": "tcp"}]),
    )?;
    world.settle()?;
    assert!(echoed(&probe(&world.client, echo.at(80), "GET-nothing")?, "GET-nothing"));
    Ok(())
}

#[test]
fn connections_are_counted_by_what_they_turned_out_to_be() -> Result<()> {
    let mut web = Web::new("http-detected")?;
    assert_eq!(web.client.ask(web.get("/"))?.status, 200);
    assert_eq!(web.client.ask(Ask { h2: true, ..web.get("/") })?.status, 200);
    let counted = ["http1", "http2"];
    eventually("both are counted", SOON, || {
        let metrics = web.world.a.metrics()?;
        let of = |protocol: &str| metrics.sum("heddle_protocol_detections_total", &[("protocol", protocol)]);
        Ok(counted.iter().all(|protocol| of(protocol) > 0.0))
    })
}

#[test]
fn a_route_of_http_leaves_other_protocols_refused() -> Result<()> {
    let web = Web::new("http-only")?;
    in_force(&web.world, &route("[{backendRefs: [{name: web, port: 80}]}]"))?;
    let mut client = Client::of(&web.world.client)?;
    let answer = client.raw(web.service.at(80), "\0\u{1}\u{2}no HTTP", 8_000)?;
    let is_refused = answer.received.is_empty() || answer.received.starts_with("HTTP/1.1 400");
    assert!(is_refused && answer.ended != "open", "{answer:?}");
    assert_eq!(web.server.events(), [], "not a byte of it arrived");
    Ok(())
}
