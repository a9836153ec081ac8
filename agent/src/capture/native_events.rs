//! What the kernel programs tell about native connections, read from their ring buffer.
//!
//! The ring is pinned: what happens while no agent runs is read by the next. A ring that is full loses the newest, which are
//! counted.

use std::io;

use aya::maps::{Map, MapError};
use heddle_common::NativeEvent;

use super::{
    kernel::KernelError,
    pins::Pins,
    ring::{LostEvents, Ring},
    tables::open,
};

/// Events that are read at once: a burst must not keep the thread from its other tasks.
const BATCH: usize = 512;

const RING: &str = "NATIVE_EVENTS";

/// The one reader of the ring.
pub struct NativeEvents {
    ring: Ring,
    lost: LostEvents,
}

impl NativeEvents {
    /// To be called on the runtime that reads it.
    pub(super) fn open(pins: &Pins) -> Result<Self, KernelError> {
        let unwatched = |source| KernelError::Map { map: RING, source: MapError::IoError(source) };
        let ring = Ring::of(open(pins, RING, Map::RingBuf)?).map_err(unwatched)?;
        let lost = LostEvents::of(open(pins, "NATIVE_LOST", Map::PerCpuArray)?);
        Ok(Self { ring, lost })
    }

    /// Hands out the count of lost events.
    pub fn lost(&self) -> LostEvents {
        self.lost.clone()
    }

    /// Waits for events and appends some to `events`. It may be broken off: nothing is lost by that.
    pub async fn next(&mut self, events: &mut Vec<NativeEvent>) -> io::Result<()> {
        self.ring.next(BATCH, events).await
    }
}
