//! Asks a running agent of this machine by its admin socket.

use std::{ops::ControlFlow, path::Path, time::Duration};

use anyhow::{Context, bail};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
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

/// Of an answer without an end something comes more often: the agent says that it is there.
const SILENT: Duration = Duration::from_secs(45);

/// The longest are the sums of a second, of some thousand flows. One that never ends must not be gathered.
const LONGEST_LINE: usize = 16 << 20;

/// The body of the agent's answer to GET `path`.
pub(super) fn ask(socket: &Path, path: &str) -> anyhow::Result<Bytes> {
    good(socket, path, ask_for(socket, path)?)
}

/// The same for who has a runtime.
pub(super) async fn get(socket: &Path, path: &str) -> anyhow::Result<Bytes> {
    good(socket, path, whole(socket, Request::get(path).body(Full::default())?).await?)
}

/// The agent's answer to GET `path`, whatever its status.
pub(super) fn ask_for(socket: &Path, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    answer(socket, Request::get(path).body(Full::default())?)
}

/// The body of the agent's answer to PUT `path` with some JSON.
pub(super) fn put(socket: &Path, path: &str, json: String) -> anyhow::Result<Bytes> {
    told(socket, path, Method::PUT, json)
}

/// The same of POST.
pub(super) fn post(socket: &Path, path: &str, json: String) -> anyhow::Result<Bytes> {
    told(socket, path, Method::POST, json)
}

fn told(socket: &Path, path: &str, method: Method, json: String) -> anyhow::Result<Bytes> {
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
    good(socket, path, answer(socket, request.body(json.into())?)?)
}

/// One server-sent event.
#[derive(Clone, Copy)]
pub(super) struct Event<'e> {
    pub(super) kind: &'e str,
    pub(super) data: &'e str,
}

/// Has each event of the agent's endless answer to GET `path` looked at, until the looker has enough, the agent ends, or this
/// process is told to end by SIGINT; nothing in the latter two cases.
pub(super) async fn follow<T>(
    socket: &Path,
    path: &str,
    mut look: impl FnMut(Event<'_>) -> anyhow::Result<ControlFlow<T>>,
) -> anyhow::Result<Option<T>> {
    let mut events = Events::default();
    follow_lines(socket, path, |line| events.take(line, &mut look)).await
}

/// The same with each line that is not empty.
pub(super) async fn follow_lines<T>(
    socket: &Path,
    path: &str,
    mut look: impl FnMut(&str) -> anyhow::Result<ControlFlow<T>>,
) -> anyhow::Result<Option<T>> {
    let response = timely(socket, respond(socket, Request::get(path).body(Full::default())?)).await?;
    let (status, mut body) = (response.status(), response.into_body());
    if status != StatusCode::OK {
        let said = timely(socket, async { Ok(body.collect().await?.to_bytes()) }).await?;
        return good(socket, path, (status, said)).map(|_| None);
    }
    let mut lines = Lines::default();
    let following = async {
        loop {
            let frame = timeout(SILENT, body.frame()).await;
            let Some(frame) = frame.with_context(|| format!("nothing came from the agent for {SILENT:?}"))? else {
                return Ok(None);
            };
            let Ok(piece) = frame.context("the agent broke off")?.into_data() else { continue };
            if let ControlFlow::Break(end) = lines.take(&piece, &mut look)? {
                return Ok(Some(end));
            }
        }
    };
    tokio::select! {
        ended = following => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted.map(|()| None)?),
    }
}

/// Makes events of their lines.
#[derive(Default)]
struct Events {
    /// What was said of the one whose data is to come.
    kind: String,
}

impl Events {
    /// The agent's events have one line of data each; what begins otherwise is a comment.
    fn take<T>(
        &mut self,
        line: &str,
        look: &mut impl FnMut(Event<'_>) -> anyhow::Result<ControlFlow<T>>,
    ) -> anyhow::Result<ControlFlow<T>> {
        match line.split_once(':') {
            Some(("event", kind)) => kind.trim_start().clone_into(&mut self.kind),
            Some(("data", data)) => {
                let kind = std::mem::take(&mut self.kind);
                return look(Event { kind: &kind, data: data.trim_start() });
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Makes lines of the pieces that arrive.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take<T>(
        &mut self,
        piece: &[u8],
        look: &mut impl FnMut(&str) -> anyhow::Result<ControlFlow<T>>,
    ) -> anyhow::Result<ControlFlow<T>> {
        // Only what is new can have an end.
        let mut from = self.0.len();
        self.0.extend_from_slice(piece);
        let mut read = 0;
        while let Some(length) = self.0[from..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.0[read..from + length]);
            (read, from) = (from + length + 1, from + length + 1);
            let line = line.trim_end_matches('\r');
            if !line.is_empty()
                && let ControlFlow::Break(end) = look(line)?
            {
                return Ok(ControlFlow::Break(end));
            }
        }
        self.0.drain(..read);
        anyhow::ensure!(self.0.len() <= LONGEST_LINE, "the agent sends a line without an end");
        Ok(ControlFlow::Continue(()))
    }
}

fn answer(socket: &Path, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    Builder::new_current_thread().enable_all().build()?.block_on(whole(socket, request))
}

async fn whole(socket: &Path, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    timely(socket, async {
        let response = respond(socket, request).await?;
        Ok((response.status(), response.into_body().collect().await?.to_bytes()))
    })
    .await
}

/// The body of a good answer; a bad one is an error that says what the agent says.
fn good(socket: &Path, path: &str, (status, body): (StatusCode, Bytes)) -> anyhow::Result<Bytes> {
    if status != StatusCode::OK {
        let said = String::from_utf8_lossy(&body);
        bail!("the agent at {} answered {status} to {path}: {}", socket.display(), said.trim_end());
    }
    Ok(body)
}

async fn timely<T>(socket: &Path, answer: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let place = socket.display();
    timeout(ANSWER_WITHIN, answer)
        .await
        .with_context(|| format!("no answer within {ANSWER_WITHIN:?}"))
        .and_then(|answer| answer)
        .with_context(|| format!("ask the agent at {place}: is it running here, and is that its admin.socket?"))
}

async fn respond(socket: &Path, mut request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the body, or with the runtime at the latest.
    tokio::spawn(connection);
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    Ok(requests.send_request(request).await?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn lines_are_whole_however_their_pieces_come() {
        for size in 1..9 {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in b"one\n\ntwo\r\nthree\nfo".chunks(size) {
                let mut look = |line: &str| {
                    seen.push(line.to_owned());
                    Ok(ControlFlow::<()>::Continue(()))
                };
                assert!(lines.take(piece, &mut look).unwrap().is_continue());
            }
            assert_eq!(seen, ["one", "two", "three"], "pieces of {size}");
        }
    }

    #[test]
    fn events_are_read_and_comments_passed_over() {
        let (mut events, mut seen) = (Events::default(), Vec::new());
        for line in [":", "event: ended", "data: {\"a\": 1}", "retry: 5", "data: of no kind"] {
            let mut look = |event: Event<'_>| {
                seen.push(format!("{}|{}", event.kind, event.data));
                Ok(ControlFlow::<()>::Continue(()))
            };
            assert!(events.take(line, &mut look).unwrap().is_continue());
        }
        assert_eq!(seen, ["ended|{\"a\": 1}", "|of no kind"]);
    }

    #[test]
    fn a_line_without_an_end_is_not_gathered() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 1 << 20];
        let taken =
            (0..32).map(|_| lines.take(&piece, &mut |_| Ok(ControlFlow::<()>::Continue(())))).filter(Result::is_ok);
        assert_eq!(taken.count(), 16);
    }
}
