//! Which pods claim the same uid or address, so that a change finds those that it concerns.
//!
//! In: claims of pods, made and given up. Out: who claims a thing, and who has it. Nearly every claim has one claimant,
//! and there are two for each pod of the mesh, so the table keeps only a hash of what is claimed and the pod itself.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    net::IpAddr,
    sync::Arc,
    time::SystemTime,
};

use foldhash::fast::RandomState;

use crate::objects::{ObjectName, Pod};

/// What only one pod can have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Claim {
    /// `metadata.uid`. The first by name has it.
    Uid(Arc<str>),
    /// An address. The newest has it: it is the one that runs.
    Address(IpAddr),
}

impl Claim {
    /// Whether a pod makes this claim.
    fn is_of(&self, pod: &Pod) -> bool {
        match self {
            Self::Uid(uid) => pod.uid.as_ref() == Some(uid),
            Self::Address(address) => pod.addresses.contains(address),
        }
    }
}

/// The order in which pods were created. The newest takes what several claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    created: Option<SystemTime>,
    uid: Option<Arc<str>>,
    name: ObjectName,
}

impl Age {
    pub(super) fn of(pod: &Pod) -> Self {
        Self { created: pod.created, uid: pod.uid.clone(), name: pod.name.clone() }
    }
}

#[derive(Debug)]
enum Claimants {
    One(Arc<Pod>),
    /// Boxed, because it is rare and every entry would have its size.
    Many(Box<Rivals>),
}

/// Two or more, by name and by age. They may claim different things of the same hash.
#[derive(Debug, Default)]
struct Rivals {
    by_name: BTreeMap<ObjectName, Arc<Pod>>,
    by_age: BTreeMap<Age, Arc<Pod>>,
}

impl Rivals {
    fn insert(&mut self, pod: &Arc<Pod>) {
        self.by_name.insert(pod.name.clone(), Arc::clone(pod));
        self.by_age.insert(Age::of(pod), Arc::clone(pod));
    }

    fn remove(&mut self, pod: &Pod) {
        self.by_name.remove(&pod.name);
        self.by_age.remove(&Age::of(pod));
    }
}

/// All claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    claimants: HashMap<u64, Claimants, RandomState>,
    hasher: RandomState,
}

impl Claims {
    /// Adds a claim, and tells whether others make it too. A pod must have given up its earlier claims.
    pub(super) fn make(&mut self, claim: &Claim, pod: &Arc<Pod>) -> bool {
        use std::collections::hash_map::Entry;
        let hash = self.hasher.hash_one(claim);
        match self.claimants.entry(hash) {
            Entry::Vacant(vacant) => {
                vacant.insert(Claimants::One(Arc::clone(pod)));
                false
            }
            Entry::Occupied(mut occupied) => {
                let claimants = occupied.get_mut();
                if let Claimants::One(first) = claimants {
                    if first.name == pod.name {
                        return false;
                    }
                    let mut many = Box::<Rivals>::default();
                    many.insert(first);
                    *claimants = Claimants::Many(many);
                }
                if let Claimants::Many(many) = claimants {
                    many.insert(pod);
                }
                true
            }
        }
    }

    /// Takes a claim back, and tells whether others make it too.
    pub(super) fn give_up(&mut self, claim: &Claim, pod: &Pod) -> bool {
        let hash = self.hasher.hash_one(claim);
        match self.claimants.get_mut(&hash) {
            None => false,
            Some(Claimants::One(only)) => {
                if only.name == pod.name {
                    self.claimants.remove(&hash);
                }
                false
            }
            Some(Claimants::Many(many)) => {
                many.remove(pod);
                if many.by_name.len() == 1
                    && let Some((_, last)) = many.by_name.pop_first()
                {
                    self.claimants.insert(hash, Claimants::One(last));
                }
                true
            }
        }
    }

    /// The pods that make a claim, ordered by name.
    pub(super) fn claimants(&self, claim: &Claim) -> Vec<&Arc<Pod>> {
        match self.claimants.get(&self.hasher.hash_one(claim)) {
            None => Vec::new(),
            Some(Claimants::One(pod)) => Some(pod).filter(|pod| claim.is_of(pod)).into_iter().collect(),
            Some(Claimants::Many(many)) => many.by_name.values().filter(|pod| claim.is_of(pod)).collect(),
        }
    }

    /// The pod that has what several may claim.
    pub(super) fn holder(&self, claim: &Claim) -> Option<&Arc<Pod>> {
        let claims = |pod: &&Arc<Pod>| claim.is_of(pod);
        match (self.claimants.get(&self.hasher.hash_one(claim))?, claim) {
            (Claimants::One(pod), _) => Some(pod).filter(claims),
            (Claimants::Many(many), Claim::Uid(_)) => many.by_name.values().find(claims),
            (Claimants::Many(many), Claim::Address(_)) => many.by_age.values().rev().find(claims),
        }
    }
}
