//! Fallbacks: who serves where nobody of a Service can, and what is never sent there.

use anyhow::Result;
use heddle_tests::bed::{Pod, Service};
use heddle_tests::peer::grpc::GrpcReport;
use heddle_tests::peer::http::report::{Answer, Ask, Raw};
use serde_json::Value;

use super::tools::{Server, Web, document, in_force, listening, route};
use crate::world::{SOON, World, enrolled, probe, refused};

const OWN: &str = "heddle.io/v1alpha1";
const ISTIO: &str = "networking.istio.io/v1";

/// A Fallback for all ports of one Service, to port 80 of another.
fn fallback(target: &str, backend: &str) -> String {
    let spec =
        format!("{{targetRefs: [{{kind: Service, name: {target}}}], backendRef: {{name: {backend}, port: 80}}}}");
    document(OWN, "Fallback", target, &spec)
}

/// How often the client's agent counted that a fallback took over.
fn counted(world: &World, protocol: &str, reason: &str) -> Result<f64> {
    Ok(world.a.metrics()?.sum("heddle_fallbacks_total", &[("protocol", protocol), ("reason", reason)]))
}

/// Another pod of the second node, with an identity of its own.
fn spare_pod(world: &World) -> Result<Pod> {
    let pod = world.far.node().pod("spare").service_account("spare").start()?;
    enrolled(&world.b, 2)?;
    Ok(pod)
}

/// The Service web, which is the pod far, and the Service spare, which takes over from it.
struct Spare {
    web: Web,
    spare: Server,
    service: Service,
    pod: Pod,
}

impl Spare {
    fn new(name: &str, more: &str) -> Result<Self> {
        let web = Web::new(name)?;
        let pod = spare_pod(&web.world)?;
        let spare = Server::start(&pod, "--listen 8080 --name spare")?;
        let service = web.world.bed.service("spare", &[(80, 8080)])?;
        service.backends(&[&pod])?;
        web.in_force(&(fallback("web", "spare") + more))?;
        Ok(Self { web, spare, service, pod })
    }

    fn get(&self, h2: bool) -> Ask {
        Ask { h2, ..self.web.get("/") }
    }

    fn post(&self, h2: bool) -> Ask {
        self.get(h2).method("POST").body("replayed")
    }

    /// Who answers; the status, where nobody does.
    fn who(&mut self, ask: Ask) -> Result<String> {
        let answer = self.web.client.ask(ask)?;
        Ok(answer.header("x-server").unwrap_or_else(|| answer.status.to_string()))
    }

    /// One of them answers whatever is asked in both versions, and has whole bodies.
    fn all_by(&mut self, server: &str) -> Result<()> {
        for h2 in [false, true] {
            for ask in [self.get(h2), self.post(h2), self.get(h2)] {
                let length = ask.body.len() as u64;
                let (_, seen) = self.web.seen(ask)?;
                let body = seen.body.map_or(0, |body| body.bytes);
                assert_eq!((seen.server.as_str(), body), (server, length), "{} {}", seen.version, seen.method);
            }
        }
        Ok(())
    }

    fn counted(&self, reason: &str) -> Result<f64> {
        counted(&self.web.world, "http", reason)
    }

    fn logged(&mut self, path: &str) -> Result<Value> {
        self.web.world.a.wait_access_log(SOON, |line| line["path"] == path)
    }
}

#[test]
fn without_endpoints_the_fallback_answers_until_there_are_some() -> Result<()> {
    let mut world = Spare::new("fallback-empty", "")?;
    world.all_by("far")?;
    assert_eq!(world.counted("no_endpoint")?, 0.0);
    world.web.service.backends(&[])?;
    world.web.world.settle()?;
    world.all_by("spare")?;
    assert_eq!(world.counted("no_endpoint")?, 6.0);
    assert_eq!(world.who(world.web.get("/log"))?, "spare");
    let line = world.logged("/log")?;
    assert_eq!(line["service"], "spare.default.svc.cluster.local", "who got it, not who was asked: {line}");
    assert_eq!(line["destination_identity"], world.pod.identity(), "it proved its own identity: {line}");
    assert_eq!((&line["flag"], &line["tries"]), (&"-".into(), &1.into()), "{line}");
    world.web.service.backends(&[&world.web.world.far])?;
    world.web.world.settle()?;
    world.all_by("far")?;
    assert_eq!(world.counted("no_endpoint")?, 7.0, "nothing goes there any more");
    Ok(())
}

