//! What breaks a promise is noticed.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::{
    detection::Reader,
    guarded::Served,
    reference::{self, End},
    *,
};

#[test]
fn a_reader_that_changes_its_mind_or_never_decides_is_an_error() {
    let mut rng = Rng::with_seed(1);
    let fickle = Reader { name: "x", read: |bytes: &[u8]| Some(bytes.len() / 3).filter(|third| *third > 0), bound: 9 };
    let error = fickle.decide(b"12345678", 8, &mut rng).unwrap_err();
    assert_eq!(error, "x: 1 after 3 bytes, and Some(2) after 6");
    let undecided = Reader { name: "x", read: |_: &[u8]| None::<u8>, bound: 4 };
    assert_eq!(undecided.decide(b"1234", 8, &mut rng), Ok(None));
    assert_eq!(
        undecided.decide(b"12345", 8, &mut rng).unwrap_err(),
        "x: undecided after 5 bytes, of which 4 are enough"
    );
}

#[test]
fn the_plain_reader_takes_offence_at_what_must_not_pass() {
    for passed in [
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nx\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    ] {
        assert!(reference::read(passed.as_bytes(), false).is_err(), "{passed:?}");
    }
}

#[test]
fn other_requests_than_those_that_passed_are_an_error() {
    let two = "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nt: 1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let stream = reference::read(two.as_bytes(), false).unwrap();
    assert_eq!(stream.end, End::Between);
    let seen = |bodies: &[Option<usize>]| {
        let served = Served { bodies: bodies.to_vec(), statuses: Vec::new(), result: Ok(()) };
        served.is_of(&stream, None).is_ok()
    };
    assert!(seen(&[Some(2), Some(0)]));
    for other in [&[Some(2)][..], &[Some(1), Some(0)], &[Some(2), None], &[Some(2), Some(0), Some(0)], &[]] {
        assert!(!seen(other), "{other:?}");
    }
}
