//! How the authority can be told to misbehave.

use std::time::Duration;

/// What happens to one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered well, but late.
    Slow(Duration),
    /// It is never answered.
    Hang,
    /// It is refused with a status of gRPC.
    Status(u8, &'static str),
    /// It is refused by something before the authority, which knows no gRPC.
    Http(u16),
    /// It is answered, and the answer is of no use.
    Spoiled(Spoiled),
    /// The connection is cut before anything is answered.
    CutBeforeAnswer,
    /// The connection is cut in the middle of the answer.
    CutInAnswer,
    /// It is answered well, and the connection is closed by GOAWAY.
    GoAwayAfter,
    /// The connection is closed by GOAWAY, which says that the call was not looked at.
    GoAwayBefore,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoiled {
    /// It is no certificate.
    Garbage,
    /// The root is missing.
    NoRoot,
    /// The root is another than the one that signed.
    OtherRoot,
    /// The certificate is for another key.
    OtherKey,
    /// The certificate is for another identity.
    OtherName,
    /// The certificate has ended.
    Expired,
    /// It is larger than any chain.
    Huge,
}
