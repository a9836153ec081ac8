//! What the kernel programs tell about single connections, read from their ring buffer.
//!
//! They tell nothing unless this turns them on. A ring that is full loses the newest events, which are counted.

use std::io;

use aya::{Ebpf, maps::MapError};
use heddle_common::ConnectionEvent;

use super::{
    Switches,
    kernel::KernelError,
    ring::{LostEvents, Ring},
    tables::taken,
};

/// Events that are read at once: a burst must not keep the thread from its other tasks.
const BATCH: usize = 256;

const RING: &str = "CONNECTION_EVENTS";

/// The one reader of the ring.
pub struct ConnectionEvents {
    ring: Ring,
    switches: Switches,
    lost: LostEvents,
}

/// The ring while the kernel programs write to it. Dropping it turns them off.
pub struct Listening<'a> {
    ring: &'a mut Ring,
    switches: Switches,
}

impl ConnectionEvents {
    /// To be called on the runtime that reads it.
    pub(super) fn of(programs: &mut Ebpf, switches: Switches) -> Result<Self, KernelError> {
        let lost = LostEvents::of(taken(programs, "LOST_EVENTS")?);
        let unwatched = |source| KernelError::Map { map: RING, source: MapError::IoError(source) };
        let ring = Ring::of(taken(programs, RING)?).map_err(unwatched)?;
        Ok(Self { ring, switches, lost })
    }

    /// Hands out the count of lost events.
    pub fn lost(&self) -> LostEvents {
        self.lost.clone()
    }

    /// Turns the kernel programs on. What an earlier time left in the ring is thrown away.
    pub fn listen(&mut self) -> Result<Listening<'_>, KernelError> {
        self.ring.discard();
        self.switches.set_events(true)?;
        Ok(Listening { ring: &mut self.ring, switches: self.switches.clone() })
    }
}

impl Listening<'_> {
    /// Waits for events and appends some to `events`. It may be broken off: nothing is lost by that.
    pub async fn next(&mut self, events: &mut Vec<ConnectionEvent>) -> io::Result<()> {
        self.ring.next(BATCH, events).await
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.switches.set_events(false) {
            tracing::warn!(%error, "turn the kernel's events of connections off; they cost time for nobody");
        }
    }
}
