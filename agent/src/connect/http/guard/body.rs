//! Where a request's body ends, told from its bytes as they pass. Nothing is kept of them.

use super::{
    Refused,
    head::{BodyLength, MOST_HEADERS, is_token_byte},
};

/// 64 bits.
const MOST_SIZE_DIGITS: u8 = 16;
/// Of all chunks of a body together; hyper takes 16 KiB.
const MOST_EXTENSION_BYTES: usize = 4 << 10;
/// hyper takes 16 KiB.
const MOST_TRAILER_BYTES: usize = 8 << 10;

/// How far into a body its bytes came.
#[derive(Clone, Debug)]
pub(super) struct Body {
    at: At,
    extensions: usize,
    trailers: usize,
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Sized(u64),
    Size { digits: u8, size: u64 },
    Extension(u64),
    SizeLineFeed(u64),
    Data(u64),
    DataReturn,
    DataLineFeed,
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    End,
}

impl Body {
    pub(super) fn new(length: BodyLength) -> Self {
        let at = match length {
            BodyLength::Sized(0) => At::End,
            BodyLength::Sized(length) => At::Sized(length),
            BodyLength::Chunked => At::Size { digits: 0, size: 0 },
        };
        Self { at, extensions: 0, trailers: 0, trailer_bytes: 0 }
    }

    pub(super) fn is_end(&self) -> bool {
        self.at == At::End
    }

    /// How many of these bytes belong to the body.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let mut passed = 0;
        while passed < bytes.len() && !self.is_end() {
            passed += match self.at {
                At::Sized(left) | At::Data(left) => self.data(left, bytes.len() - passed),
                _ => {
                    self.at = self.byte(bytes[passed])?;
                    1
                }
            };
        }
        Ok(passed)
    }

    fn data(&mut self, left: u64, available: usize) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - taken as u64;
        self.at = match (self.at, left) {
            (At::Sized(_), 0) => At::End,
            (At::Sized(_), left) => At::Sized(left),
            (_, 0) => At::DataReturn,
            (_, left) => At::Data(left),
        };
        taken
    }

    fn byte(&mut self, byte: u8) -> Result<At, Refused> {
        match (self.at, byte) {
            (At::Size { digits, size }, byte) => size_byte(digits, size, byte),
            (At::Extension(size), byte) => {
                self.extensions += 1;
                text(byte, self.extensions <= MOST_EXTENSION_BYTES, At::Extension(size), At::SizeLineFeed(size))
            }
            (At::SizeLineFeed(0), b'\n') => Ok(At::Trailer),
            (At::SizeLineFeed(size), b'\n') => Ok(At::Data(size)),
            (At::DataReturn, b'\r') => Ok(At::DataLineFeed),
            (At::DataLineFeed, b'\n') => Ok(At::Size { digits: 0, size: 0 }),
            (At::Trailer, b'\r') => Ok(At::LastLineFeed),
            (At::LastLineFeed, b'\n') => Ok(At::End),
            (At::TrailerLineFeed, b'\n') => Ok(At::Trailer),
            (At::Trailer | At::TrailerName | At::TrailerValue, byte) => self.trailer_byte(byte),
            _ => Err(Refused::Chunk),
        }
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<At, Refused> {
        self.trailers += usize::from(self.at == At::Trailer);
        self.trailer_bytes += 1;
        let fits = self.trailers <= MOST_HEADERS && self.trailer_bytes <= MOST_TRAILER_BYTES;
        match self.at {
            At::TrailerValue => text(byte, fits, At::TrailerValue, At::TrailerLineFeed),
            At::TrailerName if byte == b':' && fits => Ok(At::TrailerValue),
            _ if is_token_byte(byte) && fits => Ok(At::TrailerName),
            _ => Err(Refused::ChunkMetadata),
        }
    }
}

fn size_byte(digits: u8, size: u64, byte: u8) -> Result<At, Refused> {
    match (byte, char::from(byte).to_digit(16)) {
        (_, Some(digit)) if digits < MOST_SIZE_DIGITS => {
            Ok(At::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
        }
        (b';', None) if digits > 0 => Ok(At::Extension(size)),
        (b'\r', None) if digits > 0 => Ok(At::SizeLineFeed(size)),
        _ => Err(Refused::Chunk),
    }
}

fn text(byte: u8, fits: bool, same: At, next: At) -> Result<At, Refused> {
    match byte {
        b'\r' => Ok(next),
        byte if !fits || (byte.is_ascii_control() && byte != b'\t') => Err(Refused::ChunkMetadata),
        _ => Ok(same),
    }
}
