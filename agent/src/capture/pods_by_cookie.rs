//! Which pod a network namespace's cookie stands for: the kernel's events name nothing else.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

use crate::mesh::Workload;

/// The enrolled pods. Cloning is cheap, and clones are the same list; `Enrolment` alone writes it.
#[derive(Clone, Debug, Default)]
pub struct PodsByCookie(Arc<RwLock<HashMap<u64, Arc<Workload>>>>);

impl PodsByCookie {
    /// The pod whose namespace has this cookie, as it was when it was enrolled.
    pub fn get(&self, cookie: u64) -> Option<Arc<Workload>> {
        self.0.read().get(&cookie).cloned()
    }

    pub(super) fn insert(&self, cookie: u64, pod: &Arc<Workload>) {
        self.0.write().insert(cookie, Arc::clone(pod));
    }

    pub(super) fn remove(&self, cookie: u64) {
        self.0.write().remove(&cookie);
    }
}
