//! One request of `http-serve`: what it was, and the answer that its behaviour asks for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::behaviour::{Behaviour, Cut};
use super::part_of_pattern;
use super::report::{HttpEvent, Line, Seen};
use super::serve::Connection;
use crate::peer::bulk::Digest;
use crate::peer::print;

/// How long a body that nobody asked for is read and dropped after an early answer.
const LINGER: Duration = Duration::from_secs(1);

/// An error is a connection or stream that is to be cut off.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = http_body_util::combinators::BoxBody<Bytes, Failure>;

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, by: Arc<Connection>) -> Result<Response<Body>, Failure> {
    let mut seen = seen(&request, &by);
    if !by.shared.quiet {
        print(&HttpEvent::Request(Box::new(seen.clone())))?;
    }
    let behaviour = match Behaviour::of(&request, &by.shared.behave) {
        Ok(behaviour) => behaviour,
        Err(problem) => return Ok(said(StatusCode::NOT_IMPLEMENTED, &problem)),
    };
    let behaviour = still(behaviour, &by);
    if let Some(name) = wanted_upgrade(&request) {
        return Ok(upgrade(request, name));
    }
    if behaviour.echo {
        return Ok(Response::new(request.into_body().map_err(Failure::from).boxed()));
    }
    let waits_for_100 = request.headers().contains_key(EXPECT);
    if !behaviour.early {
        read(request.into_body(), behaviour.read_every, &mut seen).await?;
    } else if !waits_for_100 {
        // To close while bytes arrive resets the connection, and the answer may be lost with it.
        tokio::spawn(timeout(LINGER, linger(request.into_body())));
    }
    sleep(behaviour.delay).await;
    match behaviour.cut {
        Some(Cut::Before) => return Err("told to cut it off".into()),
        Some(Cut::Reset) => {
            // Closing with a linger time of zero sends RST.
            SockRef::from(&by.socket).set_linger(Some(Duration::ZERO))?;
            return Err("told to reset it".into());
        }
        Some(Cut::After) | None => {}
    }
    respond(behaviour, &seen)
}

fn seen(request: &Request<Incoming>, by: &Connection) -> Seen {
    let (uri, headers) = (request.uri(), request.headers());
    let host = || headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let target = uri.path_and_query().map_or_else(|| uri.to_string(), ToString::to_string);
    Seen {
        server: by.server.clone(),
        connection: by.number,
        peer: by.peer.to_string(),
        version: format!("{:?}", request.version()),
        method: request.method().to_string(),
        target,
        host: uri.authority().map(ToString::to_string).or_else(host),
        headers: lines(headers),
        body: None,
        trailers: Vec::new(),
    }
}

/// After the failures that were asked for, a request is answered as usual.
fn still(behaviour: Behaviour, by: &Connection) -> Behaviour {
    let Some((count, key)) = &behaviour.fail else { return behaviour };
    let mut failed = by.shared.failed.lock();
    let before = failed.entry(key.clone()).or_default();
    *before += 1;
    if *before <= *count { behaviour } else { Behaviour::default() }
}

fn lines(headers: &HeaderMap) -> Vec<Line> {
    let line = |(name, value): (&http::HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(line).collect()
}

async fn read(mut body: Incoming, every: Duration, seen: &mut Seen) -> Result<(), Failure> {
    let mut digest = Digest::new();
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => digest.update(&data),
            Err(frame) => seen.trailers.extend(frame.trailers_ref().map(lines).unwrap_or_default()),
        }
        if !every.is_zero() {
            sleep(every).await;
        }
    }
    seen.body = Some(digest.receipt());
    Ok(())
}

async fn linger(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {
        sleep(Duration::from_millis(1)).await;
    }
}

fn respond(behaviour: Behaviour, seen: &Seen) -> Result<Response<Body>, Failure> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::from_u16(behaviour.status.unwrap_or(200))?;
    *response.headers_mut() = behaviour.answer.clone();
    let headers = response.headers_mut();
    headers.insert("x-server", HeaderValue::from_str(&seen.server)?);
    let is_streamed = behaviour.size.is_some() || behaviour.cut.is_some() || !behaviour.trailers.is_empty();
    if !is_streamed {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let text = serde_json::to_vec(seen)?;
        let has_body = !matches!(response.status().as_u16(), 204 | 304);
        *response.body_mut() = whole(if has_body { text.into() } else { Bytes::new() });
        return Ok(response);
    }
    // Trailers without another body come after what was seen.
    let body = if behaviour.size.is_none() { serde_json::to_vec(seen)? } else { Vec::new() };
    let length = behaviour.size.unwrap_or(body.len() as u64);
    if !behaviour.chunked && behaviour.trailers.is_empty() {
        headers.insert(CONTENT_LENGTH, length.into());
    } else if !behaviour.trailers.is_empty() {
        let names: Vec<&str> = behaviour.trailers.keys().map(http::HeaderName::as_str).collect();
        headers.insert("trailer", HeaderValue::from_str(&names.join(", "))?);
    }
    if seen.method != Method::HEAD.as_str() {
        let (sender, channel) = Channel::new(1);
        tokio::spawn(send(sender, body, behaviour));
        *response.body_mut() = channel.boxed();
    }
    Ok(response)
}

/// Ends early when the client is gone.
async fn send(mut sender: Sender<Bytes, Failure>, body: Vec<u8>, behaviour: Behaviour) {
    let size = behaviour.size.unwrap_or(0);
    let mut at = 0;
    if !body.is_empty() && sender.send_data(body.into()).await.is_err() {
        return;
    }
    while at < size {
        if behaviour.cut.is_some() && at > size / 2 {
            break;
        }
        let part = part_of_pattern(at, size);
        at += part.len() as u64;
        if sender.send_data(part.into()).await.is_err() {
            return;
        }
        if !behaviour.every.is_zero() {
            sleep(behaviour.every).await;
        }
    }
    if behaviour.cut.is_some() {
        // What was sent is to arrive before the end does.
        sleep(Duration::from_millis(50)).await;
        sender.abort("told to cut it off".into());
    } else if !behaviour.trailers.is_empty() {
        let _ = sender.send_trailers(behaviour.trailers).await;
    }
}

/// The protocol that a request asks for, if it is one that this server speaks: `echo`, or any address by CONNECT.
fn wanted_upgrade(request: &Request<Incoming>) -> Option<Option<HeaderValue>> {
    if request.method() == Method::CONNECT {
        return Some(None);
    }
    let upgrade = request.headers().get(UPGRADE)?;
    (upgrade == "echo").then(|| Some(upgrade.clone()))
}

/// Switches protocols, and sends back what comes.
fn upgrade(request: Request<Incoming>, name: Option<HeaderValue>) -> Response<Body> {
    let mut response = Response::new(Body::default());
    if let Some(name) = name {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, name);
    }
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = vec![0; super::CHUNK];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..count]).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        let _ = stream.shutdown().await;
    });
    response
}

fn said(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(whole(text.to_owned().into()));
    *response.status_mut() = status;
    response
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}
