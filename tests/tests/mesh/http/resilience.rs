//! Limits, faults, timeouts and retries, as clients see them.

use anyhow::Result;
use heddle_tests::peer::grpc::GrpcReport;
use heddle_tests::peer::http::report::{Answer, Ask};

use super::tools::{Client, Web, document, listening, route};
use crate::world::{SOON, eventually};

const OWN: &str = "heddle.io/v1alpha1";
const ISTIO: &str = "networking.istio.io/v1";

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

#[test]
fn a_limit_answers_429_and_says_when_to_come_back() -> Result<()> {
    let mut web = Web::new("http-limit")?;
    let limit = |spec: &str| document(OWN, "RateLimit", "few", spec);
    let service = "targetRefs: [{group: \"\", kind: Service, name: web}]";
    web.in_force(&limit(&format!("{{{service}, limits: [{{requests: 5, interval: 60s}}]}}")))?;
    let answers = web.client.all(web.get("/").times(12, 1))?;
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((5..=6).contains(&passed), "{:?}", statuses(&answers));
    let refused = answers.last().unwrap();
    assert_eq!(refused.status, 429, "{refused:?}");
    let wait: u64 = refused.header("retry-after").unwrap_or_default().parse().unwrap_or(0);
    assert!((1..=60).contains(&wait), "{refused:?}");
    assert_eq!(web.server.requests().len(), passed, "what is refused reaches nobody");
    Ok(())
}

#[test]
fn a_limit_per_source_counts_each_identity_by_itself() -> Result<()> {
    let mut web = Web::new("http-limit-source")?;
    let spec = "{targetRefs: [{group: \"\", kind: Service, name: web}], limits: [{requests: 3, interval: 60s, per: {type: Source}}]}";
    web.in_force(&document(OWN, "RateLimit", "each", spec))?;
    let mut near = Client::of(&web.world.near)?;
    let first = web.client.all(web.get("/").times(8, 1))?;
    let second = near.all(web.get("/").times(8, 1))?;
    for answers in [first, second] {
        let passed = answers.iter().filter(|answer| answer.status == 200).count();
        assert!((3..=4).contains(&passed), "{:?}", statuses(&answers));
    }
    Ok(())
}

#[test]
fn a_limit_of_a_route_counts_what_the_route_takes() -> Result<()> {
    let mut web = Web::new("http-limit-route")?;
    let filter = "filters: [{type: ExtensionRef, extensionRef: {group: heddle.io, kind: RateLimit, name: few}}]";
    let rules = format!(
        "[{{matches: [{{path: {{value: /limited}}}}], {filter}, backendRefs: [{{name: web, port: 80}}]}}, {{backendRefs: [{{name: web, port: 80}}]}}]"
    );
    web.in_force(&(route(&rules) + &document(OWN, "RateLimit", "few", "{limits: [{requests: 2, interval: 60s}]}")))?;
    let limited = web.client.all(web.get("/limited").times(6, 1))?;
    assert!(limited.iter().filter(|answer| answer.status == 429).count() >= 3, "{:?}", statuses(&limited));
    assert_eq!(statuses(&web.client.all(web.get("/free").times(10, 1))?), [200; 10]);
    Ok(())
}

#[test]
fn faults_delay_and_abort_those_whom_they_are_for() -> Result<()> {
    let mut web = Web::new("http-faults")?;
    let filter = |name: &str| {
        format!(
            "filters: [{{type: ExtensionRef, extensionRef: {{group: heddle.io, kind: FaultInjection, name: {name}}}}}]"
        )
    };
    let rule = |path: &str, name: &str| {
        format!("{{matches: [{{path: {{value: {path}}}}}], {}, backendRefs: [{{name: web, port: 80}}]}}", filter(name))
    };
    let header = "headers: [{name: x-chaos, value: \"on\"}]";
    web.in_force(
        &(route(&format!("[{}, {}]", rule("/slow", "slow"), rule("/broken", "broken")))
            + &document(OWN, "FaultInjection", "slow", &format!("{{{header}, delay: {{fixedDelay: 700ms}}}}"))
            + &document(OWN, "FaultInjection", "broken", &format!("{{{header}, abort: {{httpStatus: 418}}}}"))),
    )?;
    let chaos = |ask: Ask| ask.header("x-chaos", "on");
    let quick = web.client.ask(web.get("/slow"))?;
    let slow = web.client.ask(chaos(web.get("/slow")))?;
    assert_eq!((quick.status, slow.status), (200, 200));
    assert!(slow.head_ms >= 700.0, "{slow:?}");
    assert_eq!(web.client.ask(web.get("/broken"))?.status, 200);
    let before = web.server.requests().len();
    assert_eq!(web.client.ask(chaos(web.get("/broken")))?.status, 418);
    assert_eq!(web.server.requests().len(), before, "what is aborted reaches nobody");
    Ok(())
}

