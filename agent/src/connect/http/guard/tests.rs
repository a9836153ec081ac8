//! The guard alone, under any split of what it reads; and under hyper, for what a client is answered.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// What passes of these bytes, when read in pieces.
async fn passed(bytes: &[u8], rng: &mut Rng) -> (Vec<u8>, Option<Refused>) {
    let (mut client, server) = duplex(256 << 10);
    let (mut guard, handle) = RequestGuard::new(server, GuardLimits::default());
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rng.usize(1..=rest.len().min(40)));
        client.write_all(now).await.unwrap();
        rest = later;
        read_some(&mut guard, &mut out, rng).await;
    }
    drop(client);
    // Awaited: tokio makes who reads often without waiting wait now and then.
    while let Ok(1..) = guard.read_buf(&mut out).await {}
    (out, handle.refused())
}

/// Reads what there is in one piece.
async fn read_some(guard: &mut RequestGuard<DuplexStream>, out: &mut Vec<u8>, rng: &mut Rng) {
    let mut piece = vec![0; rng.usize(1..=64)];
    let read = std::future::poll_fn(|context| {
        let mut buffer = ReadBuf::new(&mut piece);
        Poll::Ready(match Pin::new(&mut *guard).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => Some(buffer.filled().len()),
            Poll::Ready(Err(_)) => None,
            Poll::Pending => Some(0),
        })
    });
    let read = read.await.unwrap_or_default();
    out.extend_from_slice(&piece[..read]);
    tokio::task::yield_now().await;
}

/// A stream of requests that are valid, and the bytes of their bodies.
fn valid_stream(rng: &mut Rng) -> (Vec<u8>, Vec<usize>) {
    let (mut stream, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..rng.usize(1..5) {
        let length = if rng.bool() { 0 } else { rng.usize(0..300) };
        let body: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        bodies.push(length);
        if rng.bool() {
            stream.extend(format!("POST /x HTTP/1.1\r\nhost:a:80\r\nContent-Length:\t{length} \r\n\r\n").bytes());
            stream.extend(body);
            continue;
        }
        stream.extend(b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nX: \xe9\t\r\nTransfer-Encoding: Chunked\r\n\r\n");
        for chunk in body.chunks(rng.usize(1..100)) {
            let extension = if rng.bool() { ";a=\"b\"" } else { "" };
            stream.extend(format!("{:0width$X}{extension}\r\n", chunk.len(), width = rng.usize(1..17)).bytes());
            stream.extend(chunk);
            stream.extend(b"\r\n");
        }
        stream.extend(if rng.bool() { &b"0\r\n\r\n"[..] } else { b"000;x\r\nt: 1\r\nu:\r\n\r\n" });
    }
    (stream, bodies)
}

#[tokio::test]
async fn valid_requests_pass_byte_by_byte_as_they_are() {
    let mut rng = Rng::with_seed(1);
    for _ in 0..400 {
        let (stream, _) = valid_stream(&mut rng);
        assert_eq!(passed(&stream, &mut rng).await, (stream, None));
    }
}

#[tokio::test]
async fn a_changed_stream_is_judged_alike_under_any_split() {
    let mut rng = Rng::with_seed(2);
    let (mut refused, mut whole) = (0, 0);
    for _ in 0..600 {
        let (mut stream, _) = valid_stream(&mut rng);
        let index = rng.usize(..stream.len());
        stream[index] = *rng.choice(b"\r\n\t :;,0aF\0+-xHTu").unwrap();
        let once = passed(&stream, &mut rng).await;
        assert_eq!(passed(&stream, &mut rng).await.1, once.1, "{:?}", String::from_utf8_lossy(&stream));
        *(if once.1.is_some() { &mut refused } else { &mut whole }) += 1;
    }
    assert!(refused > 50 && whole > 50, "{refused} refused, {whole} not");
}

/// Serves these bytes; the bodies' lengths that the service saw (none where reading failed), and what the client got.
async fn served(bytes: &[u8]) -> (Vec<Option<usize>>, String) {
    let (client, server) = duplex(256 << 10);
    let (guard, handle) = RequestGuard::new(server, GuardLimits::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let by_service = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, in_flight) = (Arc::clone(&by_service), handle.request());
        let handle = handle.clone();
        async move {
            let switches = request.headers().contains_key("upgrade");
            let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
            if switches {
                handle.decline_switch();
            }
            let status = if body.is_ok() { 200 } else { 400 };
            seen.lock().push(body.ok());
            drop(in_flight);
            Ok::<_, Infallible>(Response::builder().status(status).body(Empty::<Bytes>::new()).unwrap())
        }
    });
    let (mut answers, mut sending) = tokio::io::split(client);
    let bytes = bytes.to_vec();
    let send = async move {
        sending.write_all(&bytes).await.ok();
        sending.shutdown().await.ok();
    };
    let mut text = Vec::new();
    let serve = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(guard), service);
    let _ended = tokio::join!(serve, send, answers.read_to_end(&mut text));
    let seen = std::mem::take(&mut *seen.lock());
    (seen, String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn hyper_sees_the_requests_and_bodies_that_the_guard_saw() {
    let mut rng = Rng::with_seed(3);
    for _ in 0..100 {
        let (stream, bodies) = valid_stream(&mut rng);
        let seen: Option<Vec<usize>> = served(&stream).await.0.into_iter().collect();
        assert_eq!(seen, Some(bodies), "{:?}", String::from_utf8_lossy(&stream));
    }
}

#[tokio::test]
async fn heads_that_two_readers_could_frame_differently_are_answered_with_400_and_a_close() {
    for (bad, reason) in smuggled::heads() {
        let (_, refused) = passed(bad.as_bytes(), &mut Rng::with_seed(4)).await;
        assert_eq!(refused, Some(reason), "{bad:?}");
        // The request before it is served, and nothing that comes after it.
        let (seen, answers) = served(format!("{GET}{bad}{GET}").as_bytes()).await;
        assert_eq!(seen, [Some(0)], "{bad:?}");
        let answers: Vec<_> = answers.lines().filter(|line| line.starts_with("HTTP/1.1 ")).collect();
        assert_eq!(answers, ["HTTP/1.1 200 OK", "HTTP/1.1 400 Bad Request"], "{bad:?}");
    }
}

#[tokio::test]
async fn chunks_that_two_readers_could_frame_differently_fail_the_body_and_hide_what_follows() {
    for (request, reason) in smuggled::bodies() {
        let request = format!("{request}{GET}");
        let (_, refused) = passed(request.as_bytes(), &mut Rng::with_seed(5)).await;
        assert_eq!(refused, Some(reason), "{request:?}");
        assert_eq!(served(request.as_bytes()).await.0, [None], "{request:?}");
    }
}

#[tokio::test]
async fn a_head_is_too_long_whatever_comes_after_its_longest() {
    // Read in one piece with what is within the limit, or after it.
    for rest in ["\0", "\n", "\r\n\r\n"] {
        let head = format!("{}{rest}", "x".repeat(GuardLimits::default().max_head));
        for seed in 0..20 {
            let (_, refused) = passed(head.as_bytes(), &mut Rng::with_seed(seed)).await;
            assert_eq!(refused, Some(Refused::HeadTooLong), "{rest:?}");
        }
        let (mut guard, handle) = RequestGuard::new(head.as_bytes(), GuardLimits::default());
        guard.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(handle.refused(), Some(Refused::HeadTooLong), "{rest:?}");
    }
}

#[tokio::test]
async fn trailers_pass_up_to_as_many_as_hyper_takes() {
    for (trailers, expected, reason) in [(100, Some(1), None), (101, None, Some(Refused::ChunkMetadata))] {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let request = format!("{head}1\r\nx\r\n0\r\n{}\r\n", "a:\r\n".repeat(trailers));
        assert_eq!(passed(request.as_bytes(), &mut Rng::with_seed(6)).await.1, reason, "{trailers}");
        assert_eq!(served(request.as_bytes()).await.0, [expected], "{trailers}");
    }
}

#[tokio::test]
async fn heads_that_are_too_long_are_answered_with_431() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(61 << 10));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
    let endless = format!("GET /{}", "x".repeat(200 << 10));
    for head in [long, many, endless] {
        let (seen, answers) = served(head.as_bytes()).await;
        assert!(seen.is_empty() && answers.starts_with("HTTP/1.1 431 "), "{answers}");
    }
}

