//! Spans of requests through two nodes, as a collector gets them: joined to the application's trace, of the requests that are
//! to be recorded, and with what happened to them.

mod exporter;
mod python;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use heddle_tests::bed::{AgentBuilder, Bed, Node};
use heddle_tests::collector::{Collector, Seen};
use heddle_tests::peer::grpc::GrpcReport;
use heddle_tests::peer::http::report::Ask;
use serde_json::{Value, json};

use crate::http::tools::{Web, document, is_share, listening, route};
use crate::world::{SOON, World, eventually};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// The usual world with HTTP in it, and a collector on a node of its own.
pub(crate) struct Traced {
    pub(crate) collector: Collector,
    pub(crate) web: Web,
}

impl Traced {
    /// `share` is of the requests that nobody has decided over, in percent.
    pub(crate) fn new(name: &str, protocol: &str, share: f64) -> Result<Self> {
        let (bed, node) = watched(name)?;
        let collector = Collector::start(&node)?;
        let otlp = json!({"endpoint": format!("http://{}", collector.address()), "protocol": protocol});
        Ok(Self { web: within(bed, &otlp, share)?, collector })
    }

    /// The spans of a trace, once the collector has so many, by their kinds in the order of their beginning.
    fn trace(&self, trace: &str, count: usize) -> Result<Vec<Seen>> {
        let of = |spans: &[Seen]| spans.iter().filter(|span| span.trace == trace).cloned().collect::<Vec<_>>();
        let spans =
            self.collector.wait(&format!("{count} spans of {trace}"), SOON, |spans| of(spans).len() >= count)?;
        let mut spans = of(&spans);
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans.sort_by(|a, b| a.kind.cmp(&b.kind));
        Ok(spans)
    }

    /// The two spans of the only request up to now.
    pub(crate) fn pair(&self) -> Result<(Seen, Seen)> {
        let spans = self.collector.wait("two spans", SOON, |spans| spans.len() >= 2)?;
        assert_eq!(spans.len(), 2, "{spans:#?}");
        let of = |kind: &str| spans.iter().find(|span| span.kind == kind).cloned().context("no such span");
        let pair = (of("Client")?, of("Server")?);
        self.collector.forget();
        Ok(pair)
    }
}

/// A bed with a node for whoever watches it.
fn watched(name: &str) -> Result<(Bed, Node)> {
    let bed = Bed::new(name)?;
    let node = bed.node("watch")?;
    Ok((bed, node))
}

/// The usual world with HTTP in it, whose agents export to a collector.
fn within(bed: Bed, otlp: &Value, share: f64) -> Result<Web> {
    let configure = |agent: AgentBuilder| {
        agent.set("tracing", json!({"otlp": otlp, "samplingPercentage": share})).set("limits.drainTimeout", "3s")
    };
    Web::within(World::on(bed, configure)?)
}

fn traceparent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{SPAN}-{flags}")
}

/// Some other trace.
fn trace(number: u32) -> String {
    format!("{:032x}", u128::from(number) + 1)
}

fn subset(all: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(all.get(*key).map(String::as_str), Some(*value), "{key} in {all:#?}");
    }
}

