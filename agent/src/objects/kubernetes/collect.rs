//! What the API server has, put together from the events of all kinds.
//!
//! In: events. Out: the changes to what is in force. Before every kind has been listed nothing is in force but what the
//! caller began with; then all of it is replaced at once. A new list of one kind replaces that kind at its end.

use std::{collections::BTreeMap, sync::Arc};

use kube::runtime::watcher::Event;

use super::resource::RawObject;
use crate::{
    config::{Problem, yaml::Node},
    objects::{
        Change, Kind, Object, ObjectKey, ObjectSet,
        read::{self, Outcome},
    },
};

/// Problems by the object that they are about.
type ProblemsOf = BTreeMap<ObjectKey, Vec<Problem>>;

/// The objects of the API server.
#[derive(Debug, Default)]
pub(super) struct Collector {
    /// What is in force.
    in_force: ObjectSet,
    /// What has been read while not every kind was listed yet.
    coming: Option<ObjectSet>,
    problems: ProblemsOf,
    kinds: BTreeMap<Kind, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    listed: bool,
    /// A list that has begun and is not complete.
    list: Option<(ObjectSet, ProblemsOf)>,
}

/// What came of one event.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Collected {
    /// What has to change downstream.
    pub(super) changes: Vec<Change>,
    /// Whether the problems differ from before.
    pub(super) problems_changed: bool,
    /// Whether this was the end of the last kind's first list.
    pub(super) now_live: bool,
}

impl Collector {
    /// With what is in force until every kind has been listed.
    pub(super) fn starting_with(in_force: ObjectSet) -> Self {
        Self { in_force, coming: Some(ObjectSet::default()), ..Self::default() }
    }

    /// Whether every kind has been listed.
    pub(super) fn is_live(&self) -> bool {
        self.coming.is_none()
    }

    /// What is in force.
    pub(super) fn in_force(&self) -> &ObjectSet {
        &self.in_force
    }