#[test]
fn what_no_dead_endpoint_has_seen_the_fallback_answers_until_it_lives() -> Result<()> {
    let mut world = Spare::new("fallback-dead", "")?;
    // Connections to it are kept, and there are new ones: both must lead to the fallback.
    world.all_by("far")?;
    world.web.server.process().kill()?;
    world.all_by("spare")?;
    assert_eq!((world.counted("not_reached")?, world.spare.requests().len()), (6.0, 6), "each once");
    assert_eq!(world.who(world.web.get("/log"))?, "spare");
    let line = world.logged("/log")?;
    assert_eq!((&line["tries"], &line["flag"]), (&3.into(), &"-".into()), "two that retries allow, and one: {line}");
    world.web.server = Server::start(&world.web.world.far, "--listen 8080 --name far")?;
    world.all_by("far")?;
    Ok(())
}

#[test]
fn an_endpoint_outside_the_mesh_that_refuses_is_not_reached_either() -> Result<()> {
    let mut world = Spare::new("fallback-outside", "")?;
    let stranger = world.web.world.stranger()?;
    world.web.service.backends(&[&stranger])?;
    world.web.world.settle()?;
    world.all_by("spare")?;
    assert_eq!(world.counted("not_reached")?, 6.0);
    let _server = Server::start(&stranger, "--listen 8080 --name stranger")?;
    world.all_by("stranger")?;
    Ok(())
}

#[test]
fn an_endpoint_that_does_not_answer_in_time_is_not_reached_either() -> Result<()> {
    let limits = "{host: web, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 300ms}}}}";
    let mut world = Spare::new("fallback-silent", &document(ISTIO, "DestinationRule", "web", limits))?;
    world.web.world.far.black_hole(true)?;
    for h2 in [false, true] {
        let answer = world.web.client.ask(world.post(h2))?;
        assert_eq!(answer.header("x-server").as_deref(), Some("spare"), "{answer:?}");
        assert!((600.0..3_000.0).contains(&answer.head_ms), "two tries of 300 ms before: {answer:?}");
    }
    assert_eq!(world.counted("not_reached")?, 2.0);
    Ok(())
}

#[test]
fn what_a_server_may_have_seen_is_never_sent_to_the_fallback() -> Result<()> {
    let rules = "[{matches: [{path: {value: /late}}], timeouts: {request: 400ms}, backendRefs: [{name: web, port: 80}]}, \
                 {matches: [{path: {value: /again}}], retry: {codes: [503], attempts: 1}, backendRefs: [{name: web, port: 80}]}, \
                 {backendRefs: [{name: web, port: 80}]}]";
    let mut world = Spare::new("fallback-seen", &route(rules))?;
    for h2 in [false, true] {
        for (path, how, statuses) in [
            ("/reset", "cut=reset", 502..=504),
            ("/cut", "cut=before", 502..=504),
            ("/busy", "status=503", 503..=503),
            ("/again", "status=503", 503..=503),
            ("/late", "delay=3000", 504..=504),
        ] {
            for ask in [world.get(h2), world.post(h2)] {
                let answer = world.web.client.ask(ask.target(path).behave(how))?;
                assert!(statuses.contains(&answer.status), "{path}, h2 {h2}: {answer:?}");
            }
        }
    }
    // Only an agent may say that nobody has seen a request.
    let forged = world.post(false).behave("status=503").header("x-answer", "x-heddle-undelivered: 1");
    let answer = world.web.client.ask(forged)?;
    assert_eq!((answer.status, answer.header("x-heddle-undelivered")), (503, None), "{answer:?}");
    assert_eq!(world.spare.requests().len(), 0, "{:?}", world.spare.requests());
    let deny =
        "{selector: {matchLabels: {app: far}}, action: DENY, rules: [{from: [{source: {principals: [\"*\"]}}]}]}";
    let policy = document("security.istio.io/v1", "AuthorizationPolicy", "nobody", deny);
    world.web.in_force(&(fallback("web", "spare") + &policy))?;
    for h2 in [false, true] {
        let answer = world.web.client.ask(world.get(h2))?;
        assert!([403, 503].contains(&answer.status), "refused by a policy: {answer:?}");
    }
    assert_eq!(world.spare.requests().len(), 0, "what a policy refuses is no failure to get around");
    // It would have been there.
    world.web.in_force(&fallback("web", "spare"))?;
    world.web.server.process().kill()?;
    world.all_by("spare")
}