#[test]
fn both_spans_are_joined_to_the_applications_trace_by_each_format_and_protocol() -> Result<()> {
    for protocol in ["grpc", "http"] {
        let mut traced = Traced::new("traces-joined", protocol, 0.0)?;
        let w3c = traceparent(TRACE, "01");
        let formats: [&[(&str, &str)]; 3] = [
            &[("traceparent", &w3c), ("tracestate", "vendor=x")],
            &[("b3", &format!("{TRACE}-{SPAN}-1"))],
            &[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")],
        ];
        for headers in formats {
            let mut ask = traced.web.get("/cart?secret=1");
            for (name, value) in headers {
                ask = ask.header(name, value);
            }
            let (_, seen) = traced.web.seen(ask)?;
            let (client, server) = traced.pair()?;
            assert_eq!([&*client.trace, &*server.trace], [TRACE; 2], "{protocol} {headers:?}");
            assert_eq!((&*client.parent, &server.parent), (SPAN, &client.id), "{protocol} {headers:?}");
            let header = |name: &str| seen.header(name).unwrap_or_default();
            // What the server's application gets makes its spans children of the server's agent's.
            match headers[0].0 {
                "traceparent" => {
                    assert_eq!(header("traceparent"), format!("00-{TRACE}-{}-01", server.id));
                    assert_eq!((header("tracestate").as_str(), server.state.as_str()), ("vendor=x", "vendor=x"));
                }
                "b3" => assert_eq!(header("b3"), format!("{TRACE}-{}-1-{}", server.id, client.id)),
                _ => {
                    let names = ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled"];
                    assert_eq!(names.map(header), [TRACE, &server.id, &client.id, "1"]);
                }
            }
            assert_eq!(seen.header("traceparent").is_some(), headers[0].0 == "traceparent", "no format is added");
            assert!(server.ms <= client.ms && client.ms > 0.0, "{client:?} {server:?}");
        }
    }
    Ok(())
}

#[test]
fn spans_say_whose_they_are_and_what_happened() -> Result<()> {
    let mut traced = Traced::new("traces-said", "grpc", 100.0)?;
    traced.web.in_force(&route("[{backendRefs: [{name: web, port: 80}]}]"))?;
    let ask = traced.web.get("/cart?secret=1").header("user-agent", "probe/1");
    let (_, seen) = traced.web.seen(ask)?;
    let (client, server) = traced.pair()?;
    let far = traced.web.world.far.at(8080);
    for (span, kind, resource) in [(&client, "Client", "client"), (&server, "Server", "far")] {
        assert_eq!((span.kind.as_str(), span.name.as_str(), &span.error), (kind, "GET", &None));
        subset(
            &span.resource,
            &[("service.name", resource), ("service.namespace", "default"), ("k8s.cluster.name", "Kubernetes")],
        );
        subset(
            &span.attributes,
            &[
                ("http.request.method", "GET"),
                ("url.path", "/cart"),
                ("http.response.status_code", "200"),
                ("network.protocol.version", "1.1"),
                ("server.address", "web"),
                ("tls.protocol.version", "1.3"),
                ("heddle.connection_security_policy", "mutual_tls"),
                ("heddle.source.workload", "client"),
                ("heddle.destination.workload", "far"),
                ("heddle.source.principal", "spiffe://cluster.local/ns/default/sa/client"),
                ("heddle.destination.principal", "spiffe://cluster.local/ns/default/sa/far"),
                ("heddle.endpoint", &far.to_string()),
                ("heddle.request_id", &seen.header("x-request-id").unwrap_or_default()),
            ],
        );
        assert!(!format!("{span:?}").contains("secret"), "the query may hold secrets");
    }
    subset(&client.resource, &[("k8s.node.name", "node-a"), ("k8s.pod.name", "client")]);
    subset(&server.resource, &[("k8s.node.name", "node-b"), ("k8s.pod.name", "far")]);
    subset(
        &client.attributes,
        &[
            ("heddle.direction", "outbound"),
            ("heddle.service", "web.default.svc.cluster.local"),
            ("heddle.route", "HTTPRoute default/web rules[0]"),
            ("heddle.tries", "1"),
            ("user_agent.original", "probe/1"),
        ],
    );
    subset(&server.attributes, &[("heddle.direction", "inbound")]);
    // The trace was begun by the client's agent, and its log lines have it.
    assert_eq!(client.parent, "");
    assert_eq!(seen.header("traceparent"), Some(format!("00-{}-{}-01", client.trace, server.id)));
    for (agent, direction) in [(&mut traced.web.world.a, "outbound"), (&mut traced.web.world.b, "inbound")] {
        let id = client.trace.clone();
        agent.wait_access_log(SOON, |line| line["direction"] == direction && line["trace_id"] == *id)?;
    }
    Ok(())
}

#[test]
fn who_began_the_trace_decides_and_else_a_share_that_both_agents_agree_on() -> Result<()> {
    let mut traced = Traced::new("traces-share", "grpc", 30.0)?;
    // Decided against, in each format: untouched, and never recorded.
    let no = traceparent(TRACE, "00");
    for (name, value) in [("traceparent", no.as_str()), ("b3", "0"), ("x-b3-sampled", "0")] {
        for _ in 0..20 {
            let (_, seen) = traced.web.seen(traced.web.get("/").header(name, value))?;
            assert_eq!(seen.header(name).as_deref(), Some(value));
        }
    }
    // Decided for: always.
    for number in 0..20 {
        traced.web.seen(traced.web.get("/").header("traceparent", &traceparent(&trace(number), "01")))?;
    }
    for number in 0..20 {
        traced.trace(&trace(number), 2)?;
    }
    assert_eq!(traced.collector.spans().len(), 40, "and no others");
    traced.collector.forget();
    // Not decided.
    const REQUESTS: u32 = 400;
    let mut recorded = BTreeMap::new();
    for answer in traced.web.client.all(traced.web.get("/").times(REQUESTS, 4))? {
        let seen = answer.seen().context("no answer")?;
        if let Some(parent) = seen.header("traceparent") {
            recorded.insert(parent[3..35].to_owned(), parent[36..52].to_owned());
        }
    }
    assert!(is_share(recorded.len(), REQUESTS, 0.3), "{} of {REQUESTS}", recorded.len());
    let spans = traced.collector.wait("both spans of each", SOON, |spans| spans.len() >= 2 * recorded.len())?;
    assert_eq!(spans.len(), 2 * recorded.len(), "those that are not recorded at one side are not at the other");
    for (trace, parent) in recorded {
        let [client, server] = &traced.trace(&trace, 2)?[..] else { panic!("two were asked for") };
        assert_eq!((&server.parent, &server.id), (&client.id, &parent));
    }
    Ok(())
}

#[test]
fn a_request_that_is_tried_again_is_one_span_and_each_try_a_child_of_it() -> Result<()> {
    let mut traced = Traced::new("traces-retry", "grpc", 100.0)?;
    traced.web.in_force(&route(
        "[{backendRefs: [{name: web, port: 80}], retry: {codes: [503], attempts: 3, backoff: 10ms}}]",
    ))?;
    let answer = traced.web.client.ask(traced.web.get("/").behave("fail=2:k;status=503"))?;
    assert_eq!(answer.status, 200, "{answer:?}");
    let spans = traced.collector.wait("a span and three children", SOON, |spans| spans.len() >= 4)?;
    let (clients, servers): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| span.kind == "Client");
    assert_eq!((clients.len(), servers.len()), (1, 3));
    subset(
        &clients[0].attributes,
        &[("heddle.tries", "3"), ("http.request.resend_count", "2"), ("http.response.status_code", "200")],
    );
    assert_eq!(clients[0].error, None);
    assert!(servers.iter().all(|server| server.parent == clients[0].id), "{servers:#?}");
    let statuses: Vec<_> = servers.iter().map(|server| (server.says("error.type"), server.error.is_some())).collect();
    assert_eq!(statuses, [("503", true), ("503", true), ("", false)]);
    Ok(())
}

