//! What the kernel programs tell about native connections, read from their ring buffer.
//!
//! The ring is pinned: what happens while no agent runs is read by the next. A ring that is full loses the newest, which are
//! counted.

use std::{io, sync::Arc};

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use heddle_common::NativeEvent;

use super::{kernel::KernelError, pins::Pins, ring::Ring, tables::open};

/// Events that are read at once: a burst must not keep the thread from its other tasks.
const BATCH: usize = 512;

const RING: &str = "NATIVE_EVENTS";

/// The one reader of the ring.
pub struct NativeEvents {
    ring: Ring,
    lost: LostNativeEvents,
}

/// How many events were lost. Cloning is cheap.
#[derive(Clone)]
pub struct LostNativeEvents(Arc<PerCpuArray<MapData, u64>>);

impl NativeEvents {
    /// To be called on the runtime that reads it.
    pub(super) fn open(pins: &Pins) -> Result<Self, KernelError> {
        let unwatched = |source| KernelError::Map { map: RING, source: MapError::IoError(source) };
        let ring = Ring::of(open(pins, RING, Map::RingBuf)?).map_err(unwatched)?;
        let lost = LostNativeEvents(Arc::new(open(pins, "NATIVE_LOST", Map::PerCpuArray)?));
        Ok(Self { ring, lost })
    }

    /// Hands out the count of lost events.
    pub fn lost(&self) -> LostNativeEvents {
        self.lost.clone()
    }

    /// Waits for events and appends some to `events`. It may be broken off: nothing is lost by that.
    pub async fn next(&mut self, events: &mut Vec<NativeEvent>) -> io::Result<()> {
        self.ring.next(BATCH, events).await
    }
}

impl LostNativeEvents {
    /// Since the maps were made: it goes on growing across restarts of the agent.
    pub fn count(&self) -> u64 {
        self.0.get(&0, 0).map_or(0, |each| each.iter().sum())
    }
}
