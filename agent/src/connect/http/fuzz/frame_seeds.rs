//! Frames of HTTP/2 to begin with (RFC 9113, section 4), with headers as HPACK writes them without a table (RFC 7541).

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method: GET`, `:scheme: http`, `:path: /` of the static table.
const GET: &[u8] = &[0x82, 0x86, 0x84];
/// `:method: POST` with the same.
const POST: &[u8] = &[0x83, 0x86, 0x84];

/// The same in every run.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let get = [GET, &authority("a")].concat();
    let connect = |to: &str| [literal(":method", "CONNECT"), authority(to)].concat();
    let with = |name: &str, value: &str| [&get[..], &literal(name, value)].concat();
    let whole = |headers: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 1, headers);
    let open = |headers: &[u8]| frame(HEADERS, END_HEADERS, 1, headers);
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let post = [POST, &authority("a:80"), &literal("content-length", "5")].concat();
    let conversations: Vec<Vec<Vec<u8>>> = vec![
        vec![whole(&get)],
        vec![whole(&get), frame(HEADERS, END_STREAM | END_HEADERS, 3, &get), frame(PING, 0, 0, &[7; 8])],
        vec![open(&post), data(END_STREAM, b"hello")],
        vec![open(&post), data(0, b"hel"), data(END_STREAM, b"lo"), frame(GOAWAY, 0, 0, &[0; 8])],
        vec![open(&post), data(0, b"hello"), frame(HEADERS, END_STREAM | END_HEADERS, 1, &literal("t", "1"))],
        vec![frame(HEADERS, END_STREAM, 1, &get[..2]), frame(CONTINUATION, END_HEADERS, 1, &get[2..])],
        vec![open(&connect("10.0.0.1:80")), data(0, b"bytes"), data(END_STREAM, b"")],
        vec![open(&connect("[fd00::1]:80")), frame(RESET, 0, 1, &[0, 0, 0, 8])],
        vec![open(&connect("web.shop.svc:8080")), frame(WINDOW_UPDATE, 0, 1, &[0, 1, 0, 0])],
        vec![whole(&with("host", "b"))],
        vec![whole(&with("connection", "close"))],
        vec![whole(&with("te", "trailers"))],
        vec![whole(&with("cookie", "a=b")), whole(&with("x", &"y".repeat(100)))],
        vec![whole(&[literal(":method", "CONNECT"), literal(":protocol", "websocket"), get.clone()].concat())],
        vec![frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), whole(&get)],
    ];
    let settings = frame(SETTINGS, 0, 0, &[]);
    let with_preface = |frames: Vec<Vec<u8>>| [PREFACE, &settings, &frames.concat()].concat();
    conversations.into_iter().map(with_preface).collect()
}

/// Where frames end: the preface is a part of its own, and so is what is no whole frame.
pub(super) fn parts(bytes: &[u8]) -> Vec<usize> {
    let mut end = if bytes.starts_with(PREFACE) { PREFACE.len() } else { 0 };
    let mut ends = vec![end];
    while let Some([a, b, c]) = bytes.get(end..).and_then(|rest| rest.first_chunk::<3>()) {
        end += 9 + usize::from(*a) * 65536 + usize::from(*b) * 256 + usize::from(*c);
        if end > bytes.len() {
            break;
        }
        ends.push(end);
    }
    ends
}

/// Whether a frame of this kind is among them.
pub(super) fn has(kind: u8, bytes: &[u8]) -> bool {
    parts(bytes).into_iter().any(|begin| bytes.get(begin + 3) == Some(&kind))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn authority(host: &str) -> Vec<u8> {
    literal(":authority", host)
}

/// A header that is written out, and put into no table (RFC 7541, section 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or(0x7e)], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}
