//! Changes of YAML texts that keep most of them what they are: by bytes, by lines and by words.

use fastrand::Rng;

/// The longest text that comes out.
const MOST: usize = 64 << 10;

/// Changes in one text, at most.
const MOST_CHANGES: usize = 4;

/// What YAML, the schemas or their readers treat in a way of its own.
const WORDS: [&str; 64] = [
    "null",
    "~",
    "true",
    "false",
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "2147483648",
    "9223372036854775808",
    "1e309",
    ".nan",
    "0x10",
    "0.0001",
    "100",
    "101",
    "\"\"",
    "''",
    "*",
    "\"*\"",
    "a*b",
    "{}",
    "[]",
    "[[]]",
    "{a: b}",
    "[a, a]",
    "&a [1]",
    "*a",
    "<<: *a",
    "!!binary aGk=",
    "!x y",
    "|",
    ">-",
    "- ",
    "? ",
    ": ",
    "---",
    "...",
    "#",
    "\t",
    "\u{feff}",
    "\u{0}",
    "\u{e9}",
    "/",
    "//",
    "/..",
    "/a/{*}/{**}",
    "(?i)a",
    "(a|b)*",
    ".*",
    "10.0.0.0/8",
    "::1/128",
    "0s",
    "1h1ms",
    "99999999999h",
    "*.",
    "a.b.c",
    "UNSET",
    "PathPrefix",
    "RegularExpression",
    "kind: HTTPRoute",
    "namespace: shop",
    "apiVersion: v1",
];

/// A changed copy of a text; parts of `other` may come into it. The same generator state gives the same change.
pub fn mutate(rng: &mut Rng, text: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    // Mostly one: a text with many is refused for the first of them.
    let changes = if rng.bool() { 1 } else { rng.usize(1..=MOST_CHANGES) };
    for _ in 0..changes {
        match rng.u8(0..8) {
            0 => change_byte(rng, &mut bytes),
            1 => remove(rng, &mut bytes),
            2 => insert_word(rng, &mut bytes),
            3 | 4 => replace_value(rng, &mut bytes),
            5 => swap_lines(rng, &mut bytes),
            6 => take_lines(rng, &mut bytes, other),
            _ => shift_line(rng, &mut bytes),
        }
        bytes.truncate(MOST);
    }
    bytes
}

fn change_byte(rng: &mut Rng, bytes: &mut [u8]) {
    if let Some(byte) = pick(rng, bytes.len()).and_then(|index| bytes.get_mut(index)) {
        *byte = rng.u8(..);
    }
}

fn remove(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let Some(start) = pick(rng, bytes.len()) else { return };
    let end = (start + rng.usize(1..=16)).min(bytes.len());
    bytes.drain(start..end);
}

fn word(rng: &mut Rng) -> &'static str {
    rng.choice(WORDS).unwrap_or_default()
}

fn insert_word(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = rng.usize(..=bytes.len());
    bytes.splice(at..at, word(rng).bytes());
}

/// Puts a word in the place of what is between two marks of YAML.
fn replace_value(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let Some(inside) = pick(rng, bytes.len()) else { return };
    let is_mark = |byte: &u8| b",:{}[]\n ".contains(byte);
    let start = bytes[..inside].iter().rposition(is_mark).map_or(0, |mark| mark + 1);
    let end = bytes[inside..].iter().position(is_mark).map_or(bytes.len(), |mark| inside + mark);
    bytes.splice(start..end, word(rng).bytes());
}

fn swap_lines(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if let (Some(one), Some(other)) = (pick(rng, lines.len()), pick(rng, lines.len())) {
        lines.swap(one, other);
        *bytes = lines.concat();
    }
}

/// Copies a few lines of another text, or of this one, to some line of this one.
fn take_lines(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let from = if rng.bool() { other.to_vec() } else { bytes.clone() };
    let taken: Vec<&[u8]> = from.split_inclusive(|byte| *byte == b'\n').collect();
    let Some(first) = pick(rng, taken.len()) else { return };
    let last = (first + rng.usize(1..=20)).min(taken.len());
    let at = line_start(rng, bytes);
    bytes.splice(at..at, taken[first..last].concat());
}

/// Indents a line by more or less.
fn shift_line(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let at = line_start(rng, bytes);
    if bytes.get(at) == Some(&b' ') && rng.bool() {
        bytes.remove(at);
    } else {
        bytes.splice(at..at, *b"  ");
    }
}

fn line_start(rng: &mut Rng, bytes: &[u8]) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    let starts: Vec<usize> = std::iter::once(0).chain(ends).collect();
    rng.choice(starts).unwrap_or_default()
}

fn pick(rng: &mut Rng, length: usize) -> Option<usize> {
    (length > 0).then(|| rng.usize(..length))
}
