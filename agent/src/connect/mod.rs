//! Step 6: open the way and move the bytes.

mod application;
pub mod http;
mod open;
mod relay;
pub mod tunnel;

pub use application::{ApplicationError, dial_application};
pub use open::{ConnectError, Opened, Opener};
pub use relay::{RelayError, Side, Upstream, relay, relay_inbound, reset_on_close};
