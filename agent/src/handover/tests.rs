//! Both sides over a real socket, in one process.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    net::TcpListener,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::PermissionsExt,
    },
};

use serde_json::json;
use tempfile::TempDir;

use super::{
    message::{Message, receive, send},
    *,
};
use crate::capture::ListenerName;

fn place() -> Place {
    Place { node: "node-a".to_owned(), pins: "/pins".into() }
}

fn path(directory: &TempDir) -> PathBuf {
    directory.path().join("run/handover.sock")
}

fn listener() -> (OwnedFd, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener.into(), port)
}

#[test]
fn where_no_agent_runs_there_is_none() {
    let directory = TempDir::new().unwrap();
    assert!(Predecessor::find(&path(&directory)).unwrap().is_none());
    // One that has ended leaves its socket's file.
    drop(socket::listen(&path(&directory)).unwrap());
    assert!(path(&directory).exists());
    assert!(Predecessor::find(&path(&directory)).unwrap().is_none());
}

#[tokio::test]
async fn all_listeners_change_hands_and_the_old_agent_hears_when_it_can_stop() {
    let directory = TempDir::new().unwrap();
    let mut claims = Claims::listen(&path(&directory), place(), None).unwrap();
    assert_eq!(fs::metadata(path(&directory)).unwrap().permissions().mode() & 0o777, 0o600);
    let predecessor = Predecessor::find(&path(&directory)).unwrap().unwrap();
    assert_eq!(predecessor.process(), std::process::id().cast_signed());
    let old = async {
        let successor = claims.next().await;
        assert!(successor.shares_maps());
        let mut sockets = Sockets::default();
        sockets.pods.insert(7, vec![(ListenerName::Hbone, listener().0), (ListenerName::Outbound, listener().0)]);
        sockets.pods.insert(8, Vec::new());
        let (metrics, port) = listener();
        sockets.endpoints.insert(Endpoint::Metrics, metrics);
        sockets.endpoints.insert(Endpoint::Handover, claims.hand_over().unwrap().unwrap());
        successor.give(sockets).await.unwrap();
        successor.serves().await.unwrap();
        (successor, port)
    };
    let new = async {
        let mut inheritance = predecessor.take_over(place()).await.unwrap();
        (inheritance.take_sockets(), inheritance.serving().unwrap())
    };
    let ((successor, port), (mut sockets, draining)) = tokio::join!(old, new);
    let names: Vec<_> = sockets.pods[&7].iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [ListenerName::Hbone, ListenerName::Outbound]);
    assert!(sockets.pods[&8].is_empty());
    let metrics = TcpListener::from(sockets.endpoints.remove(&Endpoint::Metrics).unwrap());
    assert_eq!(metrics.local_addr().unwrap().port(), port, "the same listener");

    successor.tell_draining(3);
    while draining.connections() != 3 {
        tokio::task::yield_now().await;
    }
    // The next one asks by the same socket, of the agent that has it now.
    let mut claims = Claims::listen(&path(&directory), place(), sockets.endpoints.remove(&Endpoint::Handover)).unwrap();
    let next = Predecessor::find(&path(&directory)).unwrap().unwrap();
    let refused = next.take_over(place());
    let (_, asked) = tokio::join!(async { drop(claims.next().await) }, refused);
    assert!(asked.unwrap_err().is_gone(), "one that is dropped is told");
    // The old agent hears nobody any more, until its end and while it ends.
    drop(successor);
    let next = Predecessor::find(&path(&directory)).unwrap().unwrap();
    let asked = tokio::spawn(next.take_over(place()));
    drop(claims.next().await);
    asked.await.unwrap().unwrap_err();
    while draining.connections() != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_agent_of_another_place_is_refused_and_the_next_is_heard() {
    let directory = TempDir::new().unwrap();
    let mut claims = Claims::listen(&path(&directory), place(), None).unwrap();
    let other = Place { node: "node-b".to_owned(), ..place() };
    let refused = Predecessor::find(&path(&directory)).unwrap().unwrap().take_over(other).await.unwrap_err();
    assert!(
        refused.to_string().contains("it is of node node-a with pins at /pins, this one of node node-b"),
        "{refused}"
    );
    let asking = tokio::spawn(Predecessor::find(&path(&directory)).unwrap().unwrap().take_over(place()));
    drop(claims.next().await);
    asking.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_new_agent_that_dies_is_heard_by_the_old_one() {
    let directory = TempDir::new().unwrap();
    let mut claims = Claims::listen(&path(&directory), place(), None).unwrap();
    let new = socket::connect(&path(&directory)).unwrap().unwrap();
    let asks = Message::TakeOver { place: place(), layout: 0, version: "0".to_owned() };
    send(&new, &asks, &[]).unwrap();
    let successor = claims.next().await;
    assert!(!successor.shares_maps());
    drop(new);
    successor.serves().await.unwrap_err();
    successor.ended().await;
}

#[test]
fn what_another_version_says_beyond_this_one_is_left_out() {
    let (one, other) = socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None).unwrap();
    let (first, second) = (listener(), listener());
    let listeners = vec![json!("carrierPigeon"), json!("held")];
    let sockets = [first.0.as_fd(), second.0.as_fd()];
    send(&one, &Message::Pod { netns: 1, listeners }, &sockets).unwrap();
    let (Message::Pod { listeners, .. }, sockets) = receive(&other).unwrap() else { panic!("another message") };
    let known: Vec<(ListenerName, OwnedFd)> = predecessor::named(listeners, sockets);
    let [(name, socket)] = &known[..] else { panic!("{known:?}") };
    assert_eq!(*name, ListenerName::Held);
    assert!(socket.as_raw_fd() > 2);
    one.send(b"{\"message\":\"pod\",\"netns\":1,\"listeners\":[],\"more\":true}").unwrap();
    receive(&other).unwrap();
    for nonsense in [&b"{}"[..], b"\xff", b"{\"message\":\"sing\"}"] {
        one.send(nonsense).unwrap();
        receive(&other).unwrap_err();
    }
}