#[test]
fn a_delay_on_purpose_takes_of_the_requests_time() -> Result<()> {
    let mut web = Web::new("http-fault-timeout")?;
    let filter = "filters: [{type: ExtensionRef, extensionRef: {group: heddle.io, kind: FaultInjection, name: slow}}]";
    web.in_force(
        &(route(&format!("[{{timeouts: {{request: 300ms}}, {filter}, backendRefs: [{{name: web, port: 80}}]}}]"))
            + &document(
                OWN,
                "FaultInjection",
                "slow",
                "{delay: {fixedDelay: 4s}, abort: {httpStatus: 418, percentage: 50}}",
            )),
    )?;
    for _ in 0..8 {
        let late = web.client.ask(web.get("/"))?;
        assert_eq!(late.status, 504, "{late:?}");
        assert!((300.0..3_000.0).contains(&late.head_ms), "{late:?}");
    }
    assert!(web.server.requests().is_empty(), "what is too late reaches nobody");
    Ok(())
}

#[test]
fn timeouts_answer_504_in_time() -> Result<()> {
    let mut web = Web::new("http-timeouts")?;
    let rule = |path: &str, timeouts: &str| {
        format!(
            "{{matches: [{{path: {{value: {path}}}}}], timeouts: {timeouts}, backendRefs: [{{name: web, port: 80}}]}}"
        )
    };
    web.in_force(&route(&format!(
        "[{}, {}, {}]",
        rule("/all", "{request: 300ms}"),
        rule("/try", "{request: 5s, backendRequest: 300ms}"),
        rule("/none", "{request: 0s}")
    )))?;
    for h2 in [false, true] {
        for path in ["/all", "/try"] {
            let late = web.client.ask(Ask { h2, ..web.get(path).behave("delay=4000") })?;
            assert_eq!(late.status, 504, "{path}, h2 {h2}: {late:?}");
            assert!((300.0..3_000.0).contains(&late.head_ms), "{path}, h2 {h2}: {late:?}");
            assert_eq!(web.client.ask(Ask { h2, ..web.get(path) })?.status, 200);
        }
        assert_eq!(web.client.ask(Ask { h2, ..web.get("/none").behave("delay=1500") })?.status, 200);
    }
    Ok(())
}

#[test]
fn retries_hide_two_failures_and_give_back_the_last_when_they_end() -> Result<()> {
    let mut web = Web::new("http-retries")?;
    web.in_force(&route(
        "[{retry: {codes: [503], attempts: 2, backoff: 10ms}, backendRefs: [{name: web, port: 80}]}]",
    ))?;
    for h2 in [false, true] {
        let plain = Ask { h2, ..web.get("/") };
        let ask = |path: &str, how: &str| plain.clone().target(path).behave(how);
        let twice = web.client.ask(ask("/twice", &format!("fail=2:twice{h2};status=503")))?;
        assert_eq!((twice.status, tries(&web, "/twice", h2)), (200, 3), "{twice:?}");
        let thrice = web.client.ask(ask("/thrice", &format!("fail=3:thrice{h2};status=503")))?;
        assert_eq!((thrice.status, tries(&web, "/thrice", h2)), (503, 3), "{thrice:?}");
        let other = web.client.ask(ask("/other", &format!("fail=1:other{h2};status=500")))?;
        assert_eq!(
            (other.status, tries(&web, "/other", h2)),
            (500, 1),
            "a status that the route does not name: {other:?}"
        );
        let small =
            web.client.ask(ask("/small", &format!("fail=1:small{h2};status=503")).method("POST").body("replayed"))?;
        assert_eq!((small.status, tries(&web, "/small", h2)), (200, 2), "{small:?}");
        assert_eq!(small.seen().and_then(|seen| seen.body).map(|body| body.bytes), Some(8));
        let large =
            Ask { body_bytes: 300_000, ..ask("/large", &format!("fail=1:large{h2};status=503")).method("POST") };
        let large = web.client.ask(large)?;
        assert_eq!((large.status, tries(&web, "/large", h2)), (503, 1), "more than is kept: {large:?}");
    }
    Ok(())
}

