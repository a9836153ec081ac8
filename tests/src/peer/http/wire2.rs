//! A client's HTTP/2 connection in plaintext, with prior knowledge.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use tokio::net::TcpStream;

use super::report::{Answer, Ask, Line};
use super::stream::{Parts, at_once, length};
use super::wire1::Kept;

/// An open connection.
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    is_open: bool,
}

impl Connection {
    pub(super) async fn new(stream: TcpStream) -> Result<Self, h2::Error> {
        let (requests, connection) = h2::client::handshake(stream).await?;
        // Its failures are those of its requests.
        tokio::spawn(connection);
        Ok(Self { requests, is_open: true })
    }

    /// Not where the server has said that it takes no more requests.
    pub(super) fn is_open(&self) -> bool {
        let ready = self.requests.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        self.is_open && !matches!(ready, Poll::Ready(Err(_)))
    }

    /// One request and its answer.
    pub(super) async fn exchange(&mut self, ask: &Ask) -> Answer {
        let (begin, mut answer) = (Instant::now(), Answer::default());
        let exchanged = self.send(ask, &mut answer, begin).await;
        answer.error = exchanged.err();
        answer.ms = begin.elapsed().as_secs_f64() * 1e3;
        self.is_open = answer.error.is_none();
        answer
    }

    async fn send(&mut self, ask: &Ask, answer: &mut Answer, begin: Instant) -> Result<(), String> {
        let request = request(ask).map_err(|error| format!("not to be sent in HTTP/2: {error}"))?;
        let has_body = length(ask) > 0 || !ask.trailers.is_empty();
        let mut requests = self.requests.clone().ready().await.map_err(|error| name(&error))?;
        let (response, mut body) = requests.send_request(request, !has_body).map_err(|error| name(&error))?;
        let sending = async {
            if has_body {
                let mut parts = Parts::of(ask);
                while let Some(part) = parts.next().await {
                    send_part(&mut body, part).await?;
                }
                let last = if ask.trailers.is_empty() {
                    body.send_data(Bytes::new(), true)
                } else {
                    body.send_trailers(map(&ask.trailers).unwrap_or_default())
                };
                last.map_err(|error| name(&error))?;
            }
            Ok::<bool, String>(true)
        };
        let (headers, trailers) = (&mut answer.headers, &mut answer.trailers);
        let mut kept = Kept::new();
        let received = &mut kept;
        let every = Duration::from_millis(ask.read_every_ms);
        let reading = async {
            let response = response.await.map_err(|error| name(&error))?;
            let head_ms = begin.elapsed().as_secs_f64() * 1e3;
            let (head, mut stream) = response.into_parts();
            *headers = lines(&head.headers);
            let ended = receive(&mut stream, every, received).await;
            if ended.is_ok() {
                let last = stream.trailers().await.map_err(|error| name(&error))?;
                *trailers = last.as_ref().map(lines).unwrap_or_default();
            }
            Ok::<_, String>((head.status.as_u16(), head_ms, ended))
        };
        let (sent_all, read) = at_once(sending, reading).await;
        answer.sent_all = sent_all;
        let (status, head_ms, ended) = read?;
        (answer.status, answer.head_ms) = (status, head_ms);
        (answer.body, answer.received) = kept.end();
        ended
    }
}

async fn receive(stream: &mut RecvStream, every: Duration, kept: &mut Kept) -> Result<(), String> {
    while let Some(data) = stream.data().await {
        let data = data.map_err(|error| name(&error))?;
        kept.push(&data);
        if !every.is_zero() {
            tokio::time::sleep(every).await;
        }
        stream.flow_control().release_capacity(data.len()).map_err(|error| name(&error))?;
    }
    Ok(())
}

async fn send_part(body: &mut h2::SendStream<Bytes>, mut part: Bytes) -> Result<(), String> {
    while !part.is_empty() {
        body.reserve_capacity(part.len());
        let granted = std::future::poll_fn(|context| body.poll_capacity(context)).await;
        let granted = granted.ok_or("the stream is closed")?.map_err(|error| name(&error))?;
        let now = part.split_to(granted.min(part.len()));
        body.send_data(now, false).map_err(|error| name(&error))?;
    }
    Ok(())
}

fn request(ask: &Ask) -> Result<Request<()>, http::Error> {
    let authority = ask.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| ask.to.to_string());
    let uri = if ask.method == "CONNECT" {
        Uri::builder().authority(ask.target.as_str()).build()?
    } else {
        Uri::builder().scheme("http").authority(authority).path_and_query(ask.target.as_str()).build()?
    };
    let mut request = Request::builder().method(ask.method.as_str()).uri(uri).body(())?;
    *request.headers_mut() = map(&ask.headers)?;
    if length(ask) > 0 && !ask.chunked && ask.trailers.is_empty() {
        request.headers_mut().insert("content-length", length(ask).into());
    }
    Ok(request)
}

fn map(lines: &[Line]) -> Result<HeaderMap, http::Error> {
    let mut map = HeaderMap::new();
    // `host` is `:authority` in HTTP/2.
    for (name, value) in lines.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        map.append(HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes())?, HeaderValue::from_str(value)?);
    }
    Ok(map)
}

fn lines(map: &HeaderMap) -> Vec<Line> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    map.iter().map(line).collect()
}

fn name(error: &h2::Error) -> String {
    match (error.reason(), error.get_io()) {
        (_, Some(error)) => crate::peer::errno::name(error),
        (Some(reason), None) => format!("{reason:?}"),
        (None, None) => error.to_string(),
    }
}
