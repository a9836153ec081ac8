//! Watching what records end with.

#![expect(clippy::unwrap_used, reason = "a failed test is the message")]

use std::time::Duration;

use http::StatusCode;

use super::*;
use crate::{
    mesh::ServiceName,
    observe::{
        ConnectionRecord, Failure, Observer, Reporter, RequestProtocol, RequestStart, ResponseFlag, RootName,
        Transport,
        request::tests::start,
        tests::{party, silent, workload},
    },
};

fn request(observer: &Observer, path: &str, status: u16, flag: Option<ResponseFlag>) {
    let mut record = observer.request(RequestStart { path, ..start(RequestProtocol::Http1) });
    record.set_service(ServiceName { namespace: "shop".into(), name: "web".into() });
    record.set_server(party("10.2.0.2:8080", Some(workload("web", ""))));
    record.set_route("HTTPRoute shop/web rules[0]");
    record.bytes().add_sent(10);
    record.responded(StatusCode::from_u16(status).unwrap());
    record.finish(match flag {
        None => Ok(()),
        Some(flag) => Err(Failure { flag, error: "it failed".to_owned(), denied_by: None }),
    });
}

fn second(watch: &mut FlowWatch) -> serde_json::Value {
    watch.live.end_second();
    serde_json::from_str(&watch.seconds.try_recv().unwrap()).unwrap()
}

fn flows(watch: &mut FlowWatch) -> Vec<serde_json::Value> {
    second(watch)["flows"].as_array().unwrap().clone()
}

#[test]
fn nothing_is_kept_while_nobody_watches() {
    let observer = silent();
    request(&observer, "/before", 200, None);
    let mut watch = observer.watch_flows().unwrap();
    assert_eq!(flows(&mut watch).len(), 0);
    request(&observer, "/now", 200, None);
    drop(watch);
    assert!(!observer.inner.live.is_watched());
    request(&observer, "/after", 200, None);
    let mut watch = observer.watch_flows().unwrap();
    assert_eq!(
        flows(&mut watch).iter().map(|flow| flow["count"].as_u64().unwrap()).sum::<u64>(),
        1,
        "of the first watch"
    );
}

#[test]
fn what_is_alike_is_summed_up_and_what_is_not_is_told_apart() {
    let observer = silent();
    let mut watch = observer.watch_flows().unwrap();
    for (path, status, flag) in
        [("/", 200, None), ("/a", 404, None), ("/", 500, None), ("/", 503, Some(ResponseFlag::NoHealthyUpstream))]
    {
        request(&observer, path, status, flag);
    }
    let flows = second(&mut watch)["flows"].take();
    let latencies = flows[0]["latencies"].clone();
    assert_eq!(latencies.as_array().unwrap().iter().map(|step| step[1].as_u64().unwrap()).sum::<u64>(), 4);
    assert_eq!(
        flows,
        serde_json::json!([{
            "direction": "outbound", "source": {"namespace": "default", "workload": "client"},
            "destination": {"namespace": "default", "workload": "web"}, "service": "web.shop.svc.cluster.local",
            "protocol": "http/1", "route": "HTTPRoute shop/web rules[0]", "mutualTls": null,
            "count": 4, "failed": 2, "statuses": {"200": 1, "404": 1, "500": 1, "503": 1}, "flags": {"UH": 1},
            "latencies": latencies, "open": 0, "sent": 40, "received": 0,
        }])
    );
    assert_eq!(second(&mut watch)["flows"], serde_json::json!([]), "a second begins with nothing");
}

/// A connection that is joined, or one whose dial goes on.
fn connection(observer: &Observer, transport: Transport) -> ConnectionRecord {
    let mut record = observer.connection(crate::observe::tests::start());
    record.set_server(party("10.2.0.2:5432", Some(workload("db", ""))));
    record.set_transport(transport);
    record
}

/// Of the one flow of a second: how many ended, how many are open, bytes there and back.
fn numbers(second: &serde_json::Value) -> [u64; 4] {
    let [flow] = &second["flows"].as_array().unwrap()[..] else { panic!("one flow: {second}") };
    ["count", "open", "sent", "received"].map(|name| flow[name].as_u64().unwrap())
}

