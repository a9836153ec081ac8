//! A reader of HTTP/1 requests as plain as can be, to compare with: all bytes at hand, no state, and no leniency.
//!
//! It reads what has passed the guard, and takes offence at what must not have passed.

/// A request as it was framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// None where the bytes end before the body does.
    pub(super) body: Option<usize>,
    /// A server may end the connection after it.
    pub(super) may_close: bool,
    /// A server may have an opinion of its own of the target.
    pub(super) odd_target: bool,
}

/// Where the bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Between requests.
    Between,
    /// Within the last one.
    Within,
    /// With a head that makes a server answer with an error.
    Answered,
    /// The rest is no HTTP.
    Switched,
}

/// What bytes are when read as requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) messages: Vec<Message>,
    pub(super) end: End,
}

/// Reads requests; `switches` is whether those that ask for something else than HTTP are given it.
pub(super) fn read(mut bytes: &[u8], switches: bool) -> Result<Stream, String> {
    let mut messages = Vec::new();
    let end = loop {
        if bytes.is_empty() {
            break End::Between;
        }
        let Some((head, after)) = cut(bytes, b"\r\n\r\n") else { return Err("a head passed without its end".into()) };
        let Some(head) = Head::read(head)? else { break End::Answered };
        let body = match head.length {
            None => chunked(after)?,
            Some(length) => after.get(length..).map(|rest| (length, rest)),
        };
        let (may_close, odd_target) = (head.may_close, head.odd_target);
        messages.push(Message { body: body.map(|(length, _)| length), may_close, odd_target });
        let Some((_, rest)) = body else { break End::Within };
        if head.may_switch && switches {
            break End::Switched;
        }
        bytes = rest;
    };
    Ok(Stream { messages, end })
}

struct Head {
    /// None: in chunks.
    length: Option<usize>,
    may_close: bool,
    may_switch: bool,
    odd_target: bool,
}

impl Head {
    /// None where it is one of those that stand for a refused one.
    fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        let text = latin1(bytes);
        let mut lines = text.split("\r\n");
        let request_line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, target, version] = request_line[..] else { return Err(format!("{request_line:?} passed")) };
        let headers = lines.map(|line| line.split_once(':').ok_or_else(|| format!("the header {line:?} passed")));
        let headers = headers.collect::<Result<Vec<_>, _>>()?;
        if method == "@" || headers.len() > 100 {
            return Ok(None);
        }
        let values = |wanted: &str| -> Vec<String> {
            let headers = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            headers.map(|(_, value)| value.trim_matches([' ', '\t']).to_ascii_lowercase()).collect()
        };
        let is_http11 = version == "HTTP/1.1";
        Ok(Some(Self {
            length: length(&values("content-length"), &values("transfer-encoding"))?,
            may_close: !is_http11 || values("connection").iter().any(|value| value.contains("close")),
            may_switch: method == "CONNECT" || is_http11 && !values("upgrade").is_empty(),
            odd_target: target.parse::<http::Uri>().is_err()
                || target.contains(['"', '<', '>', '\\', '^', '`', '{', '|', '}']),
        }))
    }
}

fn length(lengths: &[String], codings: &[String]) -> Result<Option<usize>, String> {
    let framed_twice = || format!("a head passed with the lengths {lengths:?} and the codings {codings:?}");
    match (lengths, codings) {
        ([], []) => Ok(Some(0)),
        ([], [coding]) if coding == "chunked" => Ok(None),
        ([length], []) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Some).map_err(|_| framed_twice())
        }
        _ => Err(framed_twice()),
    }
}

/// The length of the chunks' data, and what follows them; none where they end early.
fn chunked(mut rest: &[u8]) -> Result<Option<(usize, &[u8])>, String> {
    let mut length = 0;
    while let Some((line, after)) = cut(rest, b"\r\n") {
        let line = latin1(line);
        let digits = line.split(';').next().unwrap_or_default();
        let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(digits, 16).ok().filter(|_| is_number);
        let size = size.ok_or_else(|| format!("the chunk size {line:?} passed"))?;
        if size == 0 {
            return Ok(after_trailers(after).map(|rest| (length, rest)));
        }
        let Some((_, after)) = after.split_at_checked(size) else { return Ok(None) };
        rest = match after {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] => return Ok(None),
            _ => return Err("a chunk passed that is longer than its size".to_owned()),
        };
        length += size;
    }
    Ok(None)
}

fn after_trailers(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let (line, after) = cut(rest, b"\r\n")?;
        if line.is_empty() {
            return Some(after);
        }
        rest = after;
    }
}

/// What is before a mark, and what is after it.
fn cut<'a>(bytes: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(mark.len()).position(|window| window == mark)?;
    Some((&bytes[..at], &bytes[at + mark.len()..]))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
