//! A client's HTTP/1.1 connection, by hand: heads are written as they are given and read as they come.

use std::io::{Error, ErrorKind};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::report::{Answer, Ask, Line, values};
use super::stream::{Parts, at_once, length};
use crate::peer::bulk::Digest;
use crate::peer::errno;

/// An answer's head may not be larger.
const MOST_HEAD: usize = 1 << 20;
/// Larger bodies are counted and not kept.
const KEPT: usize = 64 << 10;

/// An open connection.
pub(super) struct Connection {
    reader: Reader,
    writer: OwnedWriteHalf,
    /// Whether the server will answer another request.
    is_open: bool,
}

struct Reader {
    stream: OwnedReadHalf,
    buffer: BytesMut,
    every: Duration,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        let reader = Reader { stream: reader, buffer: BytesMut::new(), every: Duration::ZERO };
        Self { reader, writer, is_open: true }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// One request and its answer. Head and body are read while the body is sent.
    pub(super) async fn exchange(&mut self, ask: &Ask) -> Answer {
        let (begin, mut answer) = (Instant::now(), Answer::default());
        self.reader.every = Duration::from_millis(ask.read_every_ms);
        if let Err(error) = self.writer.write_all(head(ask).as_bytes()).await {
            answer.error = Some(errno::name(&error));
        }
        let has_body = length(ask) > 0 || !ask.trailers.is_empty();
        let (go_on, waiting) = tokio::sync::oneshot::channel();
        let mut go_on = Some(go_on);
        let (reader, writer) = (&mut self.reader, &mut self.writer);
        let sending = async {
            if has_body && (!ask.wait_continue || waiting.await.is_ok()) {
                return send_body(writer, ask).await;
            }
            Ok(!has_body)
        };
        let reading = async {
            loop {
                let status = reader.head(&mut answer).await?;
                answer.head_ms = begin.elapsed().as_secs_f64() * 1e3;
                if status >= 200 || status == 101 {
                    // A body that was waiting for 100 is not sent any more.
                    go_on = None;
                    return reader.body(ask, &mut answer).await;
                }
                answer.interim.push(status);
                if let Some(go_on) = go_on.take().filter(|_| status == 100) {
                    let _ = go_on.send(());
                }
                answer.headers.clear();
            }
        };
        let (sent_all, read) = at_once(sending, reading).await;
        let (error, reusable) = match read {
            Ok(reusable) => (None, reusable),
            Err(error) => (Some(errno::name(&error)), false),
        };
        answer.sent_all = sent_all;
        answer.error = answer.error.or(error);
        answer.ms = begin.elapsed().as_secs_f64() * 1e3;
        self.is_open = reusable && sent_all && answer.error.is_none();
        answer
    }
}

fn head(ask: &Ask) -> String {
    let mut head = format!("{} {} HTTP/1.1\r\n", ask.method, ask.target);
    let has = |name: &str| ask.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let mut line = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
    if !has("host") {
        line("host", &ask.host.clone().unwrap_or_else(|| ask.to.to_string()));
    }
    for (name, value) in &ask.headers {
        line(name, value);
    }
    let length = length(ask);
    if !has("content-length") && !has("transfer-encoding") {
        if ask.chunked || !ask.trailers.is_empty() {
            line("transfer-encoding", "chunked");
        } else if length > 0 || ask.method == "POST" || ask.method == "PUT" {
            line("content-length", &length.to_string());
        }
    }
    if ask.wait_continue {
        line("expect", "100-continue");
    }
    head + "\r\n"
}

/// `true` once all is sent.
async fn send_body(writer: &mut OwnedWriteHalf, ask: &Ask) -> std::io::Result<bool> {
    let is_chunked = ask.chunked || !ask.trailers.is_empty();
    let mut parts = Parts::of(ask);
    while let Some(part) = parts.next().await {
        if is_chunked {
            writer.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await?;
        }
        writer.write_all(&part).await?;
        if is_chunked {
            writer.write_all(b"\r\n").await?;
        }
    }
    if is_chunked {
        let mut end = "0\r\n".to_owned();
        ask.trailers.iter().for_each(|(name, value)| end.push_str(&format!("{name}: {value}\r\n")));
        writer.write_all((end + "\r\n").as_bytes()).await?;
    }
    Ok(true)
}

impl Reader {
    /// Status and header lines.
    async fn head(&mut self, answer: &mut Answer) -> std::io::Result<u16> {
        let status_line = self.line().await?;
        let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| invalid(&format!("`{status_line}` is no status line")))?;
        answer.headers = self.lines().await?;
        if status >= 200 || status == 101 {
            answer.status = status;
        }
        Ok(status)
    }

    /// The body as the head announces it; whether the connection can be used again.
    async fn body(&mut self, ask: &Ask, answer: &mut Answer) -> std::io::Result<bool> {
        let mut kept = Kept::new();
        let value = |name: &str| values(&answer.headers, name).unwrap_or_default().to_ascii_lowercase();
        let mut reusable = !value("connection").contains("close");
        let (status, length) = (answer.status, value("content-length"));
        let read = if ask.method == "HEAD" || matches!(status, 101 | 204 | 304) {
            reusable &= status != 101;
            Ok(())
        } else if value("transfer-encoding").contains("chunked") {
            self.chunks(&mut kept).await.map(|trailers| answer.trailers = trailers)
        } else if !length.is_empty() {
            let length = length.parse().map_err(|_| invalid("content-length is no number"))?;
            self.exactly(length, &mut kept).await
        } else {
            reusable = false;
            self.until_it_ends(&mut kept).await
        };
        (answer.body, answer.received) = kept.end();
        read.map(|()| reusable)
    }

    async fn chunks(&mut self, kept: &mut Kept) -> std::io::Result<Vec<Line>> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| invalid("no chunk size"))?;
            if size == 0 {
                return self.lines().await;
            }
            self.exactly(size, kept).await?;
            self.line().await?;
        }
    }

    async fn exactly(&mut self, mut left: u64, kept: &mut Kept) -> std::io::Result<()> {
        while left > 0 {
            self.fill().await?;
            let count = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            kept.push(&self.buffer[..count]);
            self.buffer.advance(count);
            left -= count as u64;
        }
        Ok(())
    }

    async fn until_it_ends(&mut self, kept: &mut Kept) -> std::io::Result<()> {
        loop {
            match self.fill().await {
                Ok(()) => {
                    kept.push(&self.buffer);
                    self.buffer.clear();
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn lines(&mut self) -> std::io::Result<Vec<Line>> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(lines);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&format!("`{line}` is no header")))?;
            lines.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    async fn line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.advance(end + 2);
                return Ok(line);
            }
            if self.buffer.len() > MOST_HEAD {
                return Err(invalid("a line does not end"));
            }
            self.more().await?;
        }
    }

    /// Makes sure that the buffer has something.
    async fn fill(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            if !self.every.is_zero() {
                tokio::time::sleep(self.every).await;
            }
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> std::io::Result<()> {
        self.buffer.reserve(super::CHUNK);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A body that is counted, and kept while it is small.
pub(super) struct Kept {
    digest: Digest,
    bytes: Vec<u8>,
}

impl Kept {
    pub(super) fn new() -> Self {
        Self { digest: Digest::new(), bytes: Vec::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        if self.bytes.len() + bytes.len() <= KEPT {
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(super) fn end(self) -> (String, Option<crate::peer::report::Receipt>) {
        (String::from_utf8_lossy(&self.bytes).into_owned(), Some(self.digest.receipt()))
    }
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text.to_owned())
}
