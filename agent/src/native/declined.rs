//! The pods whose connections the kernel gives other addresses than the pod has: theirs stay with the agent.

use std::collections::HashSet;

use parking_lot::Mutex;

/// By the cookie of their namespace. No more than enrolled pods, but for those that were released since the last look.
#[derive(Debug, Default)]
pub(super) struct Declined(Mutex<HashSet<u64>>);

impl Declined {
    pub(super) fn insert(&self, cookie: u64) {
        self.0.lock().insert(cookie);
    }

    pub(super) fn contains(&self, cookie: u64) -> bool {
        self.0.lock().contains(&cookie)
    }

    /// Forgets those that are not enrolled: a cookie is never used again.
    pub(super) fn retain(&self, is_enrolled: impl Fn(u64) -> bool) {
        self.0.lock().retain(|cookie| is_enrolled(*cookie));
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_declined_until_it_is_released() {
        let declined = Declined::default();
        [1, 2, 2].into_iter().for_each(|cookie| declined.insert(cookie));
        declined.retain(|cookie| cookie == 2);
        assert_eq!((declined.contains(1), declined.contains(2), declined.len()), (false, true, 1));
    }
}
