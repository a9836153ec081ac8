//! One request head, judged by RFC 9112 without the leniency that it allows: what two readers could frame differently is
//! refused. In: bytes up to and with the empty line. Out: how the body after it is framed.

use super::Refused;

/// hyper takes 100 headers (`DEFAULT_MAX_HEADERS`) and answers more with 431; and as many trailers.
pub(super) const MOST_HEADERS: usize = 100;

/// Below 2^63 for sure, as every reader's integers are.
const MOST_LENGTH_DIGITS: usize = 18;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    Sized(u64),
    Chunked,
}

/// What the framing after a head depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) body: BodyLength,
    /// Other than HTTP may follow, if the service accepts it.
    pub(super) may_switch: bool,
}

/// Looks for the end of a head from `from` on, where the byte before was seen already.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Result<Option<usize>, Refused> {
    for (index, byte) in bytes.iter().enumerate().skip(from) {
        let after_cr = index > 0 && bytes[index - 1] == b'\r';
        match byte {
            b'\n' if !after_cr => return Err(Refused::BareLineEnd),
            b'\n' if bytes[..=index].ends_with(b"\r\n\r\n") => return Ok(Some(index + 1)),
            b'\n' => {}
            _ if after_cr => return Err(Refused::BareLineEnd),
            b'\r' | b'\t' => {}
            byte if byte.is_ascii_control() => return Err(Refused::ControlByte),
            _ => {}
        }
    }
    Ok(None)
}

/// Judges a whole head, whose line ends [`end_of_head`] has checked.
pub(super) fn judge(head: &[u8]) -> Result<Judged, Refused> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let (method, is_http11) = request_line(lines.next().unwrap_or_default())?;
    let mut seen = Seen::default();
    for (index, line) in lines.take_while(|line| !line.is_empty()).enumerate() {
        if index == MOST_HEADERS {
            return Err(Refused::HeadTooLong);
        }
        seen.header(line)?;
    }
    if is_http11 && seen.hosts != 1 {
        return Err(Refused::Host);
    }
    let body = match (seen.length, seen.chunked) {
        (Some(_), true) => return Err(Refused::BothLengths),
        (_, true) if !is_http11 => return Err(Refused::TransferEncoding),
        (_, true) => BodyLength::Chunked,
        (length, false) => BodyLength::Sized(length.unwrap_or_default()),
    };
    Ok(Judged { body, may_switch: method == b"CONNECT" || (is_http11 && seen.upgrade) })
}

fn request_line(line: &[u8]) -> Result<(&[u8], bool), Refused> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::RequestLine);
    };
    if !is_token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(Refused::RequestLine);
    }
    match version {
        b"HTTP/1.1" => Ok((method, true)),
        b"HTTP/1.0" => Ok((method, false)),
        _ => Err(Refused::Version),
    }
}

#[derive(Default)]
struct Seen {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Seen {
    fn header(&mut self, line: &[u8]) -> Result<(), Refused> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Refused::FoldedLine);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Refused::HeaderName)?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        if !is_token(name) {
            return Err(Refused::HeaderName);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            return if self.hosts == 1 && is_host(value) { Ok(()) } else { Err(Refused::Host) };
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = length(value).ok_or(Refused::ContentLength)?;
            return if self.length.replace(length).is_none() { Ok(()) } else { Err(Refused::ContentLength) };
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let alone = !std::mem::replace(&mut self.chunked, true);
            let fits = alone && value.eq_ignore_ascii_case(b"chunked");
            return if fits { Ok(()) } else { Err(Refused::TransferEncoding) };
        }
        self.upgrade |= name.eq_ignore_ascii_case(b"upgrade");
        Ok(())
    }
}

fn length(value: &[u8]) -> Option<u64> {
    let fits = (1..=MOST_LENGTH_DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    fits.then(|| value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// `uri-host [ ":" port ]` of RFC 3986, roughly: nothing that another reader takes for a path, a user or a list.
fn is_host(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
    !value.is_empty()
        && value.iter().all(allowed)
        && std::str::from_utf8(value).is_ok_and(|text| text.parse::<http::uri::Authority>().is_ok())
}

/// The characters of a header's name and of a method.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_token_byte)
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