#[test]
fn with_nobody_to_take_over_the_request_fails_as_it_would() -> Result<()> {
    let mut world = Spare::new("fallback-gone", "")?;
    world.service.backends(&[])?;
    world.web.service.backends(&[])?;
    world.web.world.settle()?;
    // Its way has failed before the client has said that it speaks HTTP.
    let pieces = ["GE", "T /slow HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n"].map(ToOwned::to_owned).to_vec();
    let slow = Raw { to: world.web.service.at(80), pieces, pause_ms: 40, wait_ms: 5_000, until: None };
    let answer = world.web.client.pieces(slow)?;
    assert!(answer.received.starts_with("HTTP/1.1 503"), "{answer:?}");
    assert_eq!(world.who(world.web.get("/nobody"))?, "503");
    let line = world.logged("/nobody")?;
    assert_eq!((&line["flag"], &line["service"]), (&"UH".into(), &"web.default.svc.cluster.local".into()), "{line}");
    world.web.service.backends(&[&world.web.world.far])?;
    world.service.backends(&[&world.pod])?;
    world.web.world.settle()?;
    world.web.server.process().kill()?;
    world.spare.process().kill()?;
    assert_eq!(world.who(world.web.get("/dead").method("POST").body("x"))?, "503");
    let line = world.logged("/dead")?;
    assert_eq!(line["service"], "spare.default.svc.cluster.local", "the last that was tried: {line}");
    assert!(["UF", "CONNECT"].contains(&line["flag"].as_str().unwrap_or_default()), "{line}");
    // A Fallback to nowhere is told, and changes nothing.
    world.web.in_force(&fallback("web", "nowhere"))?;
    assert_eq!(world.who(world.web.get("/nowhere"))?, "503");
    assert_eq!(world.logged("/nowhere")?["service"], "web.default.svc.cluster.local");
    let problems = world.web.world.a.get_json("/status")?["problems"].to_string();
    assert!(problems.contains("there is no Service default/nowhere, so nobody takes over"), "{problems}");
    Ok(())
}

#[test]
fn what_is_more_than_the_limits_goes_to_the_fallback() -> Result<()> {
    let pool = "connectionPool: {http: {http2MaxRequests: 2}}";
    let limits = document(ISTIO, "DestinationRule", "web", &format!("{{host: web, trafficPolicy: {{{pool}}}}}"));
    let mut world = Spare::new("fallback-overflow", &limits)?;
    let answers = world.web.client.all(world.web.get("/").behave("delay=700").times(8, 8))?;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let by = |name: &str| {
        answers.iter().filter(|answer: &&Answer| answer.header("x-server").as_deref() == Some(name)).count()
    };
    assert_eq!((by("far"), by("spare")), (2, 6), "{answers:?}");
    assert_eq!(world.counted("overflow")?, 6.0);
    Ok(())
}

#[test]
fn while_the_only_endpoint_wants_to_be_left_alone_the_fallback_serves() -> Result<()> {
    let mut world = Spare::new("fallback-left-alone", "")?;
    let busy = world.get(false).behave("status=429").header("x-answer", "retry-after: 30");
    assert_eq!(world.web.client.ask(busy)?.status, 429, "what it answers is the answer");
    world.all_by("spare")?;
    assert_eq!(world.counted("no_endpoint")?, 6.0);
    // Without a Fallback, it is better than nobody.
    world.web.in_force("---\n")?;
    world.all_by("far")
}

