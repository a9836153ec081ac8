//! The state on disk as bytes: one line that says what follows and proves that all of it is there, then JSON.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::objects::{Object, ObjectSet};

/// Grows when `objects::kinds` changes its shape: an agent of another version lists everything anew instead of guessing.
const VERSION: u32 = 2;

const MAGIC: &str = "heddle-state";

/// The header is about 120 bytes; what has no line end by then is no state.
const LONGEST_HEADER: usize = 256;

/// A set of objects, and when it was in force.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// When it was written.
    pub(crate) saved: SystemTime,
    /// The objects.
    pub(crate) objects: ObjectSet,
}

/// Why bytes are not a state.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("does not begin with a header of {MAGIC:?}")]
    Header,
    #[error("is of format {found}, this agent reads format {VERSION}")]
    Version { found: String },
    #[error("has {found} bytes after its header, which says {expected}: it is cut short or was added to")]
    Length { expected: usize, found: usize },
    #[error("does not have the checksum that its header says: it is damaged")]
    Checksum,
    #[error("cannot be read as objects: {0}")]
    Body(String),
}

#[derive(Serialize, Deserialize)]
struct Body {
    saved: u64,
    objects: Vec<Object>,
}

/// The bytes of a state.
pub(crate) fn encode(kept: &Kept) -> Result<Vec<u8>, serde_json::Error> {
    let saved = kept.saved.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let body = serde_json::to_vec(&Body { saved, objects: kept.objects.objects().collect() })?;
    Ok(sealed(&body))
}

/// A body with the header that fits to it.
pub(crate) fn sealed(body: &[u8]) -> Vec<u8> {
    let header = format!("{MAGIC} {VERSION} {} {}\n", body.len(), checksum(body));
    [header.as_bytes(), body].concat()
}

/// The state of some bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Kept, FormatError> {
    let end = bytes.iter().take(LONGEST_HEADER).position(|byte| *byte == b'\n').ok_or(FormatError::Header)?;
    let (header, body) = (std::str::from_utf8(&bytes[..end]).map_err(|_| FormatError::Header)?, &bytes[end + 1..]);
    let mut words = header.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(FormatError::Header);
    }
    let version = words.next().ok_or(FormatError::Header)?;
    if version != VERSION.to_string() {
        return Err(FormatError::Version { found: version.to_owned() });
    }
    let (Some(length), Some(sum), None) = (words.next(), words.next(), words.next()) else {
        return Err(FormatError::Header);
    };
    let expected = length.parse().map_err(|_| FormatError::Header)?;
    if body.len() != expected {
        return Err(FormatError::Length { expected, found: body.len() });
    }
    if checksum(body) != sum {
        return Err(FormatError::Checksum);
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| FormatError::Body(error.to_string()))?;
    let mut objects = ObjectSet::default();
    body.objects.into_iter().for_each(|object| drop(objects.insert(object)));
    let saved = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(body.saved));
    Ok(Kept { saved: saved.ok_or_else(|| FormatError::Body("saved: is beyond the calendar".to_owned()))?, objects })
}

/// SHA-256 as hexadecimal digits: against damage, not against whoever may write the file, who is root.
fn checksum(body: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest(&SHA256, body).as_ref() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
