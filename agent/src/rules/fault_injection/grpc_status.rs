//! Status codes of gRPC that are errors, by the names that its specification gives them.

use crate::rules::value::words;

words! {
    /// An error of gRPC. The codes are those of gRPC's `statuscodes.md`; see [`GrpcStatus::code`].
    GrpcStatus {
        /// The caller gave up.
        Cancelled = "CANCELLED",
        /// Nobody knows.
        Unknown = "UNKNOWN",
        /// Wrong in any state.
        InvalidArgument = "INVALID_ARGUMENT",
        /// Too late.
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        /// Not there.
        NotFound = "NOT_FOUND",
        /// There already.
        AlreadyExists = "ALREADY_EXISTS",
        /// Not allowed.
        PermissionDenied = "PERMISSION_DENIED",
        /// Used up.
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        /// Wrong in this state.
        FailedPrecondition = "FAILED_PRECONDITION",
        /// In conflict with something else.
        Aborted = "ABORTED",
        /// Past the end.
        OutOfRange = "OUT_OF_RANGE",
        /// Not supported.
        Unimplemented = "UNIMPLEMENTED",
        /// Broken.
        Internal = "INTERNAL",
        /// Not there at the moment.
        Unavailable = "UNAVAILABLE",
        /// Data were lost.
        DataLoss = "DATA_LOSS",
        /// Nobody known.
        Unauthenticated = "UNAUTHENTICATED",
    }
}

impl GrpcStatus {
    /// The number on the wire, from 1 to 16: the variants are in its order, and 0 is success.
    pub fn code(self) -> u8 {
        self as u8 + 1
    }
}
