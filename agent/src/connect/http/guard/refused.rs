//! Why a connection's next request is not given to hyper.

/// Why the guard refused, as metrics and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A carriage return without a line feed, or the reverse.
    BareLineEnd,
    /// NUL or another control byte.
    ControlByte,
    /// A line that continues the one before it.
    FoldedLine,
    /// Not `method SP target SP version`.
    RequestLine,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A name that is no token, or a blank before its colon.
    HeaderName,
    /// No Host in HTTP/1.1, several, or one that is no host and port.
    Host,
    /// Several, a list, or not only digits.
    ContentLength,
    /// In HTTP/1.0, several, or other than exactly `chunked`.
    TransferEncoding,
    /// Content-Length and Transfer-Encoding in one request.
    BothLengths,
    /// Longer than the limit, or more headers than hyper takes.
    HeadTooLong,
    /// A chunk's size or line ends are not as RFC 9112 writes them.
    Chunk,
    /// Extensions or trailers of a chunked body are too long, too many or malformed.
    ChunkMetadata,
    /// A head that began was not complete in time.
    HeadTimeout,
    /// A body stood still.
    BodyTimeout,
}

impl Refused {
    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BareLineEnd => "bare_line_end",
            Self::ControlByte => "control_byte",
            Self::FoldedLine => "folded_line",
            Self::RequestLine => "request_line",
            Self::Version => "version",
            Self::HeaderName => "header_name",
            Self::Host => "host",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::BothLengths => "both_lengths",
            Self::HeadTooLong => "head_too_long",
            Self::Chunk => "chunk",
            Self::ChunkMetadata => "chunk_metadata",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the request's framing was refused: {}", self.as_str())
    }
}

impl std::error::Error for Refused {}