fn tries(web: &Web, path: &str, h2: bool) -> usize {
    let version = if h2 { "HTTP/2.0" } else { "HTTP/1.1" };
    web.server.requests().iter().filter(|seen| seen.target.starts_with(path) && seen.version == version).count()
}

#[test]
fn without_a_retry_nothing_that_may_have_been_done_is_done_twice() -> Result<()> {
    let mut web = Web::new("http-no-retries")?;
    for (method, path) in [("POST", "/post"), ("PATCH", "/patch")] {
        let answer = web.client.ask(web.get(path).method(method).body("x").behave("cut=before"))?;
        assert!(matches!(answer.status, 502..=504), "{answer:?}");
        assert_eq!(tries(&web, path, false), 1, "{method}");
    }
    let failed = web.client.ask(web.get("/failed").behave("status=503"))?;
    assert_eq!((failed.status, tries(&web, "/failed", false)), (503, 1));
    Ok(())
}

#[test]
fn what_overflows_a_breaker_gets_503_and_what_fits_is_served() -> Result<()> {
    let mut web = Web::new("http-breaker")?;
    let pool = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, http2MaxRequests: 2}}";
    web.in_force(&document(ISTIO, "DestinationRule", "web", &format!("{{host: web, trafficPolicy: {{{pool}}}}}")))?;
    // From now on the port is known to speak HTTP: while it is not, a connection is opened for a client that is slow to speak.
    assert_eq!(web.client.ask(web.get("/before"))?.status, 200);
    let answers = web.client.all(web.get("/").behave("delay=500").times(12, 12))?;
    let (served, refused): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty() && refused.len() >= 6, "{:?}", statuses(&answers));
    assert!(refused.iter().all(|answer| answer.status == 503 && answer.head_ms < 450.0), "at once: {refused:?}");
    assert_eq!(statuses(&web.client.all(web.get("/after").times(5, 1))?), [200; 5]);
    Ok(())
}

#[test]
fn a_breaker_that_refused_is_open_until_there_is_room() -> Result<()> {
    let mut web = Web::new("http-breaker-open")?;
    let policy = "{host: web, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}";
    web.in_force(&document(ISTIO, "DestinationRule", "web", policy))?;
    let open = |web: &Web| anyhow::Ok(web.world.a.metrics()?.get("heddle_open_breakers", &[("limit", "requests")]));
    let slow = web.client.begin(web.get("/slow").behave("delay=1500"))?;
    web.server.wait_request(|seen| seen.target == "/slow")?;
    assert_eq!(open(&web)?, Some(0.0), "it is full, and has refused nobody");
    assert_eq!(Client::of(&web.world.client)?.ask(web.get("/more"))?.status, 503);
    assert_eq!(open(&web)?, Some(1.0));
    assert_eq!(statuses(&web.client.end(slow)?), [200]);
    assert_eq!(web.client.ask(web.get("/after"))?.status, 200);
    assert_eq!(open(&web)?, Some(0.0));
    Ok(())
}

#[test]
fn what_overflows_a_breaker_is_not_tried_again_and_no_endpoints_failure() -> Result<()> {
    let mut web = Web::new("http-breaker-health")?;
    let (pod, _service, _other) = web.version("other")?;
    web.service.backends(&[&web.world.far, &pod])?;
    web.world.settle()?;
    let pool = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}";
    let outliers = "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}";
    let policy = format!("{{host: web, trafficPolicy: {{{pool}, {outliers}}}}}");
    web.in_force(
        &(route("[{retry: {codes: [503], attempts: 3}, backendRefs: [{name: web, port: 80}]}]")
            + &document(ISTIO, "DestinationRule", "web", &policy)),
    )?;
    let answers = web.client.all(web.get("/").behave("delay=500").times(12, 12))?;
    let refused = answers.iter().filter(|answer| answer.status == 503).count();
    assert!(refused >= 6, "{:?}", statuses(&answers));
    let metrics = web.world.a.metrics()?;
    assert_eq!(metrics.sum("heddle_ejections_total", &[]), 0.0);
    assert_eq!(metrics.sum("heddle_retries_total", &[("result", "again")]), 0.0);
    Ok(())
}