fn guarded() -> (DuplexStream, RequestGuard<DuplexStream>, GuardHandle) {
    let (client, server) = duplex(4096);
    let (guard, handle) = RequestGuard::new(server, GuardLimits::default());
    (client, guard, handle)
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn what_follows_an_upgrade_waits_for_the_service_and_passes_as_it_is_when_accepted() {
    let (mut client, mut guard, handle) = guarded();
    client.write_all(format!("{UPGRADE}\0\n not http").as_bytes()).await.unwrap();
    let mut bytes = vec![0; UPGRADE.len()];
    guard.read_exact(&mut bytes).await.unwrap();
    let early = tokio::time::timeout(Duration::from_secs(3600), guard.read_u8()).await;
    assert!(early.is_err());
    handle.accept_switch();
    drop(client);
    let mut rest = Vec::new();
    guard.read_to_end(&mut rest).await.unwrap();
    assert_eq!((rest.as_slice(), handle.refused()), (&b"\0\n not http"[..], None));
}

#[tokio::test]
async fn what_follows_a_declined_upgrade_is_judged_as_a_request() {
    let (seen, _) = served(format!("{UPGRADE}{GET}").as_bytes()).await;
    assert_eq!(seen, [Some(0), Some(0)]);
    let (seen, answers) = served(format!("{UPGRADE}\0\n not http").as_bytes()).await;
    assert_eq!(seen, [Some(0)]);
    assert!(answers.contains("HTTP/1.1 400 "), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_is_refused_after_ten_seconds() {
    let (mut client, mut guard, handle) = guarded();
    let trickle = async {
        for byte in GET.bytes() {
            if client.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let begun = Instant::now();
    let mut bytes = Vec::new();
    tokio::select! {
        () = trickle => unreachable!("the head was read to its end"),
        read = guard.read_to_end(&mut bytes) => read.unwrap(),
    };
    assert_eq!((bytes.as_slice(), handle.refused()), (ANSWERED_400, Some(Refused::HeadTimeout)));
    assert!((10..12).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_fails_after_a_minute() {
    let (mut client, mut guard, handle) = guarded();
    client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx").await.unwrap();
    let begun = Instant::now();
    let error = guard.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!((error.kind(), handle.refused()), (io::ErrorKind::TimedOut, Some(Refused::BodyTimeout)));
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_but_not_while_a_request_is_answered() {
    let (_client, mut guard, handle) = guarded();
    let begun = Instant::now();
    let in_flight = handle.request();
    let answer = async {
        tokio::time::sleep(Duration::from_secs(500)).await;
        drop(in_flight);
    };
    let mut bytes = Vec::new();
    let ((), read) = tokio::join!(answer, guard.read_to_end(&mut bytes));
    assert_eq!((read.unwrap(), handle.refused()), (0, None));
    assert!((590..=680).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}
