//! What is promised of the guard, and of hyper behind it: they read alike however reads are split, and frame requests as a
//! plain reader does.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::{
    pieces::{Pieces, Splits},
    reference::{self, End, Stream},
};
use crate::connect::http::guard::{GuardHandle, GuardLimits, Refused, RequestGuard};

/// What the guard reads at once of a head, and what is read at once through it here.
const PIECE: usize = 4096;

/// How bytes were read.
pub(super) struct Guarded {
    pub(super) requests: usize,
    pub(super) shape: String,
}

/// What a run is like, beside its bytes.
#[derive(Clone, Copy)]
struct Settings {
    limits: GuardLimits,
    /// Requests that ask for something else than HTTP are given it.
    switches: bool,
}

pub(super) async fn guard(bytes: &[u8], rng: &mut Rng) -> Result<Guarded, String> {
    let max_head = rng.choice([128, 1 << 10, 60 << 10]).unwrap_or(1 << 10);
    let settings = Settings { limits: GuardLimits { max_head, ..GuardLimits::default() }, switches: rng.bool() };
    let splits = Splits::new(rng, bytes.len());
    let whole = pass(bytes, settings, None).await?;
    let split = pass(bytes, settings, Some(splits.clone())).await?;
    alike(&whole, &split)?;
    let stream = reference::read(&whole.bytes, settings.switches).map_err(|problem| format!("guard: {problem}"))?;
    let splits = Some(splits).filter(|_| rng.bool());
    let served = serve(bytes, settings, splits).await?;
    served.is_of(&stream, whole.refused).map_err(|problem| format!("hyper: {problem}, {served:?} of {stream:?}"))?;
    let kinds: Vec<_> = stream.messages.iter().take(3).map(|message| message.body.map(usize::checked_ilog2)).collect();
    let shape = format!("{kinds:?}, {:?}, {:?}", stream.end, whole.refused);
    Ok(Guarded { requests: served.bodies.len(), shape })
}

/// What the guard let pass.
struct Passed {
    bytes: Vec<u8>,
    refused: Option<Refused>,
}

/// Reads bytes through the guard alone.
async fn pass(bytes: &[u8], settings: Settings, mut splits: Option<Splits>) -> Result<Passed, String> {
    let (mut guard, handle) = RequestGuard::new(Pieces::new(bytes, splits.clone()), settings.limits);
    let (mut passed, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let length = splits.as_mut().map_or(PIECE, |splits| splits.length().min(PIECE));
        let read = poll_fn(|context| {
            let mut out = ReadBuf::new(&mut piece[..length]);
            let polled = Pin::new(&mut guard).poll_read(context, &mut out);
            if polled.is_pending() {
                // Counts only where it waits for that.
                decide(&handle, settings.switches);
            }
            Poll::Ready(ready!(polled).map(|()| out.filled().len()))
        });
        let read = read.await;
        if guard.held() > settings.limits.max_head + PIECE {
            return Err(format!("guard: holds {} bytes, where a head has {}", guard.held(), settings.limits.max_head));
        }
        match read {
            Ok(length @ 1..) => passed.extend_from_slice(&piece[..length]),
            Ok(0) | Err(_) => break,
        }
    }
    match handle.refused() {
        Some(refused @ (Refused::HeadTimeout | Refused::BodyTimeout)) => Err(format!("guard: {refused} at the end")),
        refused => Ok(Passed { bytes: passed, refused }),
    }
}

fn decide(handle: &GuardHandle, switches: bool) {
    match switches {
        true => handle.accept_switch(),
        false => handle.decline_switch(),
    }
}

/// The same bytes pass, and are refused for the same reason. Of a body that is refused, what is read together with the byte
/// that it is refused for does not pass: there, either may have come further.
fn alike(whole: &Passed, split: &Passed) -> Result<(), String> {
    if whole.refused != split.refused {
        return Err(format!("guard: {:?} when read whole, and {:?} when split", whole.refused, split.refused));
    }
    let in_body = matches!(whole.refused, Some(Refused::Chunk | Refused::ChunkMetadata));
    let begins = split.bytes.starts_with(&whole.bytes) || whole.bytes.starts_with(&split.bytes);
    match whole.bytes == split.bytes || in_body && begins {
        true => Ok(()),
        false => {
            Err(format!("guard: {} bytes pass when read whole, and other {}", whole.bytes.len(), split.bytes.len()))
        }
    }
}

