//! The label `root` of handshakes: a bounded set, since it comes from certificates.
//!
//! A root gets here only when a handshake was verified by it, so nobody but a trusted authority can make one up. There is
//! room for [`MAX_ROOTS`], beyond which handshakes count under `unknown`; the series of a root that no handshake was
//! verified by for [`UNUSED`] are removed.

use std::{collections::HashSet, time::Instant};

use parking_lot::Mutex;
use prometheus::IntCounterVec;

use super::{NONE, label_sets::UNUSED};
use crate::observe::RootName;

/// A rotation has two roots, a mesh of several trust domains a few more.
pub(super) const MAX_ROOTS: usize = 16;

/// Label of roots beyond the bound.
const UNKNOWN: &str = "unknown";

/// The roots that have series.
#[derive(Debug, Default)]
pub(super) struct RootLabels(Mutex<Vec<Known>>);

#[derive(Debug)]
struct Known {
    root: RootName,
    label: String,
    last_used: Instant,
    /// Values of the labels before `root`, of each series that this root has.
    series: HashSet<[&'static str; 4]>,
}

impl RootLabels {
    /// Counts one handshake with `values`, verified by `root`.
    pub(super) fn count(
        &self,
        counter: &IntCounterVec,
        values: [&'static str; 4],
        root: Option<RootName>,
        now: Instant,
    ) {
        let [side, result, version, group] = values;
        let Some(root) = root else {
            return counter.with_label_values(&[side, result, version, group, NONE]).inc();
        };
        let mut known = self.0.lock();
        if !known.iter().any(|other| other.root == root) && known.len() < MAX_ROOTS {
            known.push(Known { root, label: root.to_string(), last_used: now, series: HashSet::new() });
        }
        let label = match known.iter_mut().find(|other| other.root == root) {
            Some(found) => {
                found.last_used = now;
                found.series.insert(values);
                found.label.as_str()
            }
            None => UNKNOWN,
        };
        counter.with_label_values(&[side, result, version, group, label]).inc();
    }

    /// Removes roots that are not in use any more.
    pub(super) fn expire(&self, counter: &IntCounterVec, now: Instant) {
        self.0.lock().retain(|known| {
            let fresh = now.saturating_duration_since(known.last_used) < UNUSED;
            if !fresh {
                for [side, result, version, group] in &known.series {
                    // A series that is not there needs no removal.
                    let _ = counter.remove_label_values(&[side, result, version, group, known.label.as_str()]);
                }
            }
            fresh
        });
    }
}
