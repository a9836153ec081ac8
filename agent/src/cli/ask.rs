//! Asks a running agent of this machine by its admin socket.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use http::{
    Method, Request, StatusCode,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, runtime::Builder, time::timeout};

/// An agent that takes longer to answer is not well.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The body of the agent's answer to GET `path`.
pub(super) fn ask(socket: &Path, path: &str) -> anyhow::Result<Bytes> {
    asked(socket, || Ok(Request::get(path).body(Full::default())?))
}

/// The body of the agent's answer to PUT `path` with some JSON.
pub(super) fn put(socket: &Path, path: &str, json: String) -> anyhow::Result<Bytes> {
    asked(socket, || {
        let request = Request::builder().method(Method::PUT).uri(path).header(CONTENT_TYPE, "application/json");
        Ok(request.body(json.into())?)
    })
}

/// Hands each piece of the agent's endless answer to GET `path` to a function, until that has enough, the agent ends, or this
/// process is told to end by SIGINT.
pub(super) fn follow(
    socket: &Path,
    path: &str,
    mut piece: impl FnMut(&Bytes) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let request = Request::get(path).body(Full::default())?;
        let mut body = timeout(ANSWER_WITHIN, send(socket, request))
            .await
            .with_context(|| format!("no answer within {ANSWER_WITHIN:?}"))
            .and_then(|answer| answer)
            .with_context(|| remedy(socket))?;
        let following = async {
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame?.into_data() {
                    piece(&data)?;
                }
            }
            Ok(())
        };
        tokio::select! {
            ended = following => ended,
            interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        }
    })
}

fn asked(socket: &Path, request: impl FnOnce() -> anyhow::Result<Request<Full<Bytes>>>) -> anyhow::Result<Bytes> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answered = async { Ok(send(socket, request()?).await?.collect().await?.to_bytes()) };
    let answer = runtime.block_on(async { timeout(ANSWER_WITHIN, answered).await });
    answer
        .with_context(|| format!("no answer within {ANSWER_WITHIN:?}"))
        .and_then(|answer| answer)
        .with_context(|| remedy(socket))
}

fn remedy(socket: &Path) -> String {
    format!("ask the agent at {}: is it running here, and is that its admin.socket?", socket.display())
}

/// The body of a good answer; a bad one is an error that says what the agent says.
async fn send(socket: &Path, mut request: Request<Full<Bytes>>) -> anyhow::Result<Incoming> {
    let stream = UnixStream::connect(socket).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the runtime at the latest.
    tokio::spawn(connection);
    request.headers_mut().insert(HOST, http::HeaderValue::from_static("localhost"));
    let response = requests.send_request(request).await?;
    let status = response.status();
    if status != StatusCode::OK {
        let body = response.into_body().collect().await?.to_bytes();
        bail!("it answered {status}: {}", String::from_utf8_lossy(&body).trim_end());
    }
    Ok(response.into_body())
}
