//! What documents of several kinds are made of: selectors, host names, texts to match, networks, durations, percentages.
//!
//! Each part is a type, the text that it is read from and serializes to, and a function that reads it out of a map and
//! reports what is wrong. Nothing here knows a kind of document.

mod duration;
mod host;
mod matching;
mod network;
mod number;
mod percentage;
mod read;
mod selector;
#[cfg(test)]
mod tests;
mod word;

pub use host::Host;
pub use matching::StringMatch;
pub use percentage::{Percentage, WholePercentage};
pub use selector::Selector;

pub(super) use duration::{duration, duration_or_zero, serialize_duration, serialize_some_duration};
pub(super) use host::HOST;
pub(super) use network::{network, network_or_address};
pub(super) use number::{count, port, port_from_text};
pub(crate) use percentage::percentage;
pub(super) use percentage::whole_percentage;
pub(super) use read::{
    header_name, list, not_both, required, required_list, serialize_header, serialize_some_header, serialize_texts,
    text,
};
pub(super) use selector::selector;
pub(super) use word::{Word, word, words};
