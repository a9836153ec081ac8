//! Values that the server makes up: uids, suffixes of generated names, secrets, the time of day.

use aws_lc_rs::rand;
use time::OffsetDateTime;

/// A random uid (RFC 9562, version 4).
pub(crate) fn uid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// What follows `generateName`: letters without vowels and digits, so that no words come out.
pub(super) fn suffix() -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    random::<5>().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()])).iter().collect()
}

/// 256 random bits as hexadecimal digits: a token, or a container's id.
pub(crate) fn secret() -> String {
    hex(&random::<32>())
}

/// Now, as `metav1.Time` is written: RFC 3339, UTC, whole seconds.
pub(super) fn timestamp() -> String {
    let now = OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Fails only where the kernel has no random numbers, and then nothing else here works either.
    if rand::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_of_version_4_and_never_the_same() {
        let uid = uid();
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"), "{uid}");
        assert_ne!(uid, super::uid());
    }
}
