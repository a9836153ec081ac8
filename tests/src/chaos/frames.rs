//! HTTP/2 as no library writes it: frames by hand, whole or not.

/// What a client says first (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:status: 200`, of HPACK's static table.
pub(super) const OK: &[u8] = &[0x88];

/// Kinds of frames.
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
/// Flags of frames.
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const ACK: u8 = 0x1;

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const WINDOW: u16 = 4;

/// A whole frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    let mut bytes = length.to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// SETTINGS, with a window for each stream where one is given.
pub(super) fn settings(window: Option<u32>) -> Vec<u8> {
    let pair = window.map(|window| [&WINDOW.to_be_bytes()[..], &window.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, &pair.unwrap_or_default())
}

/// The header block of a CONNECT; names are those of HPACK's static table, values are as they are.
pub(super) fn connect(authority: &str) -> Vec<u8> {
    let mut block = vec![0x02, 7];
    block.extend(b"CONNECT");
    block.extend([0x01, authority.len() as u8]);
    block.extend(authority.bytes());
    block
}

/// A whole conversation of a client: preface, settings, a CONNECT on the first stream, and these bytes in it.
pub(super) fn conversation(window: Option<u32>, authority: &str, bytes: &[u8]) -> Vec<u8> {
    [PREFACE.to_vec(), settings(window), frame(HEADERS, END_HEADERS, 1, &connect(authority)), frame(DATA, 0, 1, bytes)]
        .concat()
}
