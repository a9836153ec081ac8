//! Watches: changes in order, selectors, bookmarks, streaming lists, resuming and 410.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use heddle_tests::kubernetes::Verb;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};

use super::raw::Raw;
use super::setting::{SOON, Setting, soon};

fn watch(setting: &Setting, query: &str) -> Result<Raw> {
    let mut raw = setting.raw()?;
    raw.send("GET", &format!("/api/v1/namespaces/default/pods?watch=true&{query}"), "", "")?;
    let (status, head) = raw.head()?;
    assert_eq!((status, head.contains("transfer-encoding: chunked")), (200, true), "{head}");
    Ok(raw)
}

/// The next event as `TYPE name`.
fn next(raw: &mut Raw) -> Result<String> {
    let (_, kind, object) = raw.event()?;
    Ok(format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or_default()))
}

#[tokio::test]
async fn changes_come_in_order_after_the_version_asked_for() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    let begin = setting.server.resource_version().to_string();
    setting.put_pod("b", "one")?;
    let pods = setting.pods().await?;
    let mut stream = pin!(pods.watch(&WatchParams::default(), &begin).await?);
    setting.put_pod("b", "two")?;
    setting.server.delete("Pod", "default", "a")?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(match soon(stream.try_next()).await??.context("it ended")? {
            WatchEvent::Added(pod) => format!("added {}", pod.metadata.name.unwrap()),
            WatchEvent::Modified(pod) => format!("modified {}", pod.metadata.name.unwrap()),
            WatchEvent::Deleted(pod) => {
                let version = pod.metadata.resource_version.unwrap();
                assert_eq!(version, setting.server.resource_version().to_string(), "the version of the deletion");
                format!("deleted {}", pod.metadata.name.unwrap())
            }
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["added b", "modified b", "deleted a"]);
    Ok(())
}

#[test]
fn without_a_version_a_watch_begins_with_what_there_is() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    for query in ["", "resourceVersion=0"] {
        assert_eq!(next(&mut watch(&setting, query)?)?, "ADDED a", "{query}");
    }
    Ok(())
}

#[test]
fn an_object_that_ceases_to_match_is_deleted_for_the_watch_and_added_when_it_matches_again() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    let begin = setting.server.resource_version();
    let selector = format!("resourceVersion={begin}&fieldSelector=spec.nodeName%3Done&labelSelector=app");
    let mut raw = watch(&setting, &selector)?;
    setting.put_pod("b", "two")?;
    setting.put_pod("a", "two")?;
    let moved = setting.server.resource_version();
    let (_, kind, object) = raw.event()?;
    assert_eq!((kind.as_str(), &object["metadata"]["name"]), ("DELETED", &json!("a")));
    assert_eq!(object["spec"]["nodeName"], "one", "the last state that matched");
    assert_eq!(object["metadata"]["resourceVersion"], moved.to_string());
    setting.put_pod("a", "one")?;
    assert_eq!(next(&mut raw)?, "ADDED a");
    let mut pod = super::setting::pod("a", "one");
    pod["metadata"]["labels"] = json!({});
    setting.server.put(&pod)?;
    assert_eq!(next(&mut raw)?, "DELETED a");
    Ok(())
}

#[test]
fn events_may_arrive_in_parts() -> Result<()> {
    let setting = Setting::new()?;
    for number in 0..12 {
        setting.put_pod(&format!("pod-{number:02}"), "one")?;
    }
    let mut raw = watch(&setting, "resourceVersion=0")?;
    let chunks: Vec<usize> = (0..12).map(|_| raw.event().map(|(chunks, ..)| chunks)).collect::<Result<_>>()?;
    assert_eq!(chunks, [1, 1, 2].repeat(4));
    Ok(())
}

#[test]
fn a_streaming_list_marks_the_end_of_what_there_was() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    let version = setting.server.resource_version().to_string();
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut raw = watch(&setting, query)?;
    assert_eq!(next(&mut raw)?, "ADDED a");
    let (_, kind, object) = raw.event()?;
    assert_eq!((kind.as_str(), &object["kind"]), ("BOOKMARK", &json!("Pod")));
    assert_eq!(object["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(object["metadata"]["resourceVersion"], version);
    setting.put_pod("b", "one")?;
    assert_eq!(next(&mut raw)?, "ADDED b");
    let refused = [
        "sendInitialEvents=true",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
        "resourceVersion=5&resourceVersionMatch=NotOlderThan",
    ];
    for query in refused {
        assert_eq!(setting.get(&format!("/api/v1/pods?watch=true&{query}"))?.0, 422, "{query}");
    }
    Ok(())
}

#[test]
fn bookmarks_come_when_allowed_and_carry_versions_of_other_changes() -> Result<()> {
    let setting = Setting::new()?;
    let begin = setting.server.resource_version();
    let mut with = watch(&setting, &format!("resourceVersion={begin}&allowWatchBookmarks=true"))?;
    let mut without = watch(&setting, &format!("resourceVersion={begin}"))?;
    setting.server.put(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}))?;
    assert_eq!(setting.server.send_bookmarks("pods"), 2);
    let (_, kind, object) = with.event()?;
    assert_eq!((kind.as_str(), &object["metadata"]["resourceVersion"]), ("BOOKMARK", &json!((begin + 1).to_string())));
    assert!(without.is_silent_for(Duration::from_millis(200))?);

    setting.server.bookmarks_every(Duration::from_millis(20));
    let mut often = watch(&setting, &format!("resourceVersion={begin}&allowWatchBookmarks=true"))?;
    for _ in 0..3 {
        assert_eq!(often.event()?.1, "BOOKMARK");
    }
    Ok(())
}

