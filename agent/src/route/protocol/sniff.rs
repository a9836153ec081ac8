//! What a client's first bytes are: HTTP/1, HTTP/2 with prior knowledge, a TLS ClientHello, or something else.
//!
//! In: all that has come so far, of any length and by anyone. Decided as early as it is certain; what is asked for more is
//! never more than the bounds below. It does not judge: a malformed HTTP request is HTTP.

/// The client's part of HTTP/2's start, RFC 9113, 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Methods in use have up to 17 characters (VERSION-CONTROL, BASELINE-CONTROL).
const LONGEST_METHOD: usize = 24;
/// A ClientHello with post-quantum key shares has about 2 KiB; what is longer than this is refused.
const LONGEST_HELLO: usize = 16 << 10;
/// A record's content and its header, RFC 8446, 5.1.
const LONGEST_RECORD: usize = 16 << 10;
const RECORD_HEADER: usize = 5;
/// Of a target, before the colon that makes it one.
const LONGEST_HOST: usize = 256;

/// As many bytes can be too few for [`sniff`]: an empty line, a method, a space and a host.
pub const MOST_UNDECIDED: usize = 2 + LONGEST_METHOD + 1 + LONGEST_HOST;
/// As many bytes can be too few for [`server_name`]: a ClientHello and its header, each byte in a record of its own.
pub const MOST_UNNAMED: usize = (LONGEST_HELLO + 4) * (RECORD_HEADER + 1);

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniffed {
    /// Too few to tell.
    More,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// A TLS handshake; [`server_name`] tells for whom.
    Tls,
    /// None of these.
    Opaque,
}

/// A ClientHello is not whole yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's first TLS message is not whole yet")]
pub struct NeedMore;

/// What a connection that begins with these bytes speaks.
pub fn sniff(prefix: &[u8]) -> Sniffed {
    match prefix {
        [] => Sniffed::More,
        // A handshake record of TLS 1.x with a ClientHello in it.
        [0x16] | [0x16, 3] | [0x16, 3, _] | [0x16, 3, _, _] | [0x16, 3, _, _, _] => Sniffed::More,
        [0x16, 3, 0..=4, _, _, 1, ..] => Sniffed::Tls,
        prefix if prefix.starts_with(PREFACE) => Sniffed::Http2,
        prefix if PREFACE.starts_with(prefix) => Sniffed::More,
        // RFC 9113, 3.4: the method is kept for the preface, and no request has it.
        prefix if prefix.starts_with(b"PRI ") => Sniffed::Opaque,
        prefix => http1(prefix),
    }
}

/// `METHOD SP` and how a target begins: `/`, `*`, a scheme or, of CONNECT, an authority.
fn http1(prefix: &[u8]) -> Sniffed {
    // RFC 9112, 2.2: empty lines before a request are ignored.
    let prefix = prefix.strip_prefix(b"\r\n").unwrap_or(prefix);
    if prefix.is_empty() || prefix == b"\r" {
        return Sniffed::More;
    }
    let is_method = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-' || *byte == b'_';
    let method = prefix.iter().take_while(|byte| is_method(byte)).count();
    if method > LONGEST_METHOD {
        return Sniffed::Opaque;
    }
    match &prefix[method..] {
        [] | [b' '] => {
            if method > 0 {
                Sniffed::More
            } else {
                Sniffed::Opaque
            }
        }
        [b' ', b'/' | b'*', ..] if method > 0 => Sniffed::Http1,
        [b' ', byte, ..] if method > 0 && (byte.is_ascii_alphanumeric() || *byte == b'[') => {
            text_target(&prefix[method + 1..])
        }
        _ => Sniffed::Opaque,
    }
}

/// A target in absolute or authority form has a colon after its scheme or host: other text protocols say `VERB word`.
fn text_target(target: &[u8]) -> Sniffed {
    // As if no more had come at once: what is seen with it must not change the answer.
    let target = &target[..target.len().min(LONGEST_HOST + 1)];
    match target.iter().position(|byte| *byte == b':' || !byte.is_ascii_graphic()) {
        Some(end) if target[end] == b':' => Sniffed::Http1,
        None if target.len() <= LONGEST_HOST => Sniffed::More,
        _ => Sniffed::Opaque,
    }
}

/// The host name that a TLS client asks for, in lower case: of its ClientHello, however many records that is split into.
/// None where it names none, or what it sent is no well formed ClientHello.
///
/// # Errors
/// There is more to come, at most 16 KiB and the headers of its records.
pub fn server_name(bytes: &[u8]) -> Result<Option<String>, NeedMore> {
    let Some(hello) = hello(bytes)? else { return Ok(None) };
    Ok(name_of(&hello).filter(|name| is_host(name)).map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()))
}

