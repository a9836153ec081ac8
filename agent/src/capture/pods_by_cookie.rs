//! Which pod a network namespace's cookie stands for: the kernel's events name nothing else.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::EnrolledPod;
use crate::mesh::WorkloadUid;

/// The enrolled pods. Cloning is cheap, and clones are the same list; `Enrolment` alone writes it.
#[derive(Clone, Debug, Default)]
pub struct PodsByCookie(Arc<RwLock<HashMap<u64, Arc<EnrolledPod>, RandomState>>>);

impl PodsByCookie {
    /// The pod whose namespace has this cookie.
    pub fn get(&self, cookie: u64) -> Option<Arc<EnrolledPod>> {
        self.0.read().get(&cookie).cloned()
    }

    /// The pod of this uid.
    pub fn of(&self, uid: &WorkloadUid) -> Option<Arc<EnrolledPod>> {
        self.0.read().values().find(|pod| pod.workload.uid == *uid).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<EnrolledPod>> {
        self.0.read().values().cloned().collect()
    }

    pub(super) fn insert(&self, pod: &Arc<EnrolledPod>) {
        self.0.write().insert(pod.netns.cookie(), Arc::clone(pod));
    }

    pub(super) fn remove(&self, cookie: u64) {
        self.0.write().remove(&cookie);
    }
}