#[test]
fn a_copy_that_waits_holds_no_connection() -> Result<()> {
    let mut web = Web::new("http-mirror-breaker")?;
    let (_pod, service, copies) = web.version("copies")?;
    let filter = "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copies, port: 80}}}]";
    let pool = "{host: copies, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}";
    web.in_force(
        &(route(&format!("[{{{filter}, backendRefs: [{{name: web, port: 80}}]}}]"))
            + &document(ISTIO, "DestinationRule", "copies", pool)),
    )?;
    let slow = web.client.begin(web.get("/slow").behave("delay=2500"))?;
    web.server.wait_request(|seen| seen.target == "/slow")?;
    // The copy is sent when the request has been answered; until then its destination has a connection to give.
    let direct = Client::of(&web.world.client)?.ask(Ask::to(service.at(80)).host("copies").target("/direct"))?;
    assert!(direct.status == 200 && direct.head_ms < 1_500.0, "{direct:?}");
    assert_eq!(statuses(&web.client.end(slow)?), [200]);
    eventually("the copy has arrived", SOON, || Ok(copies.requests().iter().any(|seen| seen.target == "/slow")))?;
    Ok(())
}

#[test]
fn an_endpoint_that_asks_for_a_pause_is_not_asked_meanwhile() -> Result<()> {
    let mut web = Web::new("http-retry-after")?;
    let (pod, _service, other) = web.version("other")?;
    web.service.backends(&[&web.world.far, &pod])?;
    web.world.settle()?;
    let busy = web.get("/busy").behave("status=429").header("x-answer", "retry-after: 30");
    assert_eq!(web.client.ask(busy)?.status, 429);
    let (far, elsewhere) = (web.server.requests().len(), other.requests().len());
    let answers = web.client.all(web.get("/").times(30, 1))?;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let new = [web.server.requests().len() - far, other.requests().len() - elsewhere];
    assert!(new.contains(&0) && new.contains(&30), "one of two is left alone: {new:?}");
    Ok(())
}

#[test]
fn calls_fare_as_their_protocol_says() -> Result<()> {
    let web = Web::new("http-grpc-failures")?;
    let _calls = listening(&web.world.far, "grpc-serve --listen 9000 --name calls")?;
    let service = web.world.bed.service("calls", &[(80, 9000)])?;
    service.backends(&[&web.world.far])?;
    let route = |rules: &str| {
        let parent = "parentRefs: [{group: \"\", kind: Service, name: calls}]";
        document("gateway.networking.k8s.io/v1", "GRPCRoute", "calls", &format!("{{{parent}, rules: {rules}}}"))
    };
    let ask = |line: &str| -> Result<String> {
        let report: GrpcReport = web.world.client.ask(&format!("grpc --to {} {line}", service.at(80)))?;
        Ok(report.calls[0].code.clone())
    };
    web.in_force(&route(
        "[{matches: [{method: {service: heddle.test.Echo, method: Unary}}], backendRefs: [{name: calls, port: 80}]}]",
    ))?;
    assert_eq!(ask("--method unary")?, "OK");
    assert_eq!(ask("--method server")?, "UNIMPLEMENTED", "no rule matches");
    web.in_force(&route("[{backendRefs: [{name: nowhere, port: 80}]}]"))?;
    assert_eq!(ask("--method unary")?, "UNAVAILABLE", "nobody behind the rule");
    web.in_force(
        &(route("[{filters: [{type: ExtensionRef, extensionRef: {group: heddle.io, kind: RateLimit, name: few}}], backendRefs: [{name: calls, port: 80}]}]")
            + &document(OWN, "RateLimit", "few", "{limits: [{requests: 1, interval: 60s}]}")),
    )?;
    let report: GrpcReport = web.world.client.ask(&format!("grpc --to {} --times 4", service.at(80)))?;
    let last = report.calls.last().map(|call| call.code.as_str());
    assert!(matches!(last, Some("RESOURCE_EXHAUSTED" | "UNAVAILABLE")), "{report:?}");
    Ok(())
}
