//! Asks a running agent of this machine by its admin socket.

use std::{ops::ControlFlow, path::Path, time::Duration};

use anyhow::{Context, bail};
use http::{Request, Response, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, runtime::Builder, task::JoinHandle, time::timeout};

/// Where the agent listens, if agent.yaml does not say otherwise.
pub(super) const SOCKET: &str = "/run/heddle/admin.sock";

/// An agent that takes longer to answer is not well.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Events that follow each other come at least so often, since the agent sends comments between them.
const SILENT: Duration = Duration::from_secs(45);

/// Of an event; an access log line is far shorter, and the sums of a second are at most some thousand flows.
const LONGEST_EVENT: usize = 16 << 20;

/// The body of the agent's answer to GET `path`.
pub(super) fn ask(socket: &Path, path: &str) -> anyhow::Result<Bytes> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answer = async {
        let (response, _connection) = get(socket, path).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    };
    runtime.block_on(timely(answer)).with_context(|| whom(socket))
}

/// One server-sent event.
#[derive(Clone, Copy)]
pub(super) struct Event<'e> {
    pub(super) kind: &'e str,
    pub(super) data: &'e str,
}

/// Has each event of the agent's answer to GET `path` looked at, until the looker breaks off or the agent does.
pub(super) async fn follow<T>(
    socket: &Path,
    path: &str,
    mut look: impl FnMut(Event<'_>) -> anyhow::Result<ControlFlow<T>>,
) -> anyhow::Result<T> {
    let (response, _connection) = timely(get(socket, path)).await.with_context(|| whom(socket))?;
    let (mut body, mut text) = (response.into_body(), Vec::new());
    loop {
        let frame = timeout(SILENT, body.frame()).await;
        let Some(frame) = frame.with_context(|| format!("nothing came from the agent for {SILENT:?}"))? else {
            bail!("the agent ended");
        };
        let Ok(data) = frame.context("the agent broke off")?.into_data() else { continue };
        text.extend_from_slice(&data);
        let mut read = 0;
        while let Some(end) = text[read..].windows(2).position(|pair| pair == b"\n\n") {
            let event = String::from_utf8_lossy(&text[read..read + end]).into_owned();
            read += end + 2;
            if let Some(event) = parse(&event)
                && let ControlFlow::Break(end) = look(event)?
            {
                return Ok(end);
            }
        }
        text.drain(..read);
        if text.len() > LONGEST_EVENT {
            bail!("the agent sent an event of more than {LONGEST_EVENT} bytes");
        }
    }
}

/// A comment is no event.
fn parse(text: &str) -> Option<Event<'_>> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start);
    Some(Event { kind: field("event")?, data: field("data")? })
}

async fn timely<T>(answer: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let answer = timeout(ANSWER_WITHIN, answer).await;
    answer.with_context(|| format!("no answer within {ANSWER_WITHIN:?}"))?
}

fn whom(socket: &Path) -> String {
    format!("ask the agent at {}: is it running here, and is that its admin.socket?", socket.display())
}

/// What drives a connection, for as long as it is kept.
struct Connection(JoinHandle<hyper::Result<()>>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn get(socket: &Path, path: &str) -> anyhow::Result<(Response<Incoming>, Connection)> {
    let stream = UnixStream::connect(socket).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(connection));
    let request = Request::get(path).header(HOST, "localhost").body(Empty::<Bytes>::new())?;
    let response = requests.send_request(request).await?;
    let status = response.status();
    if status != StatusCode::OK {
        let body = response.into_body().collect().await?.to_bytes();
        bail!("it answered {status}: {}", String::from_utf8_lossy(&body).trim_end());
    }
    Ok((response, connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_comments_passed_over() {
        let event = parse("event: ended\ndata: {\"a\": 1}").map(|event| (event.kind, event.data));
        assert_eq!(event, Some(("ended", "{\"a\": 1}")));
        assert!(parse(":").is_none() && parse("data: alone").is_none());
    }
}
