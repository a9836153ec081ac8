//! Which endpoint or version gets a request: weights, headers, sessions, failing endpoints, mirrors.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use heddle_tests::bed::Pod;
use heddle_tests::peer::http::report::Answer;

use super::tools::{HttpLoad, Server, Web, document, is_share, route};
use crate::world::{SOON, eventually};

const RULES: &str = "networking.istio.io/v1";

fn servers(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for answer in answers {
        let server = answer.header("x-server").unwrap_or_else(|| answer.status.to_string());
        *found.entry(server).or_default() += 1;
    }
    found
}

/// Three more pods behind the Service web, in place of `far`; their servers answer by the pods' names.
fn three(web: &Web) -> Result<Vec<(Pod, Server)>> {
    let node = web.world.far.node();
    let start = |name: &str| -> Result<(Pod, Server)> {
        let pod = node.pod(name).start()?;
        let server = Server::start(&pod, &format!("--listen 8080 --name {name}"))?;
        Ok((pod, server))
    };
    let all = [start("one")?, start("two")?, start("three")?];
    web.service.backends(&all.iter().map(|(pod, _)| pod).collect::<Vec<_>>())?;
    crate::world::enrolled(&web.world.b, 4)?;
    web.world.settle()?;
    Ok(all.into())
}

#[test]
fn a_canary_gets_its_share_of_five_hundred_requests() -> Result<()> {
    let mut web = Web::new("http-canary")?;
    let _versions = [web.version("v1")?, web.version("v2")?];
    web.in_force(&route("[{backendRefs: [{name: v1, port: 80, weight: 70}, {name: v2, port: 80, weight: 30}]}]"))?;
    for h2 in [false, true] {
        let mut ask = web.get("/").times(500, 4);
        ask.h2 = h2;
        let found = servers(&web.client.all(ask)?);
        let count = |name: &str| found.get(name).copied().unwrap_or(0);
        assert_eq!(count("v1") + count("v2"), 500, "{found:?}");
        assert!(is_share(count("v1"), 500, 0.7), "{found:?}");
    }
    Ok(())
}

#[test]
fn a_header_leads_to_another_version_on_one_connection() -> Result<()> {
    let mut web = Web::new("http-header-route")?;
    let _versions = [web.version("v1")?, web.version("v2")?];
    web.in_force(&route(
        "[{matches: [{headers: [{name: x-tester, value: \"yes\"}]}], backendRefs: [{name: v2, port: 80}]}, \
          {backendRefs: [{name: v1, port: 80}]}]",
    ))?;
    let request = |header: &str| format!("GET / HTTP/1.1\r\nhost: web\r\n{header}\r\n");
    let all = request("")
        + &request("X-Tester: yes\r\n")
        + &request("x-tester: no\r\n")
        + &request("x-tester: yes\r\nconnection: close\r\n");
    let answer = web.client.raw(web.service.at(80), &all, 8_000)?;
    let lines = answer.received.to_lowercase();
    let by: Vec<&str> = lines.match_indices("x-server: ").map(|(at, _)| &lines[at + 10..at + 12]).collect();
    assert_eq!(by, ["v1", "v2", "v1", "v2"], "{answer:?}");
    Ok(())
}

#[test]
fn every_endpoint_of_a_service_gets_requests_of_one_connection() -> Result<()> {
    let mut web = Web::new("http-per-request")?;
    let _three = three(&web)?;
    // One after the other they go where it was fastest, which need not be everywhere.
    let found = servers(&web.client.all(web.get("/").times(100, 1))?);
    assert!(found.len() >= 2 && found.values().sum::<usize>() == 100, "{found:?}");
    // Over one connection each, all at once: whoever is busy is passed over.
    let found = servers(&web.client.all(web.get("/").behave("delay=20").times(300, 15))?);
    assert_eq!((found.len(), found.values().sum::<usize>()), (3, 300), "{found:?}");
    assert!(found.values().all(|count| *count >= 20), "none is left out: {found:?}");
    Ok(())
}

#[test]
fn round_robin_is_even_and_a_hash_is_faithful() -> Result<()> {
    let mut web = Web::new("http-balancers")?;
    let _three = three(&web)?;
    let rule = |balancer: &str| {
        document(
            RULES,
            "DestinationRule",
            "web",
            &format!("{{host: web, trafficPolicy: {{loadBalancer: {balancer}}}}}"),
        )
    };
    web.in_force(&rule("{simple: ROUND_ROBIN}"))?;
    let found = servers(&web.client.all(web.get("/").times(90, 1))?);
    assert!(found.len() == 3 && found.values().all(|count| (28..=32).contains(count)), "{found:?}");
    web.in_force(&rule("{consistentHash: {httpHeaderName: x-user, maglev: {}}}"))?;
    let mut by_user = BTreeSet::new();
    for user in 0..20 {
        let found = servers(&web.client.all(web.get("/").header("x-user", &format!("user-{user}")).times(6, 2))?);
        assert_eq!(found.len(), 1, "user {user}: {found:?}");
        by_user.extend(found.into_keys());
    }
    // That one of three is never chosen by 20 users has a chance of one in a thousand, but the hash is the same every time.
    assert!(by_user.len() >= 2, "{by_user:?}");
    Ok(())
}

