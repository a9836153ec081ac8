//! What no client can do: take more than its place, or keep it; and how the authority begins and ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use heddle_tests::kubernetes::{Fault, Verb};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::client::{Ask, Client, framed, tls};
use super::setting::{SOON, Setting, id, wait};

const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const OUT_OF_RANGE: u32 = 11;
const UNAVAILABLE: u32 = 14;

fn web() -> Ask {
    Ask::new("secret-node-a", &id("shop", "web"))
}

#[tokio::test]
async fn oversize_and_broken_messages_are_refused_and_the_connection_goes_on() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({}))?;
    let client = setting.client(&authority).await?;
    let token = ["secret-node-a".to_owned()];
    let large = client.send(&token, &framed(&vec![b'x'; 20_000])).await?.unwrap_err();
    assert_eq!(large.code, OUT_OF_RANGE, "{}", large.message);
    let broken = client.send(&token, &framed(&[0xff; 20])).await?.unwrap_err();
    assert_ne!(broken.code, 0);
    let empty = client.send(&token, &[]).await?.unwrap_err();
    assert_ne!(empty.code, 0);
    assert_eq!(authority.metric("heddle_ca_requests_total{result=\"bad_request\"}")?, 3.0);
    // Headers beyond the limit: refused by HTTP/2 itself, on this stream or by ending the connection.
    let endless = ["x".repeat(40_000)];
    assert!(client.send(&endless, &framed(b"")).await.is_err() || client.ask(&web()).await.is_ok());
    assert!(setting.ask(&authority, &web()).await?.is_ok());
    assert_eq!(authority.metric("heddle_ca_requests_total{result=\"ok\"}")?, 1.0);
    Ok(())
}

#[tokio::test]
async fn silent_and_slow_clients_lose_their_place() -> Result<()> {
    let setting = Setting::new()?;
    let limits = json!({
        "connections": 2, "handshakeTimeout": "1s", "requestTimeout": "1s", "idleTimeout": "2s",
    });
    let authority = setting.authority(&json!({"limits": limits}))?;
    let roots = setting.roots()?;
    // Two that say nothing take both places; an honest one waits until they are dropped.
    let (mut first, mut second) =
        (TcpStream::connect(authority.address).await?, TcpStream::connect(authority.address).await?);
    let mut buffer = [0; 16];
    let honest = async { Client::connect(authority.address, &roots).await?.ask(&web()).await };
    assert!(timeout(SOON, honest).await.context("the silent ones kept their places")??.is_ok());
    assert_eq!(timeout(SOON, first.read(&mut buffer)).await?.unwrap_or(0), 0);
    assert_eq!(timeout(SOON, second.read(&mut buffer)).await?.unwrap_or(0), 0);
    let dropped =
        |reason: &str| authority.metric(&format!("heddle_ca_connections_dropped_total{{reason=\"{reason}\"}}"));
    assert_eq!(dropped("handshake_timeout")?, 2.0);

    // Silent after TLS: what comes is the server's own SETTINGS, a PING perhaps, and then the end.
    let mut mute = tls(authority.address, &roots).await?;
    let all = async {
        let mut all = Vec::new();
        drop(mute.read_to_end(&mut all).await);
    };
    timeout(SOON, all).await.context("a client that is silent after TLS is kept")?;

    // A request without a body, and a connection without a request.
    let client = Client::connect(authority.address, &roots).await?;
    let refused = client.ask_and_send_nothing(&["secret-node-a".to_owned()]).await?;
    assert_eq!(refused.code, DEADLINE_EXCEEDED, "{}", refused.message);
    let before = dropped("idle")?;
    wait("the idle connection is dropped", || {
        ensure!(dropped("idle")? > before, "it is not");
        Ok(())
    })?;
    assert!(client.ask(&web()).await.is_err(), "it has been told to go");
    wait("no connection is open", || {
        let open = authority.metric("heddle_ca_open_connections")?;
        ensure!(open == 0.0, "{open} are open");
        Ok(())
    })?;
    Ok(())
}

#[tokio::test]
async fn one_address_has_a_part_of_the_places_only() -> Result<()> {
    const OF_ONE: usize = 64;
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({"limits": {"connections": 66}}))?;
    let silent = async || {
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.2:0".parse()?)?;
        Ok::<_, anyhow::Error>(socket.connect(authority.address).await?)
    };
    let mut held = Vec::new();
    for _ in 0..OF_ONE {
        held.push(silent().await?);
    }
    let closed = timeout(SOON, silent().await?.read(&mut [0; 16])).await.context("it is not closed")?;
    assert_eq!(closed.unwrap_or(0), 0);
    assert_eq!(authority.metric("heddle_ca_connections_dropped_total{reason=\"too_many_of_client\"}")?, 1.0);
    let client = Client::connect(authority.address, &setting.roots()?).await?;
    assert!(client.ask(&web()).await?.is_ok(), "another address has a place at once");
    drop(held.pop());
    wait("one that is gone makes room", || {
        let open = authority.metric("heddle_ca_open_connections")?;
        ensure!(open == OF_ONE as f64, "{open} are open");
        Ok(())
    })?;
    let mut again = silent().await?;
    assert!(timeout(Duration::from_millis(200), again.read(&mut [0; 16])).await.is_err(), "it waits for a handshake");
    Ok(())
}

