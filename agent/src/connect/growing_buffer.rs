//! A buffer for one direction of a relayed connection. It starts small, grows while reads fill it, and is given back when they stop.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{io::AsyncReadExt, net::tcp::ReadHalf};

use super::tunnel::MAX_FRAME;

/// First size of a direction's buffer: a request or a response of the common kind.
const SMALL: usize = 4 * 1024;
/// Largest size, two whole frames of a tunnel: beyond it system calls are no longer what costs (measured with `cargo xtask bench`).
pub(super) const LARGE: usize = 2 * MAX_FRAME as usize;

/// Reads with a buffer whose size follows the traffic. It exists only while it is being filled: a connection that is
/// quiet holds none.
pub(super) struct GrowingBuffer {
    size: usize,
    /// Reads in a row that needed less than a quarter.
    spare: u8,
}

impl GrowingBuffer {
    /// Reads in a row that must leave most of the buffer empty before it shrinks.
    const PATIENCE: u8 = 16;

    pub(super) fn new() -> Self {
        Self { size: SMALL, spare: 0 }
    }

    /// How much the next read would take.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Reads once, at most `limit` bytes. Empty at the end of the stream.
    pub(super) async fn read(&mut self, reader: &mut ReadHalf<'_>, limit: usize) -> io::Result<Bytes> {
        let offered = self.size.min(limit);
        let mut memory = BytesMut::with_capacity(offered).limit(offered);
        let length = reader.read_buf(&mut memory).await?;
        self.adapt(length, offered);
        let memory = memory.into_inner();
        // Many small pieces may have to wait for a slow peer: they must not keep large buffers with them.
        Ok(if length < offered / 4 { Bytes::copy_from_slice(&memory) } else { memory.freeze() })
    }

    fn adapt(&mut self, length: usize, offered: usize) {
        if length == offered {
            self.size = (self.size * 2).min(LARGE);
            self.spare = 0;
        } else if length >= self.size / 4 {
            self.spare = 0;
        } else {
            self.spare += 1;
            if self.spare >= Self::PATIENCE {
                self.size = (self.size / 2).max(SMALL);
                self.spare = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_grows_with_traffic_and_shrinks_when_it_stops() {
        let mut buffer = GrowingBuffer::new();
        for _ in 0..10 {
            let size = buffer.size();
            buffer.adapt(size, size);
        }
        assert_eq!(buffer.size(), LARGE);
        for _ in 0..10 * usize::from(GrowingBuffer::PATIENCE) {
            let size = buffer.size();
            buffer.adapt(1, size);
        }
        assert_eq!(buffer.size(), SMALL);
    }
}
