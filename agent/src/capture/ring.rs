//! Reading what kernel programs put into a ring buffer, and how much they had no room for.

use std::{io, sync::Arc};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use tokio::io::{Interest, unix::AsyncFd};
use zerocopy::FromBytes;

/// The one reader of a ring.
pub(super) struct Ring(AsyncFd<RingBuf<MapData>>);

/// How many events a ring had no room for, which the programs count beside it. Cloning is cheap.
#[derive(Clone)]
pub struct LostEvents(Arc<PerCpuArray<MapData, u64>>);

impl Ring {
    /// To be called on the runtime that reads it.
    #[expect(
        deprecated,
        reason = "the successor is an unsafe function; the ring owns its descriptor for as long as it is registered"
    )]
    pub(super) fn of(ring: RingBuf<MapData>) -> io::Result<Self> {
        Ok(Self(AsyncFd::with_interest(ring, Interest::READABLE)?))
    }

    /// Throws away what is in it.
    pub(super) fn discard(&mut self) {
        while self.0.get_mut().next().is_some() {}
    }

    /// Waits for events and appends some to `events`, so many at most. It may be broken off: nothing is lost by that.
    pub(super) async fn next<T: FromBytes>(&mut self, most: usize, events: &mut Vec<T>) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let ring = ready.get_inner_mut();
            for _ in 0..most {
                let Some(item) = ring.next() else {
                    ready.clear_ready();
                    break;
                };
                events.extend(T::read_from_bytes(&item).ok());
            }
            if !events.is_empty() {
                return Ok(());
            }
        }
    }
}

impl LostEvents {
    pub(super) fn of(counts: PerCpuArray<MapData, u64>) -> Self {
        Self(Arc::new(counts))
    }

    /// Since the map was made: that of a pinned ring goes on growing across restarts of the agent.
    pub fn count(&self) -> u64 {
        self.0.get(&0, 0).map_or(0, |each| each.iter().sum())
    }
}
