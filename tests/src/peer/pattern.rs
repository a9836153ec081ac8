//! Bytes that anyone can make again from a seed and an offset, to verify a stream byte for byte at any place.
//!
//! SplitMix64 (Steele, Lea, Flood 2014) over the index of each 8-byte word; not for secrets.

/// An endless stream of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    seed: u64,
}

impl Pattern {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Fills `buffer` with the bytes of the stream from `offset`.
    pub(super) fn fill(self, offset: u64, buffer: &mut [u8]) {
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let word = self.word(at / 8).to_le_bytes();
            let from = (at % 8) as usize;
            let count = (8 - from).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&word[from..from + count]);
            at += count as u64;
            rest = later;
        }
    }

    /// The offset in the stream of the first byte of `bytes` that is wrong, if any, when they start at `offset`.
    pub(super) fn first_difference(self, offset: u64, bytes: &[u8], scratch: &mut Vec<u8>) -> Option<u64> {
        scratch.resize(bytes.len(), 0);
        self.fill(offset, scratch);
        if bytes == scratch.as_slice() {
            return None;
        }
        let at = bytes.iter().zip(scratch.iter()).position(|(a, b)| a != b);
        at.map(|at| offset + at as u64)
    }

    fn word(self, index: u64) -> u64 {
        let mut z = self.seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_cut_of_the_stream_gives_the_same_bytes() {
        let pattern = Pattern::new(7);
        let mut whole = [0; 64];
        pattern.fill(0, &mut whole);
        for from in 0..20 {
            for length in 0..30 {
                let mut part = vec![0; length];
                pattern.fill(from as u64, &mut part);
                assert_eq!(part, whole[from..from + length]);
            }
        }
    }

    #[test]
    fn one_wrong_byte_is_found_where_it_is() {
        let (pattern, mut bytes, mut scratch) = (Pattern::new(9), [0; 100], Vec::new());
        pattern.fill(1000, &mut bytes);
        assert_eq!(pattern.first_difference(1000, &bytes, &mut scratch), None);
        bytes[42] ^= 1;
        assert_eq!(pattern.first_difference(1000, &bytes, &mut scratch), Some(1042));
        assert!(Pattern::new(10).first_difference(1000, &bytes, &mut scratch).is_some());
    }
}
