//! The scenarios of `cargo xtask chaos`, each for a few seconds, and proof that what they check can fail.
//!
//! A failure says with which seed it came; `cargo xtask chaos --scenario NAME --seed N` plays it again, for longer.

mod noticed;
mod scenarios;