/// The handshake message, joined from its records, without its header.
fn hello(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, NeedMore> {
    let mut message = Vec::new();
    loop {
        let Some((header, rest)) = bytes.split_at_checked(RECORD_HEADER) else { return Err(NeedMore) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != 0x16 || header[1] != 3 || length == 0 || length > LONGEST_RECORD {
            return Ok(None);
        }
        let whole = rest.len() >= length;
        message.extend_from_slice(&rest[..length.min(rest.len())]);
        if let [kind, a, b, c, body @ ..] = message.as_slice() {
            let wanted = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if *kind != 1 || wanted > LONGEST_HELLO {
                return Ok(None);
            }
            if body.len() >= wanted {
                return Ok(Some(body[..wanted].to_vec()));
            }
        }
        if !whole {
            return Err(NeedMore);
        }
        bytes = &rest[length..];
    }
}

/// The first host name of the `server_name` extension, RFC 6066, 3.
fn name_of(hello: &[u8]) -> Option<&[u8]> {
    const VERSION_AND_RANDOM: usize = 34;
    let mut rest = hello.get(VERSION_AND_RANDOM..)?;
    let (_session, after) = short(rest)?;
    let (_suites, after) = long(after)?;
    let (_compressions, after) = short(after)?;
    (rest, _) = long(after)?;
    while let [a, b, after @ ..] = rest {
        let (value, after) = long(after)?;
        if (*a, *b) == (0, 0) {
            let (list, _) = long(value)?;
            let [0, name @ ..] = list else { return None };
            return long(name).map(|(name, _)| name);
        }
        rest = after;
    }
    None
}

/// A value after its length in one byte, and what follows it.
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// A value after its length in two bytes, and what follows it.
fn long(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([a, b], rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes([*a, *b])))
}

fn is_host(name: &[u8]) -> bool {
    (1..=253).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn told_as_early_as_it_is_certain_and_never_otherwise_with_more_bytes() {
        for (bytes, decided_at, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], 5, Sniffed::Http1),
            (b"\r\nPOST /x HTTP/1.1\r\n", 8, Sniffed::Http1),
            (b"OPTIONS * HTTP/1.1", 9, Sniffed::Http1),
            (b"CONNECT a.example:443 HTTP/1.1", 18, Sniffed::Http1),
            (b"GET http://a/ HTTP/1.1", 9, Sniffed::Http1),
            (b"PRI /x HTTP/1.1", 5, Sniffed::Opaque),
            (PREFACE, PREFACE.len(), Sniffed::Http2),
            (b"\x16\x03\x01\x02\x00\x01\x00", 6, Sniffed::Tls),
            (b"\x16\x03\x01\x02\x00\x02\x00", 6, Sniffed::Opaque),
            (b"EHLO mail\r\n", 10, Sniffed::Opaque),
            (b"*1\r\n$4\r\nPING\r\n", 1, Sniffed::Opaque),
            (b"\0\0\0\x08", 1, Sniffed::Opaque),
            (b" / ", 1, Sniffed::Opaque),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 25, Sniffed::Opaque),
        ] {
            for length in 0..=bytes.len() {
                let wanted = if length < decided_at { Sniffed::More } else { expected };
                assert_eq!(sniff(&bytes[..length]), wanted, "{length} of {:?}", String::from_utf8_lossy(bytes));
            }
        }
    }

    #[test]
    fn a_colon_that_comes_too_late_makes_no_target_however_much_is_seen_at_once() {
        let longest = format!("GET {}:80 HTTP/1.1", "x".repeat(LONGEST_HOST));
        let longer = format!("GET {}:80 HTTP/1.1", "x".repeat(LONGEST_HOST + 1));
        assert_eq!(sniff(longest.as_bytes()), Sniffed::Http1);
        for length in LONGEST_HOST + 5..=longer.len() {
            assert_eq!(sniff(&longer.as_bytes()[..length]), Sniffed::Opaque, "{length}");
        }
    }

    /// What rustls sends.
    fn client_hello(name: &'static str) -> Vec<u8> {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        let name = name.try_into().unwrap();
        let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_name_is_read_from_any_split_into_records_and_only_when_the_hello_is_whole() {
        let hello = client_hello("Cart.Example");
        assert_eq!(sniff(&hello), Sniffed::Tls);
        for size in [1, 7, 100, hello.len()] {
            let records = hello[RECORD_HEADER..].chunks(size);
            let records: Vec<u8> = records
                .flat_map(|part| [&[0x16, 3, 1], &u16::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat())
                .collect();
            assert_eq!(server_name(&records), Ok(Some("cart.example".to_owned())));
            assert!((0..records.len()).all(|length| server_name(&records[..length]) == Err(NeedMore)));
        }
    }

    #[test]
    fn a_client_that_dials_an_address_names_nobody() {
        assert_eq!(server_name(&client_hello("10.0.0.1")), Ok(None));
    }

    #[test]
    fn changed_hellos_neither_panic_nor_ask_for_more_without_end() {
        let (hello, mut rng) = (client_hello("cart.example"), fastrand::Rng::with_seed(1));
        for _ in 0..20_000 {
            let mut changed = hello.clone();
            for _ in 0..rng.usize(1..4) {
                let index = rng.usize(..changed.len());
                changed[index] = rng.u8(..);
            }
            changed.resize(40 << 10, 0);
            let name = server_name(&changed);
            assert!(name.is_ok_and(|name| name.is_none_or(|name| is_host(name.as_bytes()))));
        }
    }
}
