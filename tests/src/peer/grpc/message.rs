//! The message of the service, both ways.

/// What is sent and what comes back.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Echo {
    /// What to send back.
    #[prost(string, tag = "1")]
    pub(super) text: String,
    /// How many messages a stream of answers has.
    #[prost(uint32, tag = "2")]
    pub(super) count: u32,
    /// The status to end with, if it is not 0.
    #[prost(uint32, tag = "3")]
    pub(super) code: u32,
    /// Milliseconds before each answer.
    #[prost(uint32, tag = "4")]
    pub(super) delay_ms: u32,
}

/// The path of a method.
pub(super) const UNARY: &str = "/heddle.test.Echo/Unary";
pub(super) const SERVER: &str = "/heddle.test.Echo/Server";
pub(super) const CLIENT: &str = "/heddle.test.Echo/Client";
pub(super) const BIDI: &str = "/heddle.test.Echo/Bidi";
