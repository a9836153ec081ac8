//! What to begin with: requests of every kind, those of the guard's tests, ClientHellos, and how other protocols begin.

use crate::connect::http::guard::smuggled;

/// The same in every run.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let smuggled = smuggled::heads().into_iter().chain(smuggled::bodies()).map(|(request, _)| request.into_bytes());
    let requests = REQUESTS.iter().map(|request| request.as_bytes().to_vec());
    let others = OTHERS.iter().map(|bytes| bytes.to_vec());
    requests.chain(counted()).chain(smuggled).chain(hellos()).chain(others).collect()
}

const REQUESTS: [&str; 17] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /x?y=z HTTP/1.0\r\n\r\n",
    "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    "\r\nHEAD http://a:80/ HTTP/1.1\r\nhost:a:80\r\nAccept: */*\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t05 \r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
    "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n000a;b=\"c\"\r\n0123456789\r\n1\r\nx\r\n00;x\r\n\
     t: 1\r\nu:\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n\x16\x03\x01",
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\u{1}\u{2}\nno http",
    "POST /ws HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "DELETE /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc\
     GET /c HTTP/1.1\r\nHost: c\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\nY:\r\nZ: \t a b \r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\nx",
];

const OTHERS: [&[u8]; 7] = [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"PRI /x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"EHLO mail\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"SSH-2.0-x\r\n",
    b"",
];

/// Near the bounds: of headers, of trailers, of extensions, of heads, of a target that is sniffed.
fn counted() -> Vec<Vec<u8>> {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n";
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let inputs = [
        format!("{head}{}\r\n", "a:\r\n".repeat(99)),
        format!("{head}{}\r\n", "a:\r\n".repeat(100)),
        format!("{chunked}0\r\n{}\r\n{head}\r\n", "a:\r\n".repeat(100)),
        format!("{chunked}0\r\n{}\r\n{head}\r\n", "a:\r\n".repeat(101)),
        format!("{chunked}{}0\r\n\r\n", "1\r\nx\r\n".repeat(300)),
        format!("{chunked}1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(4096)),
        format!("{head}X: {}\r\n\r\n", "x".repeat(60 << 10)),
        format!("{head}X: {}\r\n\r\n", "x".repeat(990)),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(80)),
        format!("GET {}:80 HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(300)),
    ];
    inputs.map(String::into_bytes).into()
}

/// ClientHellos without anything random: whole, in two records, in many, without a name, and longer than is read.
fn hellos() -> Vec<Vec<u8>> {
    let named = hello(Some("Cart.Example"), 200);
    let longest = hello(Some("cart.example"), (16 << 10) + 1);
    let records = [(&named, 5000), (&named, 100), (&named, 1), (&longest, 16 << 10)];
    let records = records.map(|(message, size)| in_records(message, size));
    records.into_iter().chain([in_records(&hello(None, 0), 5000)]).collect()
}

/// A handshake message, RFC 8446, 4.1.2, with this much padding (RFC 7685).
fn hello(name: Option<&str>, padding: usize) -> Vec<u8> {
    let name = name.map(|name| extension(0, &sized(&[&[0], &sized(name.as_bytes())[..]].concat())));
    let padding = extension(21, &vec![0; padding]);
    let extensions = [name.unwrap_or_default(), extension(16, b"\0\x03\x02h2"), padding].concat();
    let until_extensions = [&[3, 3][..], &[7; 32], &[0], &[0, 2, 0x13, 1], &[1, 0]].concat();
    let body = [until_extensions, sized(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    [&[1], &length[1..], &body].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(value)].concat()
}

/// A value after its length in two bytes.
fn sized(value: &[u8]) -> Vec<u8> {
    [&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes()[..], value].concat()
}

fn in_records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[0x16, 3, 1][..], &sized(part)].concat()).collect()
}