#[test]
fn a_call_of_grpc_is_told_as_one() -> Result<()> {
    let traced = Traced::new("traces-grpc", "http", 100.0)?;
    let world = &traced.web.world;
    let _server = listening(&world.far, "grpc-serve --listen 9000 --name far")?;
    let service = world.bed.service("calls", &[(80, 9000)])?;
    service.backends(&[&world.far])?;
    world.settle()?;
    for (code, name, client_error, server_error) in
        [(0, "OK", "", ""), (5, "NOT_FOUND", "NOT_FOUND", ""), (13, "INTERNAL", "INTERNAL", "INTERNAL")]
    {
        let line = format!("grpc --to {} --code {code}", service.at(80));
        let report: GrpcReport = world.client.ask(&line)?;
        assert_eq!(report.calls[0].code, name);
        let (client, server) = traced.pair()?;
        for (span, error) in [(client, client_error), (server, server_error)] {
            assert_eq!(span.name, "heddle.test.Echo/Unary");
            let of_call = [
                ("rpc.system.name", "grpc"),
                ("rpc.method", "heddle.test.Echo/Unary"),
                ("rpc.response.status_code", name),
            ];
            subset(&span.attributes, &of_call);
            assert_eq!((span.says("error.type"), span.error.is_some()), (error, !error.is_empty()), "{span:#?}");
        }
    }
    Ok(())
}

#[test]
fn failures_are_errors_with_their_flag() -> Result<()> {
    let mut traced = Traced::new("traces-failed", "grpc", 100.0)?;
    let only = |spans: Vec<Seen>| {
        assert_eq!(spans.len(), 1, "{spans:#?}");
        spans.into_iter().next().context("a span")
    };
    // Nobody serves: there is no server's side.
    let empty = traced.web.world.bed.service("empty", &[(80, 8080)])?;
    traced.web.world.settle()?;
    let answer = traced.web.client.ask(Ask::to(empty.at(80)).host("empty"))?;
    assert_eq!(answer.status, 503);
    let span = only(traced.collector.wait("the client's span", SOON, |spans| !spans.is_empty())?)?;
    traced.collector.forget();
    subset(
        &span.attributes,
        &[("heddle.response_flag", "UH"), ("error.type", "UH"), ("http.response.status_code", "503")],
    );
    assert!(span.kind == "Client" && span.error.is_some_and(|error| !error.is_empty()));
    // Refused by a policy, at the server's side.
    let deny = "{selector: {matchLabels: {app: far}}, action: DENY, rules: [{to: [{operation: {paths: [/no]}}]}]}";
    traced.web.in_force(&document("security.istio.io/v1", "AuthorizationPolicy", "deny", deny))?;
    assert_eq!(traced.web.client.ask(traced.web.get("/no"))?.status, 403);
    let (client, server) = traced.pair()?;
    subset(
        &server.attributes,
        &[("heddle.response_flag", "UAEX"), ("heddle.policy", "AuthorizationPolicy default/deny")],
    );
    assert_eq!((client.says("error.type"), client.error.is_some(), server.error.is_some()), ("403", true, true));
    // What the application says is no failure of its own below 500.
    traced.web.client.ask(traced.web.get("/").behave("status=404"))?;
    let (client, server) = traced.pair()?;
    assert_eq!((client.error.is_some(), server.error.is_some()), (true, false));
    traced.web.client.ask(traced.web.get("/").behave("status=500"))?;
    let (client, server) = traced.pair()?;
    assert_eq!((client.says("error.type"), server.says("error.type")), ("500", "500"));
    Ok(())
}

#[test]
fn without_a_collector_headers_are_passed_on_as_they_came() -> Result<()> {
    let mut web = Web::new("traces-off")?;
    let parent = traceparent(TRACE, "01");
    let (_, seen) = web.seen(web.get("/").header("traceparent", &parent).header("b3", "1"))?;
    assert_eq!((seen.header("traceparent"), seen.header("b3").as_deref()), (Some(parent), Some("1")));
    let (_, seen) = web.seen(web.get("/"))?;
    assert_eq!(seen.header("traceparent"), None);
    assert_eq!(web.world.a.metrics()?.sum("heddle_span_exports_total", &[]), 0.0);
    Ok(())
}