#[test]
fn a_session_stays_with_its_endpoint_by_cookie_and_by_header() -> Result<()> {
    let mut web = Web::new("http-session")?;
    let _three = three(&web)?;
    for (kind, name) in [("Cookie", "sid"), ("Header", "x-session")] {
        web.in_force(&route(&format!(
            "[{{sessionPersistence: {{sessionName: {name}, type: {kind}}}, backendRefs: [{{name: web, port: 80}}]}}]"
        )))?;
        let first = web.client.ask(web.get("/"))?;
        let session = match kind {
            "Cookie" => {
                first.header("set-cookie").context("a cookie")?.split(';').next().unwrap_or_default().to_owned()
            }
            _ => first.header(name).context("a session")?,
        };
        let header = if kind == "Cookie" { "cookie" } else { name };
        assert!(kind == "Header" || session.starts_with("sid="), "{session}");
        let answers = web.client.all(web.get("/").header(header, &session).times(40, 4))?;
        let found = servers(&answers);
        assert_eq!(found.keys().next(), first.header("x-server").as_ref(), "{kind}: {found:?}");
        assert_eq!((found.len(), found.values().sum::<usize>()), (1, 40), "{kind}: {found:?}");
        let forged = web.client.all(web.get("/").header(header, "sid=nonsense").times(20, 2))?;
        assert!(forged.iter().all(|answer| answer.status == 200), "{kind}: a session of nobody is a new one");
    }
    Ok(())
}

#[test]
fn a_policys_sessions_are_those_of_the_backend_and_outlive_its_weight() -> Result<()> {
    let mut web = Web::new("http-session-policy")?;
    let _versions = [web.version("v1")?, web.version("v2")?];
    let weights = |one: u32, two: u32| {
        let rules = format!(
            "[{{backendRefs: [{{name: v1, port: 80, weight: {one}}}, {{name: v2, port: 80, weight: {two}}}]}}]"
        );
        let policy = "{targetRefs: [{group: \"\", kind: Service, name: v1}], sessionPersistence: {sessionName: sid}}";
        route(&rules) + &document("gateway.networking.x-k8s.io/v1alpha1", "XBackendTrafficPolicy", "v1", policy)
    };
    web.in_force(&weights(1, 0))?;
    let told = web.client.ask(web.get("/a/b"))?.header("set-cookie").context("a cookie")?;
    assert!(told.starts_with("sid=") && !told.contains("Path="), "{told}");
    web.in_force(&weights(0, 1))?;
    let new = web.client.ask(web.get("/"))?;
    assert_eq!((new.header("x-server").as_deref(), new.header("set-cookie")), (Some("v2"), None), "no policy: {new:?}");
    let cookie = told.split(';').next().unwrap_or_default();
    let found = servers(&web.client.all(web.get("/").header("cookie", cookie).times(20, 2))?);
    assert_eq!(found, [("v1".to_owned(), 20)].into());
    Ok(())
}

#[test]
fn a_session_is_given_to_others_when_its_endpoint_goes() -> Result<()> {
    let mut web = Web::new("http-session-gone")?;
    let three = three(&web)?;
    web.in_force(&route("[{sessionPersistence: {sessionName: sid}, backendRefs: [{name: web, port: 80}]}]"))?;
    let first = web.client.ask(web.get("/"))?;
    let cookie = first.header("set-cookie").context("a cookie")?.split(';').next().unwrap_or_default().to_owned();
    let gone = first.header("x-server").context("a server")?;
    web.service
        .backends(&three.iter().filter(|(pod, _)| pod.name() != gone).map(|(pod, _)| pod).collect::<Vec<_>>())?;
    web.world.settle()?;
    let answers = web.client.all(web.get("/").header("cookie", &cookie).times(5, 1))?;
    assert!(
        answers.iter().all(|answer| answer.status == 200 && answer.header("x-server") != Some(gone.clone())),
        "{answers:?}"
    );
    assert!(answers[0].header("set-cookie").is_some(), "the client is told its new session: {:?}", answers[0]);
    Ok(())
}