#[test]
fn a_watch_ends_in_order_when_its_time_is_up_with_a_last_bookmark() -> Result<()> {
    let setting = Setting::new()?;
    let query = "resourceVersion=0&timeoutSeconds=1&allowWatchBookmarks=true&labelSelector=none";
    let mut raw = watch(&setting, query)?;
    assert_eq!(setting.server.open_watches("pods"), 1);
    assert_eq!(raw.event()?.1, "BOOKMARK");
    assert_eq!(raw.chunk()?, b"", "the proper end of the body");
    raw.send("GET", "/api/v1/pods", "", "")?;
    assert_eq!(raw.answer()?.0, 200, "the connection can be used again");
    assert_eq!(setting.server.open_watches("pods"), 0);
    Ok(())
}

#[test]
fn an_outdated_version_gets_410_as_an_event_or_as_a_status() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    let old = setting.server.resource_version();
    setting.put_pod("b", "one")?;
    let query = format!("resourceVersion={old}");
    assert_eq!(next(&mut watch(&setting, &query)?)?, "ADDED b", "not yet compacted");
    setting.server.compact();
    let mut raw = watch(&setting, &query)?;
    let (_, kind, status) = raw.event()?;
    assert_eq!(kind, "ERROR");
    let code = (&status["kind"], &status["code"], &status["reason"]);
    assert_eq!(code, (&json!("Status"), &json!(410), &json!("Expired")));
    assert_eq!(raw.chunk()?, b"", "nothing comes after it");
    setting.server.expire_by_status(true);
    let (status, body) = setting.get(&format!("/api/v1/pods?watch=true&{query}"))?;
    assert_eq!((status, body["reason"].as_str()), (410, Some("Expired")));
    Ok(())
}

#[test]
fn an_open_watch_loses_nothing_when_history_is_compacted() -> Result<()> {
    let setting = Setting::new()?;
    let begin = setting.server.resource_version();
    let mut raw = watch(&setting, &format!("resourceVersion={begin}"))?;
    setting.put_pod("a", "one")?;
    setting.server.compact();
    setting.put_pod("b", "one")?;
    assert_eq!((next(&mut raw)?, next(&mut raw)?), ("ADDED a".to_owned(), "ADDED b".to_owned()));
    Ok(())
}

#[tokio::test]
async fn the_runtime_watcher_lists_and_follows_and_resumes_and_the_journal_shows_it() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        setting.server.forget_journal();
        let mut events = pin!(watcher(setting.pods().await?, config.clone()));
        let mut first = Vec::new();
        loop {
            match soon(events.try_next()).await??.context("it ended")? {
                Event::InitApply(pod) => first.push(pod.metadata.name.unwrap()),
                Event::InitDone => break,
                _ => {}
            }
        }
        assert_eq!(first, ["a"]);
        let put = setting.put_pod("a", "two")?;
        assert!(matches!(soon(events.try_next()).await??, Some(Event::Apply(_))));
        let node = setting.put_pod("a", "one")?;
        assert_ne!(put["metadata"]["resourceVersion"], node["metadata"]["resourceVersion"]);
        assert!(matches!(soon(events.try_next()).await??, Some(Event::Apply(_))));
        let lists = setting.server.journal().of(Verb::List, "pods").len();
        assert_eq!(setting.server.cut_watches("pods", heddle_tests::kubernetes::Cut::Cleanly), 1);
        // The watcher makes no request before it is asked for the next event.
        let waiting = soon(async {
            tokio::select! {
                event = events.try_next() => panic!("nothing happened: {event:?}"),
                () = async { while resumed(&setting).is_none() { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
            }
        });
        waiting.await?;
        assert_eq!(resumed(&setting), node["metadata"]["resourceVersion"].as_str().map(str::to_owned));
        assert_eq!(setting.server.journal().of(Verb::List, "pods").len(), lists, "it did not list again");
    }
    Ok(())
}

/// The version at which the second watch of the journal began.
fn resumed(setting: &Setting) -> Option<String> {
    let journal = setting.server.journal();
    let watch = journal.of(Verb::Watch, "pods").into_iter().nth(1)?;
    Some(watch.parameter("resourceVersion").to_owned())
}

#[tokio::test]
async fn the_runtime_watcher_starts_over_after_410() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    let api: Api<Pod> = setting.pods().await?;
    let mut events = pin!(watcher(api, watcher::Config::default()));
    let mut until = async |wanted: fn(&Event<Pod>) -> bool| -> Result<()> {
        soon(async { while !events.next().await.is_some_and(|event| event.as_ref().is_ok_and(wanted)) {} }).await
    };
    until(|event| matches!(event, Event::InitDone)).await?;
    setting.put_pod("a", "two")?;
    until(|event| matches!(event, Event::Apply(_))).await?;
    setting.server.wait_journal("the watch is open", SOON, |journal| !journal.of(Verb::Watch, "pods").is_empty())?;
    assert_eq!(setting.server.expire_watches("pods"), 1);
    until(|event| matches!(event, Event::Init)).await?;
    until(|event| matches!(event, Event::InitDone)).await?;
    assert_eq!(setting.server.journal().of(Verb::List, "pods").len(), 2);
    Ok(())
}

#[test]
fn metadata_can_be_watched_without_the_rest() -> Result<()> {
    let setting = Setting::new()?;
    setting.put_pod("a", "one")?;
    let mut raw = setting.raw()?;
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    raw.send_accepting("GET", "/api/v1/pods?watch=1&allowWatchBookmarks=1", "", "", accept)?;
    assert_eq!(raw.head()?.0, 200);
    let (_, _, object) = raw.event()?;
    assert_eq!((&object["kind"], object.get("spec")), (&json!("PartialObjectMetadata"), None::<&Value>));
    setting.server.send_bookmarks("");
    assert_eq!(raw.event()?.2["kind"], "PartialObjectMetadata");
    Ok(())
}
