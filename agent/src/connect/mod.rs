//! Step 6: open the way and move the bytes.

mod application;
mod growing_buffer;
pub mod http;
mod open;
mod relay;
pub mod tunnel;
mod visible;
mod wire;

pub use application::{ApplicationError, dial_application};
pub use open::{ConnectError, Opened, Opener};
pub use relay::{RelayError, Side, close_orderly, relay, reset_on_close};
pub use visible::VisibleWire;
pub use wire::{Wire, look_at};
