//! Objects to snapshot (being written).

use super::Snapshot;

/// Being written.
pub fn compile() -> Snapshot {
    Snapshot::default()
}
