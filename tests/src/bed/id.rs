//! Short names that say which process made a thing, so that leftovers of dead test processes can be told apart.
//!
//! A bed's id is `hd<pid>x<n>` with both numbers in base 32 (digits `0-9a-v`, so that the `x` is unambiguous);
//! everything outside the bed's own directory is named `<id>` or `<id>-<rest>`.

use std::sync::atomic::{AtomicU32, Ordering};

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A fresh id of this process.
pub(super) fn fresh() -> String {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("hd{}x{}", base32(std::process::id()), base32(n))
}

/// The process that made the thing called `name`, or `None` if no bed made it.
pub(super) fn owner(name: &str) -> Option<u32> {
    let id = name.split('-').next()?;
    let (pid, n) = id.strip_prefix("hd")?.split_once('x')?;
    parse(n)?;
    parse(pid)
}

fn base32(mut value: u32) -> String {
    let mut text = Vec::new();
    loop {
        text.push(char::from(DIGITS[(value % 32) as usize]));
        value /= 32;
        if value == 0 {
            return text.into_iter().rev().collect();
        }
    }
}

fn parse(text: &str) -> Option<u32> {
    // from_str_radix takes upper case and a sign too; base32 makes neither.
    let ours = !text.is_empty() && text.bytes().all(|b| DIGITS.contains(&b));
    ours.then(|| u32::from_str_radix(text, 32).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_every_name_of_this_process_is_this_process() {
        let id = fresh();
        let pid = Some(std::process::id());
        assert_eq!((owner(&id), owner(&format!("{id}-default-client"))), (pid, pid));
        assert_ne!(id, fresh());
    }

    #[test]
    fn ids_stay_short_for_the_largest_pid() {
        assert!(base32(4_194_304).len() <= 5);
        assert_eq!(owner("hd3vvvvxv"), Some(4_194_303));
    }

    #[test]
    fn names_that_no_bed_made_have_no_owner() {
        for name in ["", "hd", "hdx", "hd1x", "hdx1", "cni-1234", "hdd1", "heddle", "hd-1x2", "hd+1x2", "hd1xw"] {
            assert_eq!(owner(name), None, "{name}");
        }
    }
}
