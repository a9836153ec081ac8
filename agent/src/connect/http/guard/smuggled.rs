//! Requests that two readers could frame differently, and why the guard refuses each: for its tests, and to begin with where
//! inputs are searched that break its promises.

use super::{Refused, Refused as R};

/// Heads that are refused, some with what follows them.
pub(in crate::connect::http) fn heads() -> Vec<(String, Refused)> {
    let post = |headers: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n0\r\n\r\n");
    let get = |headers: &str| format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n");
    vec![
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked"), R::BothLengths),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5"), R::BothLengths),
        (post("Content-Length: 5\r\nContent-Length: 5"), R::ContentLength),
        (post("Content-Length: 5\r\nContent-Length: 6"), R::ContentLength),
        (post("Content-Length: 5, 5"), R::ContentLength),
        (post("Content-Length: +5"), R::ContentLength),
        (post("Content-Length: -5"), R::ContentLength),
        (post("Content-Length: 0x5"), R::ContentLength),
        (post("Content-Length: 5 5"), R::ContentLength),
        (post("Content-Length:"), R::ContentLength),
        (post("Content-Length: 18446744073709551621"), R::ContentLength),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), R::TransferEncoding),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"), R::TransferEncoding),
        (post("Transfer-Encoding: gzip, chunked"), R::TransferEncoding),
        (post("Transfer-Encoding: xchunked"), R::TransferEncoding),
        (post("Transfer-Encoding: identity"), R::TransferEncoding),
        (post("Transfer-Encoding: \"chunked\""), R::TransferEncoding),
        (post("Transfer-Encoding: chunked;q=1"), R::TransferEncoding),
        (post("Transfer-Encoding: ,chunked"), R::TransferEncoding),
        (post("Transfer-Encoding : chunked"), R::HeaderName),
        (post("Transfer-Encoding\t: chunked"), R::HeaderName),
        (post("Transfer-Encoding: \x0bchunked"), R::ControlByte),
        (post("Transfer-Encoding: chunked\x00"), R::ControlByte),
        (post("X: y\r\n Transfer-Encoding: chunked"), R::FoldedLine),
        (post("Transfer-Encoding:\r\n chunked"), R::TransferEncoding),
        (post("X: y\nTransfer-Encoding: chunked"), R::BareLineEnd),
        (post("X: y\rTransfer-Encoding: chunked"), R::BareLineEnd),
        (post("X y"), R::HeaderName),
        (post(": y"), R::HeaderName),
        (post("X\u{e9}: y"), R::HeaderName),
        (get("X: y"), R::Host),
        (get("Host: a\r\nHost: a"), R::Host),
        (get("Host: a, b"), R::Host),
        (get("Host: a/b"), R::Host),
        (get("Host: u@a"), R::Host),
        (get("Host:"), R::Host),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), R::TransferEncoding),
        ("GET /\r\n\r\n".to_owned(), R::RequestLine),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), R::RequestLine),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), R::RequestLine),
        ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), R::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n".to_owned(), R::RequestLine),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".to_owned(), R::Version),
        ("GET / http/1.1\r\nHost: a\r\n\r\n".to_owned(), R::Version),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), R::Version),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), R::RequestLine),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), R::BareLineEnd),
    ]
}

/// Requests whose head passes, and whose chunks do not.
pub(in crate::connect::http) fn bodies() -> Vec<(String, Refused)> {
    let long = "x".repeat(5000);
    let chunks = [
        ("+1\r\nx\r\n0\r\n\r\n", R::Chunk),
        ("0x1\r\nx\r\n0\r\n\r\n", R::Chunk),
        (" 1\r\nx\r\n0\r\n\r\n", R::Chunk),
        ("1 \r\nx\r\n0\r\n\r\n", R::Chunk),
        ("\r\n0\r\n\r\n", R::Chunk),
        (";a\r\n\r\n", R::Chunk),
        ("1\nx\r\n0\r\n\r\n", R::Chunk),
        ("1\r\nxy\r\n0\r\n\r\n", R::Chunk),
        ("1\r\nx\n0\r\n\r\n", R::Chunk),
        ("00000000000000001\r\nx\r\n0\r\n\r\n", R::Chunk),
        ("1;a\nx\r\n0\r\n\r\n", R::ChunkMetadata),
        ("1;a\rx\r\n0\r\n\r\n", R::Chunk),
        ("1;\0\r\nx\r\n0\r\n\r\n", R::ChunkMetadata),
        (&format!("1;{long}\r\nx\r\n0\r\n\r\n"), R::ChunkMetadata),
        (&format!("0\r\na: {long}{long}\r\n\r\n"), R::ChunkMetadata),
        ("0\r\n a: b\r\n\r\n", R::ChunkMetadata),
        ("0\r\na : b\r\n\r\n", R::ChunkMetadata),
        ("0\r\na: b\n\r\n", R::ChunkMetadata),
        ("0\r\n\n", R::ChunkMetadata),
    ];
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    chunks.map(|(chunks, reason)| (format!("{head}{chunks}"), reason)).into()
}