// The wait for the journal blocks its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_at_once_are_refused() -> Result<()> {
    let setting = Setting::new()?;
    let authority = setting.authority(&json!({"limits": {"requests": 2, "requestTimeout": "4s"}}))?;
    let client = setting.client(&authority).await?;
    setting.server.fault(Fault::delay(Duration::from_secs(2)).verb(Verb::Create).resource("tokenreviews").times(2));
    let slow = |token: &str| {
        let (client, ask) = (client.clone(), Ask::new(token, &id("shop", "web")));
        tokio::spawn(async move { client.ask(&ask).await })
    };
    let (one, two) = (slow("secret-node-a"), slow("secret-node-b"));
    setting
        .server
        .wait_journal("both ask for a review", SOON, |journal| journal.of(Verb::Create, "tokenreviews").len() == 2)?;
    let third = client.ask(&web()).await?.unwrap_err();
    assert_eq!(third.code, RESOURCE_EXHAUSTED, "{}", third.message);
    assert!(one.await??.is_ok());
    assert!(two.await??.is_err(), "its node has no such pod");
    assert!(client.ask(&web()).await?.is_ok());
    Ok(())
}

#[tokio::test]
async fn not_ready_and_signing_for_nobody_until_the_pods_are_listed() -> Result<()> {
    let setting = Setting::new()?;
    setting.server.fault(Fault::status(500).resource("pods"));
    let authority = setting.start(&json!({}))?;
    assert_eq!(authority.health("/healthz/live")?.status, 200);
    wait("the rest is ready", || {
        let answer = authority.health("/healthz/ready")?;
        ensure!((answer.status, &*answer.text()) == (503, "pods listed: not yet\n"), "{}", answer.text());
        Ok(())
    })?;
    let refused = setting.ask(&authority, &web()).await?.unwrap_err();
    assert_eq!(refused.code, UNAVAILABLE, "{}", refused.message);
    assert!(authority.metric("heddle_ca_pod_watch_problems_total")? >= 1.0);
    setting.server.clear_faults();
    authority.until_ready()?;
    assert!(setting.ask(&authority, &web()).await?.is_ok());
    Ok(())
}

// The wait for the journal blocks its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_progress_is_answered_after_sigterm() -> Result<()> {
    let setting = Setting::new()?;
    let mut authority = setting.authority(&json!({}))?;
    let client = setting.client(&authority).await?;
    setting.server.fault(Fault::delay(Duration::from_secs(2)).verb(Verb::Create).resource("tokenreviews"));
    let request = {
        let client = client.clone();
        tokio::spawn(async move { client.ask(&web()).await })
    };
    setting
        .server
        .wait_journal("a review is asked for", SOON, |journal| journal.of(Verb::Create, "tokenreviews").len() == 1)?;
    authority.process.signal(Signal::TERM)?;
    assert!(request.await??.is_ok());
    let finished = authority.process.wait(SOON)?;
    assert!(finished.status.success(), "{}", finished.describe());
    assert!(client.ask(&web()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn the_drain_ends_at_its_timeout_whatever_clients_do() -> Result<()> {
    let setting = Setting::new()?;
    let mut authority = setting.authority(&json!({"limits": {"drainTimeout": "1s", "requestTimeout": "1h"}}))?;
    let client = setting.client(&authority).await?;
    let (_response, _stream) = client.begin("/istio.v1.auth.IstioCertificateService/CreateCertificate", &[]).await?;
    // Answered in order, so the server has seen the request above by then.
    assert!(client.ask(&web()).await?.is_ok());
    let begin = Instant::now();
    authority.process.signal(Signal::TERM)?;
    let finished = authority.process.wait(SOON)?;
    assert!(finished.status.success(), "{}", finished.describe());
    assert!(begin.elapsed() >= Duration::from_secs(1), "the request was not waited for");
    Ok(())
}

#[test]
fn a_bad_configuration_is_told_whole_and_ends_with_1() -> Result<()> {
    let setting = Setting::new()?;
    let mut process = setting.process(&json!({"leafLifetime": "2d", "trustDomian": "x"}))?;
    let finished = process.wait(SOON)?;
    assert_eq!(finished.status.code(), Some(1), "{}", finished.describe());
    let told = finished.stderr.join("\n");
    for part in ["leafLifetime: found \"2d\", allowed: a duration from 10s to 24h", "did you mean \"trustDomain\"?"] {
        assert!(told.contains(part), "{told}");
    }
    Ok(())
}