/// What reached hyper's service, and what hyper said.
#[derive(Debug)]
pub(super) struct Served {
    /// The bodies' lengths; none where reading one failed.
    pub(super) bodies: Vec<Option<usize>>,
    /// Of the answers, in order.
    pub(super) statuses: Vec<String>,
    pub(super) result: Result<(), hyper::Error>,
}

async fn serve(bytes: &[u8], settings: Settings, splits: Option<Splits>) -> Result<Served, String> {
    let pieces = Pieces::new(bytes, splits);
    let (written, max_head) = (pieces.written(), settings.limits.max_head);
    let (guard, handle) = RequestGuard::new(pieces, settings.limits);
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request| answer(request, handle.clone(), settings.switches, Arc::clone(&bodies)));
    let mut builder = http1::Builder::new();
    builder.auto_date_header(false).half_close(true).max_buf_size(max_head.max(8 << 10) + (8 << 10));
    let connection = builder.serve_connection(TokioIo::new(guard), service);
    let result = tokio::time::timeout(Duration::from_secs(3600), connection).await;
    let result = result.map_err(|_| "hyper: waits for ever".to_owned())?;
    let statuses = String::from_utf8_lossy(&written.lock())
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.").and_then(|line| line.split(' ').nth(1)).map(str::to_owned))
        .collect();
    let bodies = std::mem::take(&mut *bodies.lock());
    Ok(Served { bodies, statuses, result })
}

/// Answers as the agent does where requests ask for something else than HTTP.
async fn answer(
    request: Request<Incoming>,
    handle: GuardHandle,
    switches: bool,
    bodies: Arc<Mutex<Vec<Option<usize>>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let _in_flight = handle.request();
    let is_connect = request.method() == Method::CONNECT;
    let is_upgrade = request.version() == Version::HTTP_11 && request.headers().contains_key(header::UPGRADE);
    let body = request.into_body().collect().await.ok().map(|body| body.to_bytes().len());
    bodies.lock().push(body);
    let switches = switches && body.is_some();
    if is_connect || is_upgrade {
        decide(&handle, switches);
    }
    let mut response = Response::new(Empty::new());
    *response.status_mut() = match switches {
        _ if body.is_none() => StatusCode::BAD_REQUEST,
        true if is_upgrade && !is_connect => StatusCode::SWITCHING_PROTOCOLS,
        false if is_connect => StatusCode::FORBIDDEN,
        _ => StatusCode::OK,
    };
    Ok(response)
}

impl Served {
    /// These are the requests that a plain reader sees in what passed the guard.
    pub(super) fn is_of(&self, stream: &Stream, refused: Option<Refused>) -> Result<(), String> {
        let expected: Vec<_> = stream.messages.iter().map(|message| message.body).collect();
        let seen = self.bodies.len();
        if !expected.starts_with(&self.bodies) {
            return Err("other bodies than what passed has".to_owned());
        }
        let is_parse = self.result.as_ref().is_err_and(hyper::Error::is_parse);
        let odd_target = stream.messages.get(seen).is_some_and(|message| message.odd_target);
        let closed = seen.checked_sub(1).is_some_and(|last| stream.messages[last].may_close);
        if seen < expected.len() && !closed && !(is_parse && odd_target) {
            return Err("fewer requests than what passed has".to_owned());
        }
        let is_refused = stream.end == End::Answered && refused.is_some();
        match &self.result {
            Err(error) if !(is_refused || odd_target || stream.end == End::Within) => {
                return Err(format!("{error} of what is well framed"));
            }
            _ => {}
        }
        let told = self.statuses.last().is_some_and(|status| status == "400" || status == "431");
        match is_refused && !closed && !odd_target && !told {
            true => Err("a refused head is not answered with an error".to_owned()),
            false => Ok(()),
        }
    }
}
