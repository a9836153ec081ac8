//! Bytes that were right once, changed by chance: what a broken peer sends, or one that searches.

use fastrand::Rng;

/// Values that readers have had trouble with.
const ODD: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'\r', b'\n', b' '];
/// An input does not grow beyond this.
const LONGEST: usize = 64 << 10;

/// A changed copy of one of the samples.
pub(super) fn mutated(rng: &mut Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let any = |rng: &mut Rng| rng.choice(samples).cloned().unwrap_or_default();
    let mut bytes = any(rng);
    for _ in 0..rng.usize(1..8) {
        match rng.u8(0..8) {
            0 => flip(rng, &mut bytes),
            1 => put(rng, &mut bytes),
            2 => drop(bytes.drain(range(rng, bytes.len()))),
            3 => bytes.truncate(rng.usize(..=bytes.len())),
            4 => {
                let again = bytes[range(rng, bytes.len())].to_vec();
                insert(rng, &mut bytes, &again);
            }
            5 => {
                let other = any(rng);
                let part = other[range(rng, other.len())].to_vec();
                insert(rng, &mut bytes, &part);
            }
            6 => {
                let random: Vec<u8> = (0..rng.usize(1..40)).map(|_| rng.u8(..)).collect();
                insert(rng, &mut bytes, &random);
            }
            _ => lengthen(rng, &mut bytes),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn flip(rng: &mut Rng, bytes: &mut [u8]) {
    let bit = 1 << rng.u8(0..8);
    if let Some(byte) = bytes.get_mut(rng.usize(..bytes.len().max(1))) {
        *byte ^= bit;
    }
}

fn put(rng: &mut Rng, bytes: &mut [u8]) {
    let value = rng.choice(ODD).unwrap_or(0);
    if let Some(byte) = bytes.get_mut(rng.usize(..bytes.len().max(1))) {
        *byte = value;
    }
}

/// Adds to what may be a length of two bytes.
fn lengthen(rng: &mut Rng, bytes: &mut [u8]) {
    let at = rng.usize(..bytes.len().max(1));
    if let Some([high, low]) = bytes.get_mut(at..at + 2) {
        let more = u16::from_be_bytes([*high, *low]).wrapping_add(rng.u16(..));
        [*high, *low] = more.to_be_bytes();
    }
}

fn insert(rng: &mut Rng, bytes: &mut Vec<u8>, part: &[u8]) {
    let at = rng.usize(..=bytes.len());
    bytes.splice(at..at, part.iter().copied());
}

fn range(rng: &mut Rng, length: usize) -> std::ops::Range<usize> {
    let from = rng.usize(..=length);
    from..rng.usize(from..=length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_changes_and_nothing_is_too_long() {
        let samples = [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), Vec::new(), vec![7; LONGEST]];
        let all = |seed| {
            let mut rng = Rng::with_seed(seed);
            (0..500).map(|_| mutated(&mut rng, &samples)).collect::<Vec<_>>()
        };
        let once = all(1);
        assert_eq!(once, all(1));
        assert_ne!(once, all(2));
        assert!(once.iter().all(|bytes| bytes.len() <= LONGEST));
        assert!(once.iter().filter(|bytes| !samples.contains(bytes)).count() > 400, "most are changed");
    }
}