    /// What cannot be read now.
    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.values().flatten()
    }

    /// Takes in one event of a kind.
    pub(super) fn take(&mut self, kind: Kind, event: Event<RawObject>) -> Collected {
        match event {
            Event::Init => {
                self.progress(kind).list = Some(Default::default());
                Collected::default()
            }
            Event::InitApply(raw) => {
                self.list_entry(kind, raw);
                Collected::default()
            }
            Event::InitDone => self.list_done(kind),
            Event::Apply(raw) => self.apply(kind, raw),
            Event::Delete(raw) => self.remove(raw.key(kind)),
        }
    }

    fn list_entry(&mut self, kind: Kind, raw: RawObject) {
        let (key, read) = self.read(kind, raw);
        let Some((set, problems)) = &mut self.progress(kind).list else { return };
        match read {
            Read::Object(object) => drop(set.insert(object)),
            Read::Gone => {}
            Read::Broken(found, last) => {
                problems.insert(key, found);
                last.into_iter().for_each(|object| drop(set.insert(object)));
            }
        }
    }

    fn list_done(&mut self, kind: Kind) -> Collected {
        let progress = self.progress(kind);
        progress.listed = true;
        let Some((list, found)) = progress.list.take() else { return Collected::default() };
        let of_kind = |key: &ObjectKey| key.kind == kind;
        let before: Vec<_> =
            self.problems.iter().filter(|(key, _)| of_kind(key)).map(|(_, found)| found.clone()).collect();
        let problems_changed = before != found.values().cloned().collect::<Vec<_>>();
        self.problems.retain(|key, _| !of_kind(key));
        self.problems.extend(found);
        let changes = self.replace(kind, &list);
        let mut collected = Collected { changes, problems_changed, now_live: false };
        if self.coming.is_some() && Kind::ALL.iter().all(|kind| self.kinds.get(kind).is_some_and(|kind| kind.listed)) {
            collected.now_live = true;
            let coming = self.coming.take().unwrap_or_default();
            collected.changes = self.in_force.changes_to(&coming);
            self.in_force = coming;
        }
        collected
    }

    /// Replaces all objects of a kind. The changes are empty while not every kind has been listed.
    fn replace(&mut self, kind: Kind, list: &ObjectSet) -> Vec<Change> {
        let live = self.coming.is_none();
        let current = self.coming.as_mut().unwrap_or(&mut self.in_force);
        let mut of_kind = ObjectSet::default();
        current.objects().filter(|object| object.key().kind == kind).for_each(|object| drop(of_kind.insert(object)));
        let changes = of_kind.changes_to(list);
        current.apply(changes.iter().cloned());
        if live { changes } else { Vec::new() }
    }

    fn apply(&mut self, kind: Kind, raw: RawObject) -> Collected {
        let (key, read) = self.read(kind, raw);
        match read {
            Read::Object(object) => {
                let problems_changed = self.problems.remove(&key).is_some();
                Collected { problems_changed, ..self.change(Change::Put(object)) }
            }
            Read::Gone => self.remove(key),
            Read::Broken(found, last) => {
                let problems_changed = self.problems.get(&key) != Some(&found);
                self.problems.insert(key, found);
                // It is in force already, but for what only the state on disk had.
                let kept = last.map_or_else(Collected::default, |object| self.change(Change::Put(object)));
                Collected { problems_changed, ..kept }
            }
        }
    }

    fn remove(&mut self, key: ObjectKey) -> Collected {
        let problems_changed = self.problems.remove(&key).is_some();
        Collected { problems_changed, ..self.change(Change::Remove(key)) }
    }

    fn change(&mut self, change: Change) -> Collected {
        let live = self.coming.is_none();
        let current = self.coming.as_mut().unwrap_or(&mut self.in_force);
        let before = current.get(&change.key());
        let same = match &change {
            Change::Put(object) => before.as_ref() == Some(object),
            Change::Remove(_) => before.is_none(),
        };
        if same {
            return Collected::default();
        }
        current.apply([change.clone()]);
        Collected { changes: if live { vec![change] } else { Vec::new() }, ..Collected::default() }
    }

    fn read(&self, kind: Kind, raw: RawObject) -> (ObjectKey, Read) {
        let key = raw.key(kind);
        let name = key.to_string();
        let node = Node::from_json(raw.into_json(kind));
        let outcome = read::read(&name, "", &node).into_iter().next();
        let read = match outcome {
            Some(Outcome::Read(object, _)) if object.key() == key => Read::Object(object),
            Some(Outcome::Read(object, _)) => {
                let message = format!("was sent as {}; the API server contradicts itself", object.key());
                Read::Broken(vec![Problem::of_file(&name, message)], self.last(&key))
            }
            // A ConfigMap that lost its label. Mesh documents are no kinds that we ask for.
            Some(Outcome::Ignored | Outcome::MeshDocument) | None => Read::Gone,
            Some(Outcome::Broken(_, problems)) => {
                let without_place = |problem: Problem| Problem { position: None, snippet: None, ..problem };
                Read::Broken(problems.into_iter().map(without_place).collect(), self.last(&key))
            }
        };
        (key, read)
    }

    /// The last version that could be read.
    fn last(&self, key: &ObjectKey) -> Option<Object> {
        self.coming.as_ref().and_then(|coming| coming.get(key)).or_else(|| self.in_force.get(key))
    }

    fn progress(&mut self, kind: Kind) -> &mut Progress {
        self.kinds.entry(kind).or_default()
    }
}

/// What one object turned out to be.
enum Read {
    Object(Object),
    Gone,
    /// With its last good version, if there is one.
    Broken(Vec<Problem>, Option<Object>),
}

/// Everything that is in force, as the first batch of a stream.
pub(super) fn all(set: &ObjectSet) -> Vec<Change> {
    set.objects().map(Change::Put).collect()
}

/// A list of problems to hand on.
pub(super) fn shared(problems: impl IntoIterator<Item = Problem>) -> Arc<Vec<Problem>> {
    Arc::new(problems.into_iter().collect())
}
