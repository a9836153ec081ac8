//! The Maglev tables of one Service port: built at the first pick after a change, and shared by all threads.
//!
//! Where endpoints change faster than tables are worth building, an older one serves meanwhile, without its endpoints
//! that are gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{maglev::Table, set::Set};
use crate::mesh::Reach;

/// Near and far, and both again while a document that says another size takes effect.
const MOST_TABLES: usize = 4;

/// How long a table serves at least, for each step of building it. A step takes about 50 ns: a twentieth of one CPU, at
/// most, is spent on the tables of one Service port; those of a few hundred endpoints serve 65 ms.
const SERVES_PER_STEP: Duration = Duration::from_micros(1);

/// The tables of one Service port.
#[derive(Debug, Default)]
pub(super) struct Tables {
    kept: Mutex<Vec<Kept>>,
    building: Mutex<()>,
    forgotten: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Kept {
    reach: Reach,
    places: u32,
    of: Arc<Set>,
    built: Instant,
    table: Arc<Table>,
}

impl Tables {
    /// None yet; those that are given up for want of room are counted there.
    pub(super) fn new(forgotten: Arc<AtomicU64>) -> Self {
        Self { forgotten, ..Self::default() }
    }

    /// The table of a set, and whether it is of an older one and may have endpoints that are gone.
    pub(super) fn of(&self, set: &Arc<Set>, reach: Reach, places: u32, now: Instant) -> (Arc<Table>, bool) {
        if let Some(found) = self.serving(set, reach, places, now) {
            return found;
        }
        // One thread builds. The others take what there is, or wait for the very first.
        let building = match (self.building.try_lock(), self.kept_for(reach, places)) {
            (Some(building), _) => building,
            (None, Some(kept)) => return (kept.table, true),
            (None, None) => self.building.lock(),
        };
        if let Some(found) = self.serving(set, reach, places, now) {
            return found;
        }
        let endpoints = set.endpoints();
        let all = (0..endpoints.len_within(reach)).filter_map(|index| endpoints.get_within(reach, index));
        let table = Arc::new(Table::build(all.map(|(endpoint, place)| (endpoint.address, place)).collect(), places));
        self.keep(Kept { reach, places, of: Arc::clone(set), built: now, table: Arc::clone(&table) });
        drop(building);
        (table, false)
    }

    /// The table for this, if it needs not be built now.
    fn serving(&self, set: &Arc<Set>, reach: Reach, places: u32, now: Instant) -> Option<(Arc<Table>, bool)> {
        let kept = self.kept_for(reach, places)?;
        let is_same = Arc::ptr_eq(&kept.of, set);
        let steps = u32::try_from(kept.table.work()).unwrap_or(u32::MAX);
        let serves = is_same || now < kept.built + SERVES_PER_STEP * steps;
        serves.then_some((kept.table, !is_same))
    }

    fn kept_for(&self, reach: Reach, places: u32) -> Option<Kept> {
        let kept = self.kept.lock();
        kept.iter().find(|kept| kept.reach == reach && kept.places == places).cloned()
    }

    fn keep(&self, new: Kept) {
        let mut kept = self.kept.lock();
        kept.retain(|old| old.reach != new.reach || old.places != new.places);
        if kept.len() == MOST_TABLES {
            // The one that has served longest without being built anew is the one that nobody asks for.
            kept.remove(0);
            self.forgotten.fetch_add(1, Relaxed);
        }
        kept.push(new);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.kept.lock().len()
    }
}