#[tokio::test]
async fn a_connection_is_told_while_it_is_open_and_each_byte_of_it_once() {
    let observer = silent();
    let mut record = connection(&observer, Transport::Plain);
    let bytes = record.opened();
    bytes.add_sent(1_000_000);
    let mut watch = observer.watch_flows().unwrap();
    let first = serde_json::from_str(&watch.next().await.unwrap().0).unwrap();
    assert_eq!(numbers(&first), [0, 1, 0, 0], "at once, and nothing of what passed before");
    bytes.add_sent(5);
    bytes.add_received(7);
    assert_eq!(numbers(&second(&mut watch)), [0, 1, 5, 7]);
    bytes.add_sent(3);
    let mut other = observer.watch_flows().unwrap();
    let first = serde_json::from_str(&other.next().await.unwrap().0).unwrap();
    assert_eq!(numbers(&first), [0, 1, 0, 0], "who comes later");
    assert_eq!(numbers(&second(&mut watch)), [0, 1, 3, 0], "takes nothing from who was there");
    assert_eq!(numbers(&second(&mut watch)), [0, 1, 0, 0], "silent, and there");
    bytes.add_received(2);
    record.finish(Ok(()));
    assert_eq!(numbers(&second(&mut watch)), [1, 0, 0, 2], "its end, with what was not told yet");
}

#[test]
fn the_lock_of_a_connection_is_known_and_what_never_travelled_has_none() {
    let observer = silent();
    let mut watch = observer.watch_flows().unwrap();
    let hbone = Transport::Hbone { tls_version: "TLSv1_3", group: "X25519", root: RootName::of(b"a root") };
    for (transport, told) in [(hbone, Some(true)), (Transport::Plain, Some(false)), (Transport::Unsent, None)] {
        let failure = Failure { flag: ResponseFlag::NoHealthyUpstream, error: String::new(), denied_by: None };
        connection(&observer, transport).finish(Err(failure));
        assert_eq!(flows(&mut watch)[0]["mutualTls"], serde_json::json!(told), "{transport:?}");
    }
}

#[test]
fn beyond_the_bound_flows_are_only_counted() {
    let observer = silent();
    let mut watch = observer.watch_flows().unwrap();
    for number in 0..5_000u32 {
        let client = party(&format!("10.9.{}.{}:1", number / 250, number % 250), None);
        let start = crate::observe::ConnectionStart {
            reporter: Reporter::Destination,
            client,
            original_dst: "10.1.0.1:80".parse().unwrap(),
            generation: 1,
        };
        observer.connection(start).finish(Ok(()));
    }
    let mut open = connection(&observer, Transport::Plain);
    open.opened();
    let second = second(&mut watch);
    assert_eq!((second["flows"].as_array().unwrap().len(), &second["leftOut"]), (4_096, &905.into()));
    open.finish(Ok(()));
}

#[tokio::test]
async fn a_tap_shows_what_passes_its_filter_as_the_access_log_writes_it() {
    let observer = silent();
    let filter = TapFilter::parse([("path", "/a"), ("status", "4xx")]).unwrap();
    let mut tap = observer.tap(filter).unwrap();
    for (path, status) in [("/a", 200), ("/b", 404), ("/a/b", 404)] {
        request(&observer, path, status, None);
    }
    let Some(TapEvent::Line(line)) = tap.next().await else { panic!("a line") };
    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
    assert_eq!((&line["path"], &line["status"]), (&"/a/b".into(), &404.into()));
    assert!(tokio::time::timeout(Duration::from_millis(20), tap.next()).await.is_err(), "no other passes");
}

#[tokio::test]
async fn who_does_not_read_loses_and_is_told_how_much() {
    let observer = silent();
    let mut tap = observer.tap(TapFilter::default()).unwrap();
    for _ in 0..1_500 {
        request(&observer, "/", 200, None);
    }
    assert_eq!(tap.next().await, Some(TapEvent::Lost(476)));
    assert!(matches!(tap.next().await, Some(TapEvent::Line(_))));
    let told = |line: &str| observer.scrape().unwrap().any(|piece| piece.lines().any(|found| found == line));
    assert!(told("heddle_watch_lost_total{what=\"ends\"} 476") && told("heddle_watchers{kind=\"taps\"} 1"));
    drop(tap);
    assert!(told("heddle_watch_lost_total{what=\"ends\"} 476") && told("heddle_watchers{kind=\"taps\"} 0"));
}

