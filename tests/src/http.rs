//! Just enough HTTP/1.1 to ask an agent's endpoints: one GET per connection over any byte stream.
//!
//! Understands `content-length`, chunked bodies and bodies that end with the connection. Not a client for the traffic
//! under test: that is sent by `heddle-peer`, curl and others.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

/// An answer may not be larger; a node's `/config` and `/metrics` stay far below.
const MAX_BYTES: u64 = 64 << 20;

/// An HTTP answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, decoded.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends `GET path` for `host` on the stream and reads the answer.
pub fn get(mut stream: impl Read + Write, host: &str, path: &str) -> Result<Response> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
        .with_context(|| format!("sending GET {path} to {host}"))?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).with_context(|| format!("reading {path} of {host}"))?;
    parse(&answer).with_context(|| format!("understanding the answer of {host} to GET {path}"))
}

/// Reads a whole answer.
pub fn parse(answer: &[u8]) -> Result<Response> {
    let end =
        answer.windows(4).position(|w| w == b"\r\n\r\n").context("the connection ended before the headers did")?;
    let head = std::str::from_utf8(&answer[..end]).context("the headers are not UTF-8")?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("no status in `{status_line}`"))?;
    let header = |name: &str| {
        let mut found = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        found.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let rest = &answer[end + 4..];
    let body = if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        dechunk(rest)?
    } else if let Some(length) = header("content-length") {
        let length: usize = length.parse().context("content-length is not a number")?;
        rest.get(..length).with_context(|| format!("{} of {length} bytes arrived", rest.len()))?.to_vec()
    } else {
        rest.to_vec()
    };
    Ok(Response { status, body })
}

fn dechunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").context("a chunk size is cut off")?;
        let text = std::str::from_utf8(&rest[..end]).unwrap_or_default();
        let digits = text.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).with_context(|| format!("`{digits}` is no chunk size"))?;
        if size == 0 {
            return Ok(body);
        }
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else { bail!("a chunk of {size} bytes is cut off") };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..).context("a chunk has no end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(answer: &str) -> Option<String> {
        parse(answer.as_bytes()).ok().map(|r| format!("{} {}", r.status, r.text()))
    }

    #[test]
    fn bodies_of_every_framing_are_read() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "200 ok"),
            ("HTTP/1.1 503 No\r\n\r\nuntil the end", "503 until the end"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "200 abcde"),
        ];
        for (answer, expected) in cases {
            assert_eq!(body(answer).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_cut_off_answer_is_an_error_and_not_a_short_body() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-le",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert_eq!(body(answer), None, "{answer:?}");
        }
    }
}