#[test]
fn the_route_keeps_its_edits_and_the_fallback_gets_no_session() -> Result<()> {
    let rules = "[{sessionPersistence: {sessionName: sid, type: Cookie}, filters: [\
                 {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-route, value: \"yes\"}]}}, \
                 {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-said, value: \"yes\"}]}}, \
                 {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}], \
                 backendRefs: [{name: web, port: 80}]}]";
    let of_spare =
        "{parentRefs: [{group: \"\", kind: Service, name: spare}], rules: [{matches: [{path: {value: /none}}]}]}";
    let of_spare = document("gateway.networking.k8s.io/v1", "HTTPRoute", "spare", of_spare);
    let mut world = Spare::new("fallback-edits", &(route(rules) + &of_spare))?;
    let (answer, seen) = world.web.seen(world.get(false))?;
    assert!(answer.header("set-cookie").is_some_and(|cookie| cookie.starts_with("sid=")), "{answer:?}");
    assert_eq!((seen.server.as_str(), seen.target.as_str()), ("far", "/new"));
    for empty in [false, true] {
        if empty {
            world.web.service.backends(&[])?;
            world.web.world.settle()?;
        } else {
            world.web.server.process().kill()?;
        }
        let (answer, seen) = world.web.seen(world.post(false))?;
        assert_eq!((seen.server.as_str(), seen.target.as_str()), ("spare", "/new"), "its own routes do not apply");
        assert_eq!(seen.header("x-route").as_deref(), Some("yes"));
        assert_eq!((answer.header("x-said").as_deref(), answer.header("set-cookie")), (Some("yes"), None));
    }
    Ok(())
}

#[test]
fn calls_of_grpc_are_taken_over() -> Result<()> {
    let world = World::new("fallback-grpc")?;
    let mut server = listening(&world.far, "grpc-serve --listen 9000 --name far")?;
    let pod = spare_pod(&world)?;
    let _spare = listening(&pod, "grpc-serve --listen 9000 --name spare")?;
    let (calls, spare) = (world.bed.service("calls", &[(80, 9000)])?, world.bed.service("spare", &[(80, 9000)])?);
    spare.backends(&[&pod])?;
    calls.backends(&[&world.far])?;
    in_force(&world, &fallback("calls", "spare"))?;
    let ask = || -> Result<(String, String)> {
        let report: GrpcReport = world.client.ask(&format!("grpc --to {} --method bidi", calls.at(80)))?;
        Ok((report.calls[0].code.clone(), report.calls[0].server.clone()))
    };
    let by = |name: &str| ("OK".to_owned(), name.to_owned());
    assert_eq!(ask()?, by("far"));
    server.kill()?;
    assert_eq!(ask()?, by("spare"));
    calls.backends(&[])?;
    world.settle()?;
    assert_eq!(ask()?, by("spare"));
    assert_eq!((counted(&world, "http", "not_reached")?, counted(&world, "http", "no_endpoint")?), (1.0, 1.0));
    Ok(())
}

#[test]
fn connections_that_are_carried_as_bytes_are_taken_over() -> Result<()> {
    let mut world = World::new("fallback-bytes")?;
    let pod = spare_pod(&world)?;
    for pod in [&world.far, &pod] {
        pod.annotate("heddle.io/opaque-ports", Some("9001"))?;
    }
    let mut far = world.far.serve("--listen 9001 --greet far")?;
    let mut other = pod.serve("--listen 9001 --greet spare")?;
    let (service, spare) = (world.bed.service("bytes", &[(80, 9001)])?, world.bed.service("spare", &[(80, 9001)])?);
    spare.backends(&[&pod])?;
    service.backends(&[&world.far])?;
    in_force(&world, &fallback("bytes", "spare"))?;
    let to = service.at(80);
    let who = |world: &World| -> Result<String> {
        let data = probe(&world.client, to, "hello")?.data.unwrap_or_default();
        Ok(data.lines().next().unwrap_or_default().to_owned())
    };
    assert_eq!(who(&world)?, "far");
    far.kill()?;
    assert_eq!(who(&world)?, "spare", "nobody listens");
    service.backends(&[])?;
    world.settle()?;
    assert_eq!(who(&world)?, "spare", "no endpoint");
    assert_eq!((counted(&world, "tcp", "not_reached")?, counted(&world, "tcp", "no_endpoint")?), (1.0, 1.0));
    let lines = crate::world::lines_to(&world.log_of_a()?, to, "outbound");
    let services: Vec<&str> = lines.iter().filter_map(|line| line["service"].as_str()).collect();
    let (own, other_name) = ("bytes.default.svc.cluster.local", "spare.default.svc.cluster.local");
    assert_eq!(services, [own, other_name, other_name]);
    let _far = world.far.serve("--listen 9001 --greet back")?;
    service.backends(&[&world.far])?;
    world.settle()?;
    assert_eq!(who(&world)?, "back");
    other.kill()?;
    service.backends(&[])?;
    world.settle()?;
    assert!(refused(&probe(&world.client, to, "hello")?), "nobody is left");
    Ok(())
}
