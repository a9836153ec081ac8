//! Changes of inputs that keep most of them what they are: by bytes, by words, and by the parts that a format is made of.

use fastrand::Rng;

/// How the inputs of one target are changed.
#[derive(Clone, Copy, Debug)]
pub struct Mutator {
    /// What the readers treat in a way of its own.
    pub words: &'static [&'static [u8]],
    /// Words that come many times over, for what is counted.
    pub repeated: &'static [&'static [u8]],
    /// Between two of these is a value.
    pub marks: &'static [u8],
    /// Where the parts of an input end.
    pub parts: fn(&[u8]) -> Vec<usize>,
    /// The longest input that comes out.
    pub most: usize,
}

/// Changes in one input, at most.
const MOST_CHANGES: usize = 4;

/// Parts that are copied together, at most.
const MOST_PARTS: usize = 12;

impl Mutator {
    /// A changed copy of an input; parts of `other` may come into it. The same generator state gives the same change.
    pub fn mutate(&self, rng: &mut Rng, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        // Mostly one: an input with many is refused for the first of them.
        let changes = if rng.bool() { 1 } else { rng.usize(1..=MOST_CHANGES) };
        for _ in 0..changes {
            match rng.u8(0..13) {
                0 | 1 => change_byte(rng, &mut bytes),
                2 => remove(rng, &mut bytes),
                3 | 4 => self.insert_word(rng, &mut bytes),
                5 | 6 => self.replace_value(rng, &mut bytes),
                7 => self.swap_parts(rng, &mut bytes),
                8 | 9 => self.take_parts(rng, &mut bytes, other),
                10 => bytes.extend_from_slice(other),
                11 => self.repeat_word(rng, &mut bytes),
                _ => bytes.truncate(rng.usize(..=bytes.len())),
            }
            bytes.truncate(self.most);
        }
        bytes
    }

    fn word(&self, rng: &mut Rng) -> &'static [u8] {
        rng.choice(self.words).copied().unwrap_or_default()
    }

    fn insert_word(&self, rng: &mut Rng, bytes: &mut Vec<u8>) {
        // Where a part begins half of the time: most words are parts, or begin one.
        let at = if rng.bool() { self.part_start(rng, bytes) } else { rng.usize(..=bytes.len()) };
        bytes.splice(at..at, self.word(rng).iter().copied());
    }

    /// Puts a word in the place of what is between two marks.
    fn replace_value(&self, rng: &mut Rng, bytes: &mut Vec<u8>) {
        let Some(inside) = pick(rng, bytes.len()) else { return };
        let is_mark = |byte: &u8| self.marks.contains(byte);
        let start = bytes[..inside].iter().rposition(is_mark).map_or(0, |mark| mark + 1);
        let end = bytes[inside..].iter().position(is_mark).map_or(bytes.len(), |mark| inside + mark);
        bytes.splice(start..end, self.word(rng).iter().copied());
    }

    fn swap_parts(&self, rng: &mut Rng, bytes: &mut Vec<u8>) {
        let mut parts = self.split(bytes);
        if let (Some(one), Some(other)) = (pick(rng, parts.len()), pick(rng, parts.len())) {
            parts.swap(one, other);
            *bytes = parts.concat();
        }
    }

    /// Copies a few parts of another input, or of this one, to before some part of this one.
    fn take_parts(&self, rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
        let from = if rng.bool() { other.to_vec() } else { bytes.clone() };
        let parts = self.split(&from);
        let Some(first) = pick(rng, parts.len()) else { return };
        let last = (first + rng.usize(1..=MOST_PARTS)).min(parts.len());
        let at = self.part_start(rng, bytes);
        bytes.splice(at..at, parts[first..last].concat());
    }

    fn repeat_word(&self, rng: &mut Rng, bytes: &mut Vec<u8>) {
        let Some(word) = rng.choice(self.repeated) else { return };
        let at = self.part_start(rng, bytes);
        let times = rng.choice([3, 16, 99, 101, 300, 1200]).unwrap_or_default();
        bytes.splice(at..at, word.repeat(times));
    }

    fn part_start(&self, rng: &mut Rng, bytes: &[u8]) -> usize {
        let starts = std::iter::once(0).chain((self.parts)(bytes)).collect::<Vec<_>>();
        rng.choice(starts).unwrap_or_default()
    }

    fn split<'a>(&self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let (mut parts, mut begin) = (Vec::new(), 0);
        for end in (self.parts)(bytes) {
            let (part, rest) = bytes.split_at(end - begin);
            parts.push(part);
            (bytes, begin) = (rest, end);
        }
        if !bytes.is_empty() {
            parts.push(bytes);
        }
        parts
    }
}

/// The parts of a text.
pub(crate) fn lines(text: &[u8]) -> Vec<usize> {
    text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1).collect()
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

fn pick(rng: &mut Rng, length: usize) -> Option<usize> {
    (length > 0).then(|| rng.usize(..length))
}
