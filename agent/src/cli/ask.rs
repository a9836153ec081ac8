//! Asks a running agent of this machine by its admin socket.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, runtime::Builder, time::timeout};

/// An agent that takes longer to answer is not well.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The body of the agent's answer to GET `path`.
pub(super) fn ask(socket: &Path, path: &str) -> anyhow::Result<Bytes> {
    let (status, body) = ask_for(socket, path)?;
    if status != StatusCode::OK {
        let said = String::from_utf8_lossy(&body);
        bail!("the agent at {} answered {status} to {path}: {}", socket.display(), said.trim_end());
    }
    Ok(body)
}

/// The agent's answer to GET `path`, whatever its status.
pub(super) fn ask_for(socket: &Path, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async { timeout(ANSWER_WITHIN, get(socket, path)).await });
    let place = socket.display();
    answer
        .with_context(|| format!("no answer within {ANSWER_WITHIN:?}"))
        .and_then(|answer| answer)
        .with_context(|| format!("ask the agent at {place}: is it running here, and is that its admin.socket?"))
}

async fn get(socket: &Path, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = UnixStream::connect(socket).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "localhost").body(Empty::<Bytes>::new())?;
    let response = requests.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    Ok((status, body))
}
