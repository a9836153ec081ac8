//! What is promised of detection: it never changes its mind, never asks for more without end, and names only hosts.

use std::fmt::Debug;

use fastrand::Rng;

use crate::route::protocol::{MOST_UNDECIDED, MOST_UNNAMED, Sniffed, server_name, sniff};

/// Prefixes that are tried beside the shortest ones.
const PREFIXES: usize = 16;

/// What the bytes are taken for, in few words.
pub(super) fn detect(bytes: &[u8], rng: &mut Rng) -> Result<String, String> {
    let decided = |bytes: &[u8]| Some(sniff(bytes)).filter(|sniffed| *sniffed != Sniffed::More);
    let sniffed = Reader { name: "sniff", read: decided, bound: MOST_UNDECIDED }.decide(bytes, MOST_UNDECIDED, rng)?;
    let names = Reader { name: "server_name", read: |bytes: &[u8]| server_name(bytes).ok(), bound: MOST_UNNAMED };
    let mut named = names.decide(bytes, 0, rng)?;
    if named.is_none() {
        named = names.decide(&with_records(bytes), 0, rng)?;
    }
    let name = named.flatten();
    match &name {
        Some(name) if !is_host(name) => Err(format!("server_name: {name:?} is no name of a host")),
        name => Ok(format!("{sniffed:?}, {}", if name.is_some() { "named" } else { "not named" })),
    }
}

/// What reads the beginning of something, and answers once it has seen enough.
pub(super) struct Reader<F> {
    pub(super) name: &'static str,
    pub(super) read: F,
    /// So many bytes can be too few.
    pub(super) bound: usize,
}

impl<F> Reader<F> {
    /// What is read of prefixes of these bytes: all those up to `every`, some longer ones, and the whole.
    pub(super) fn decide<T>(&self, bytes: &[u8], every: usize, rng: &mut Rng) -> Result<Option<T>, String>
    where
        F: Fn(&[u8]) -> Option<T>,
        T: Debug + PartialEq,
    {
        let longer = (0..PREFIXES).map(|_| rng.usize(..=bytes.len()));
        let mut lengths: Vec<usize> = (0..=every.min(bytes.len())).chain(longer).chain([bytes.len()]).collect();
        lengths.sort_unstable();
        let (name, mut decided) = (self.name, None);
        for length in lengths {
            match ((self.read)(&bytes[..length]), &decided) {
                (None, None) if length > self.bound => {
                    return Err(format!("{name}: undecided after {length} bytes, of which {} are enough", self.bound));
                }
                (Some(now), None) => decided = Some((length, now)),
                (now, Some((before, was))) if now.as_ref() != Some(was) => {
                    return Err(format!("{name}: {was:?} after {before} bytes, and {now:?} after {length}"));
                }
                _ => {}
            }
        }
        Ok(decided.map(|(_, decided)| decided))
    }
}

/// As many bytes more as can be asked for: records of TLS with one byte each, which take the most room.
fn with_records(bytes: &[u8]) -> Vec<u8> {
    let records = [0x16, 3, 1, 0, 1, 0].into_iter().cycle();
    bytes.iter().copied().chain(records).take(bytes.len().max(MOST_UNNAMED) + 1).collect()
}

fn is_host(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    (1..=253).contains(&name.len()) && name.bytes().all(fits)
}
