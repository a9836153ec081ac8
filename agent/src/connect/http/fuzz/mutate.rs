//! Changes of bytes that keep most of them the requests that they are: by bytes, by words and by lines.

use fastrand::Rng;

/// The longest input that comes out: more than a head may have.
const MOST: usize = 80 << 10;

/// Changes in one input, at most.
const MOST_CHANGES: usize = 4;

/// What readers of HTTP/1, HTTP/2 or TLS treat in a way of its own.
const WORDS: [&[u8]; 61] = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\n\n",
    b"\r\n ",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\xe9",
    b":",
    b";",
    b",",
    b"0",
    b"1",
    b"00",
    b"f",
    b"FFFFFFFFFFFFFFFF",
    b"18446744073709551616",
    b"999999999999999999",
    b"+",
    b"-",
    b"0x",
    b"0\r\n\r\n",
    b"0\r\n",
    b"1\r\nx\r\n",
    b";a=\"b\"\r\n",
    b"t: 1\r\n",
    b"Content-Length: ",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: ",
    b"Transfer-Encoding: chunked\r\n",
    b"transfer-encoding:chunked\r\n",
    b"chunked",
    b"identity",
    b"gzip, ",
    b"Host: ",
    b"Host: a\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"Upgrade: ",
    b"Expect: 100-continue\r\n",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b" HTTP/1.1\r\n",
    b"HTTP/2.0",
    b"GET ",
    b"CONNECT ",
    b"POST / HTTP/1.1\r\nHost: a\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"http://a",
    b"*",
    b"/",
    b"@",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\0\x05",
    b"\x01\0\x01\0",
];

/// Words that come many times over, for what is counted.
const REPEATED: [&[u8]; 7] = [b"\r\n", b"a:\r\n", b"1\r\nx\r\n", b"x", b"0", b";a", b"\x16\x03\x01\0\x01\0"];

/// A changed copy of an input; parts of `other` may come into it. The same generator state gives the same change.
pub fn mutate(rng: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    // Mostly one: an input with many is refused for the first of them.
    let changes = if rng.bool() { 1 } else { rng.usize(1..=MOST_CHANGES) };
    for _ in 0..changes {
        match rng.u8(0..12) {
            0 => change_byte(rng, &mut bytes),
            1 => remove(rng, &mut bytes),
            2 | 3 => insert_word(rng, &mut bytes),
            4 | 5 => replace_between_marks(rng, &mut bytes),
            6 => swap_lines(rng, &mut bytes),
            7 | 8 => take_lines(rng, &mut bytes, other),
            9 => bytes.extend_from_slice(other),
            10 => repeat_word(rng, &mut bytes),
            _ => bytes.truncate(rng.usize(..=bytes.len())),
        }
        bytes.truncate(MOST);
    }
    bytes
}

/// To another of the same kind half of the time: a digit of a length is worth more than noise.
fn change_byte(rng: &mut Rng, bytes: &mut [u8]) {
    if let Some(byte) = pick(rng, bytes.len()).and_then(|index| bytes.get_mut(index)) {
        *byte = match byte {
            b'0'..=b'9' if rng.bool() => rng.u8(b'0'..=b'9'),
            b'A'..=b'Z' | b'a'..=b'z' if rng.bool() => *byte ^ 0x20,
            _ => rng.u8(..),
        };
    }
}

fn remove(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let Some(start) = pick(rng, bytes.len()) else { return };
    let end = (start + rng.usize(1..=16)).min(bytes.len());
    bytes.drain(start..end);
}

fn word(rng: &mut Rng) -> &'static [u8] {
    rng.choice(WORDS).unwrap_or_default()
}

fn insert_word(rng: &mut Rng, bytes: &mut Vec<u8>) {
    // Where a line begins half of the time: most words are lines, or begin one.
    let at = if rng.bool() { line_start(rng, bytes) } else { rng.usize(..=bytes.len()) };
    bytes.splice(at..at, word(rng).iter().copied());
}

fn replace_between_marks(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let Some(inside) = pick(rng, bytes.len()) else { return };
    let is_mark = |byte: &u8| b"\r\n :;,/".contains(byte);
    let start = bytes[..inside].iter().rposition(is_mark).map_or(0, |mark| mark + 1);
    let end = bytes[inside..].iter().position(is_mark).map_or(bytes.len(), |mark| inside + mark);
    bytes.splice(start..end, word(rng).iter().copied());
}

fn swap_lines(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if let (Some(one), Some(other)) = (pick(rng, lines.len()), pick(rng, lines.len())) {
        lines.swap(one, other);
        *bytes = lines.concat();
    }
}

/// Copies a few lines of another input, or of this one, to some line of this one.
fn take_lines(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let from = if rng.bool() { other.to_vec() } else { bytes.clone() };
    let taken: Vec<&[u8]> = from.split_inclusive(|byte| *byte == b'\n').collect();
    let Some(first) = pick(rng, taken.len()) else { return };
    let last = (first + rng.usize(1..=6)).min(taken.len());
    let at = line_start(rng, bytes);
    bytes.splice(at..at, taken[first..last].concat());
}

fn repeat_word(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = line_start(rng, bytes);
    let word = rng.choice(REPEATED).unwrap_or_default();
    let times = rng.choice([3, 16, 99, 101, 300, 1200]).unwrap_or_default();
    bytes.splice(at..at, word.repeat(times));
}

fn line_start(rng: &mut Rng, bytes: &[u8]) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    let starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
    rng.choice(starts).unwrap_or_default()
}

fn pick(rng: &mut Rng, length: usize) -> Option<usize> {
    (length > 0).then(|| rng.usize(..length))
}
