//! A pattern of bytes with the marker in each KiB.

use super::MARKER;
use crate::peer::pattern::Pattern;

/// Where the marker begins again.
const BLOCK: u64 = 1 << 10;

/// An endless stream of bytes, of a seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marked(Pattern);

impl Marked {
    pub(super) fn new(seed: u64) -> Self {
        Self(Pattern::new(seed))
    }

    /// Fills `buffer` with the bytes of the stream from `offset`.
    pub(super) fn fill(self, offset: u64, buffer: &mut [u8]) {
        self.0.fill(offset, buffer);
        let end = offset + buffer.len() as u64;
        let mut block = offset - offset % BLOCK;
        while block < end {
            for (at, byte) in (block..).zip(MARKER.bytes()) {
                let place = at.checked_sub(offset).and_then(|at| buffer.get_mut(usize::try_from(at).ok()?));
                if let Some(place) = place {
                    *place = byte;
                }
            }
            block += BLOCK;
        }
    }

    /// The offset in the stream of the first byte of `bytes` that is wrong, if any, when they start at `offset`.
    pub(super) fn first_difference(self, offset: u64, bytes: &[u8], scratch: &mut Vec<u8>) -> Option<u64> {
        scratch.resize(bytes.len(), 0);
        self.fill(offset, scratch);
        let at = (bytes != scratch.as_slice()).then(|| bytes.iter().zip(scratch.iter()).position(|(a, b)| a != b))?;
        at.map(|at| offset + at as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_the_stream_gives_the_same_bytes_and_each_kib_has_the_marker() {
        let marked = Marked::new(7);
        let mut whole = vec![0; 4096];
        marked.fill(0, &mut whole);
        assert_eq!(whole.windows(MARKER.len()).filter(|window| *window == MARKER.as_bytes()).count(), 4);
        for (from, length) in [(0, 1), (5, 10), (1000, 30), (1023, 2), (1030, 2000), (2048, 0)] {
            let mut part = vec![0; length];
            marked.fill(from as u64, &mut part);
            assert_eq!(part, whole[from..from + length], "{from}");
        }
    }

    #[test]
    fn one_wrong_byte_is_found_where_it_is() {
        let (marked, mut bytes, mut scratch) = (Marked::new(9), [0; 100], Vec::new());
        marked.fill(1000, &mut bytes);
        assert_eq!(marked.first_difference(1000, &bytes, &mut scratch), None);
        bytes[42] ^= 1;
        assert_eq!(marked.first_difference(1000, &bytes, &mut scratch), Some(1042));
    }
}