#[tokio::test]
async fn seconds_and_flows_that_watchers_do_not_see_are_counted() {
    let observer = silent();
    let mut watch = observer.watch_flows().unwrap();
    let live = &observer.inner.live;
    for number in 0..4096 + 3 {
        let mut record = observer.request(start(RequestProtocol::Http1));
        record.set_service(ServiceName { namespace: "shop".into(), name: format!("web-{number}").as_str().into() });
        record.finish(Ok(()));
    }
    (0..BEHIND + 2).for_each(|_| live.end_second());
    assert_eq!(watch.next().await.unwrap().1, 0, "what is open");
    assert_eq!(watch.next().await.unwrap().1, 2);
    let told = |line: &str| observer.scrape().unwrap().any(|piece| piece.lines().any(|found| found == line));
    for line in [
        "heddle_watchers{kind=\"flows\"} 1",
        "heddle_watch_lost_total{what=\"seconds\"} 2",
        "heddle_watch_lost_total{what=\"flows\"} 3",
    ] {
        assert!(told(line), "{line}");
    }
}

#[test]
fn there_is_a_bound_to_watchers_of_each_kind() {
    let observer = silent();
    let flows: Vec<_> = (0..MOST_WATCHERS).map(|_| observer.watch_flows().unwrap()).collect();
    assert!(observer.watch_flows().is_err());
    let taps: Vec<_> = (0..MOST_WATCHERS).map(|_| observer.tap(TapFilter::default()).unwrap()).collect();
    assert!(observer.tap(TapFilter::default()).is_err());
    drop((flows, taps));
    assert!(observer.watch_flows().is_ok() && observer.tap(TapFilter::default()).is_ok());
}

#[test]
fn filters_ask_for_one_thing_each() {
    let observer = silent();
    let cases: [(&[(&str, &str)], bool); 22] = [
        (&[], true),
        (&[("source", "client")], true),
        (&[("source", "client-1")], true),
        (&[("source", "default/client")], true),
        (&[("source", "shop/client")], false),
        (&[("source", "10.1.0.1")], true),
        (&[("source", "web")], false),
        (&[("destination", "web")], true),
        (&[("destination", "10.2.0.9")], false),
        (&[("service", "web")], true),
        (&[("service", "shop/web")], true),
        (&[("service", "web.shop.svc.cluster.local")], true),
        (&[("service", "default/web")], false),
        (&[("direction", "inbound")], false),
        (&[("protocol", "http/1")], true),
        (&[("protocol", "tcp")], false),
        (&[("method", "get")], true),
        (&[("status", "503")], true),
        (&[("status", "500-502")], false),
        (&[("failed", "true")], true),
        (&[("failed", "false")], false),
        (&[("failed", "true"), ("method", "POST")], false),
    ];
    for (pairs, passes) in cases {
        let mut tap = observer.tap(TapFilter::parse(pairs.iter().copied()).unwrap()).unwrap();
        request(&observer, "/", 503, Some(ResponseFlag::NoHealthyUpstream));
        let next = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(async { tokio::time::timeout(Duration::from_millis(5), tap.next()).await });
        assert_eq!(next.is_ok(), passes, "{pairs:?}");
    }
}

#[test]
fn a_filter_that_means_nothing_says_what_would() {
    let cases = [
        (("colour", "red"), "there is no filter \"colour\"; there are source, destination,"),
        (("source", "a/b/c"), "source=\"a/b/c\" means nothing; allowed are the name of a workload or pod"),
        (("source", "/b"), "source=\"/b\" means nothing"),
        (("status", "9xx"), "status=\"9xx\" means nothing; allowed are a status, a class such as 5xx"),
        (("status", "500-400"), "status=\"500-400\" means nothing"),
        (("path", "a"), "path=\"a\" means nothing"),
        (("direction", "up"), "direction=\"up\" means nothing; allowed are outbound, inbound"),
        (("protocol", "udp"), "protocol=\"udp\" means nothing"),
        (("failed", "yes"), "failed=\"yes\" means nothing; allowed are true, false"),
        (("method", ""), "method=\"\" means nothing"),
        (("service", ""), "service=\"\" means nothing"),
    ];
    for (pair, expected) in cases {
        let said = TapFilter::parse([pair]).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{said}");
    }
}