#[test]
fn an_endpoint_that_dies_under_load_costs_no_request_where_there_are_retries() -> Result<()> {
    let web = Web::new("http-killed")?;
    let mut three = three(&web)?;
    web.in_force(&route(
        "[{retry: {codes: [502, 503, 504], attempts: 3, backoff: 10ms}, backendRefs: [{name: web, port: 80}]}]",
    ))?;
    for h2 in ["", "--h2"] {
        let load =
            HttpLoad::start(&web.world.client, &format!("--to {} --host web {h2} --pause-ms 2", web.service.at(80)))?;
        std::thread::sleep(Duration::from_millis(700));
        let (pod, mut server) = three.pop().context("one more")?;
        server.process().kill()?;
        std::thread::sleep(Duration::from_millis(1_500));
        let report = load.end()?;
        let good: u64 =
            report.answers.iter().filter(|(answer, _)| answer.starts_with("200 ")).map(|(_, count)| count).sum();
        assert!(report.failures.is_empty() && good == report.attempted, "{h2}: {report:?}\n{}", web.said()?);
        assert!(report.answers.contains_key(&format!("200 {}", pod.name())), "it had its share before: {report:?}");
    }
    Ok(())
}

#[test]
fn an_endpoint_that_fails_again_and_again_is_left_out_and_tried_by_a_request_later() -> Result<()> {
    let mut web = Web::new("http-ejection")?;
    let mut three = three(&web)?;
    let bad_pod = three[0].0.clone();
    three[0].1.process().kill()?;
    let bad = Server::start(&bad_pod, "--listen 8080 --name bad --behave fail=6:all;status=503")?;
    web.in_force(&document(
        RULES,
        "DestinationRule",
        "web",
        "{host: web, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 3, interval: 1s, \
          baseEjectionTime: 2s, maxEjectionPercent: 50}}}",
    ))?;
    let statuses = |answers: &[Answer]| answers.iter().filter(|answer| answer.status == 503).count();
    let first = web.client.all(web.get("/").times(60, 1))?;
    let failed = statuses(&first);
    ensure!(
        (3..=5).contains(&failed),
        "{failed} requests failed before the endpoint was left out: {:?}",
        servers(&first)
    );
    web.world.a.wait_metrics("it is counted", SOON, |metrics| {
        metrics.sum("heddle_ejections_total", &[]) >= 1.0 && metrics.get("heddle_ejected_endpoints", &[]) == Some(1.0)
    })?;
    let reached = bad.requests().len();
    let meanwhile = web.client.all(web.get("/").times(30, 1))?;
    assert_eq!(bad.requests().len(), reached, "left out: {:?}", servers(&meanwhile));
    assert!(meanwhile.iter().all(|answer| answer.status == 200));
    eventually("it serves again", SOON * 3, || {
        let answers = web.client.all(web.get("/").times(6, 1))?;
        Ok(servers(&answers).contains_key("bad") && statuses(&answers) == 0)
    })?;
    assert_eq!(web.world.a.metrics()?.get("heddle_ejected_endpoints", &[]), Some(0.0));
    Ok(())
}

#[test]
fn copies_go_to_the_mirror_and_change_nothing_for_the_client() -> Result<()> {
    let mut web = Web::new("http-mirror")?;
    let (_pod, _service, copies) = web.version("copies")?;
    web.in_force(&route(
        "[{matches: [{path: {value: /all}}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copies, port: 80}}}], \
           backendRefs: [{name: web, port: 80}]}, \
          {matches: [{path: {value: /some}}], filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copies, port: 80}, percent: 20}}], \
           backendRefs: [{name: web, port: 80}]}]",
    ))?;
    let copied = |path: &str| copies.requests().iter().filter(|seen| seen.target.starts_with(path)).count();
    let answers = web.client.all(web.get("/all").method("POST").body("with a body").header("x-a", "1").times(20, 2))?;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.header("x-server").as_deref() == Some("far")));
    eventually("all copies have arrived", SOON, || Ok(copied("/all") == 20))?;
    let seen = copies.requests().pop().context("a copy")?;
    assert_eq!((seen.method.as_str(), seen.header("x-a").as_deref()), ("POST", Some("1")), "{seen:?}");
    let _ = web.client.all(web.get("/some").times(500, 4))?;
    // What is on its way arrives; nothing is waited for that does not come.
    std::thread::sleep(Duration::from_secs(1));
    assert!(is_share(copied("/some"), 500, 0.2), "{} of 500", copied("/some"));
    assert_eq!(copied("/all"), 20);
    Ok(())
}

#[test]
fn a_mirror_that_is_slow_or_gone_harms_nobody() -> Result<()> {
    let mut web = Web::new("http-mirror-gone")?;
    let (_pod, _service, mut copies) = web.version("copies")?;
    let filter = "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: copies, port: 80}}}]";
    web.in_force(&route(&format!("[{{{filter}, backendRefs: [{{name: web, port: 80}}]}}]")))?;
    copies.process().signal(rustix::process::Signal::STOP)?;
    let answers = web.client.all(web.get("/").times(50, 5))?;
    let slowest = answers.iter().map(|answer| answer.ms).fold(0.0, f64::max);
    assert!(answers.iter().all(|answer| answer.status == 200) && slowest < 3_000.0, "{slowest} ms");
    copies.process().signal(rustix::process::Signal::CONT)?;
    copies.process().kill()?;
    assert!(web.client.all(web.get("/").times(20, 2))?.iter().all(|answer| answer.status == 200));
    Ok(())
}
