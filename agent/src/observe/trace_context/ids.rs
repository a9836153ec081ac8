//! Identifiers of traces and spans, as W3C Trace Context and B3 have them. Zero is none.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
};

/// Which trace; one of 64 bits (B3) has zeros before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// Which span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl TraceId {
    /// Reads 16 or 32 hexadecimal digits.
    pub(in crate::observe) fn parse(text: &str) -> Option<Self> {
        let fits = matches!(text.len(), 16 | 32) && is_hex(text);
        fits.then(|| u128::from_str_radix(text, 16).ok().and_then(NonZeroU128::new).map(Self)).flatten()
    }

    /// A new one. It need not be secret: clients may choose theirs.
    pub(super) fn random() -> Self {
        Self(NonZeroU128::new(fastrand::u128(..)).unwrap_or(NonZeroU128::MIN))
    }

    /// As OTLP carries it.
    pub(in crate::observe) fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// The half that is random in traces of 64 and of 128 bits.
    pub(super) fn low(self) -> u64 {
        // Cut on purpose.
        self.0.get() as u64
    }
}

impl SpanId {
    /// Reads 16 hexadecimal digits.
    pub(in crate::observe) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 16 && is_hex(text);
        fits.then(|| u64::from_str_radix(text, 16).ok().and_then(NonZeroU64::new).map(Self)).flatten()
    }

    /// A new one.
    pub(super) fn random() -> Self {
        Self(NonZeroU64::new(fastrand::u64(..)).unwrap_or(NonZeroU64::MIN))
    }

    /// As OTLP carries it.
    pub(in crate::observe) fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

/// `from_str_radix` takes a sign too.
fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
