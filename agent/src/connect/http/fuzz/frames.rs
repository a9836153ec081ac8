//! What is promised of HTTP/2, as the agent serves it and at the end of a tunnel: it ends, its heads are within their bound,
//! requests are the same however reads are split, and who asks a lot is not answered many times as much.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{
    runtime::Runtime,
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    frame_seeds,
    pieces::{Pieces, Splits, Written},
};
use crate::{
    config::HttpLimits,
    connect::{
        http::{HttpVersion, serve},
        tunnel,
    },
    fuzz::{Exercised, Mutator, Target, normalized},
};

/// A client's connection, whose frames follow each other.
#[derive(Debug)]
pub(crate) struct Frames(pub(crate) Runtime);

/// Longer than everything that the agent waits for: its clock stands still, so that nobody waits for it.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// How long the client waits for answers: h2 drops the requests that it has not handed out yet when a client is gone.
const HELD_OPEN: Duration = Duration::from_secs(1);

/// What may be answered to nothing, and to each byte: acknowledgements and windows are as long as what they answer.
const MOST_ANSWERED: usize = 4096;
const MOST_PER_BYTE: usize = 16;

/// Requests, in the order in which they came.
type Seen = Arc<Mutex<Vec<Asked>>>;

/// A request.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    head: String,
    /// The body's length, and whether it came to its end.
    body: Option<(usize, bool)>,
}

impl Target for Frames {
    fn exercise(&self, input: &[u8], rng: &mut Rng) -> Result<Exercised, String> {
        self.0.block_on(async {
            let splits = Splits::new(rng, input.len());
            let (served, ended) = both(input, &splits, server).await?;
            let (tunnelled, cut) = both(input, &splits, tunnel_end).await?;
            let heads = |asked: &[Asked]| asked.iter().take(3).map(Asked::way).collect::<Vec<_>>().join(", ");
            let ways = vec![format!("{ended}: {}", heads(&served)), format!("tunnel, {cut}: {}", heads(&tunnelled))];
            Ok(Exercised { accepted: served.len() + tunnelled.len(), ways })
        })
    }

    fn mutator(&self) -> &Mutator {
        &MUTATOR
    }

    fn seeds(&self, kept: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        [frame_seeds::seeds(), kept].concat()
    }
}

/// Serves the bytes whole and in pieces. What is seen of them is the same, up to where an error ends one of the two earlier.
async fn both<F>(input: &[u8], splits: &Splits, serve: impl Fn(Pieces) -> F) -> Result<(Vec<Asked>, String), String>
where
    F: Future<Output = Result<(Vec<Asked>, String), String>>,
{
    let (whole, ended) = bounded(input, None, &serve).await?;
    let (split, split_ended) = bounded(input, Some(splits.clone()), &serve).await?;
    let is_same = whole.iter().zip(&split).all(|(one, other)| one.may_be(other));
    // Who says goodbye is not waited for: h2 then drops requests that it has read and not handed out yet.
    let both_whole = ended == OK && split_ended == OK && !frame_seeds::has(frame_seeds::GOAWAY, input);
    match is_same && (whole.len() == split.len() || !both_whole) {
        true => Ok((whole, ended)),
        false => Err(format!("{whole:?}, {ended} when read whole, and {split:?}, {split_ended} when split")),
    }
}

async fn bounded<F>(
    input: &[u8],
    splits: Option<Splits>,
    serve: impl Fn(Pieces) -> F,
) -> Result<(Vec<Asked>, String), String>
where
    F: Future<Output = Result<(Vec<Asked>, String), String>>,
{
    let pieces = Pieces::new(input, splits).held_open(HELD_OPEN);
    let written: Written = pieces.written();
    let seen = timeout(FOR_EVER, serve(pieces)).await.map_err(|_| "it waits for ever".to_owned())??;
    let (answered, most) = (written.lock().len(), MOST_ANSWERED + input.len() * MOST_PER_BYTE);
    match answered > most {
        true => Err(format!("{answered} bytes are the answer to {}", input.len())),
        false => Ok(seen),
    }
}

/// As the agent serves requests.
async fn server(pieces: Pieces) -> Result<(Vec<Asked>, String), String> {
    let (seen, broken) = (Seen::default(), Arc::new(Mutex::new(None)));
    let (_alive, draining) = watch::channel(false);
    let (asked, found) = (Arc::clone(&seen), Arc::clone(&broken));
    let served = serve(pieces, HttpVersion::Http2, HttpLimits::default(), draining, move |request| {
        let (seen, broken) = (Arc::clone(&asked), Arc::clone(&found));
        async move {
            if let Err(problem) = answer(request, &seen).await {
                *broken.lock() = Some(problem);
            }
            Response::new(Empty::<Bytes>::new())
        }
    });
    let ended = served.await.result.map_or_else(|error| error.to_string(), |()| OK.to_owned());
    // What was handed out last may not have begun.
    sleep(HELD_OPEN).await;
    if let Some(problem) = broken.lock().take() {
        return Err(problem);
    }
    let seen = seen.lock().clone();
    Ok((seen, ended))
}

async fn answer(request: Request<Incoming>, seen: &Seen) -> Result<(), String> {
    let (mut parts, mut body) = request.into_parts();
    within(&parts.headers, HttpLimits::default().max_header_bytes)?;
    let head = format!("{} {}, {} headers", parts.method, parts.uri, parts.headers.len());
    // One that is not for a host is answered all the same.
    drop(normalized(&mut parts)?);
    let place = enter(seen, head);
    let (mut length, mut whole) = (0, true);
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => length += frame.data_ref().map_or(0, Bytes::len),
            // It is told again for as long as anybody asks.
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    seen.lock()[place].body = Some((length, whole));
    Ok(())
}

/// As a tunnel's server takes streams.
async fn tunnel_end(pieces: Pieces) -> Result<(Vec<Asked>, String), String> {
    let Ok(mut connection) = tunnel::http2().handshake::<_, Bytes>(pieces).await else {
        return Ok((Vec::new(), "no handshake".to_owned()));
    };
    let (seen, mut ended) = (Seen::default(), OK.to_owned());
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                ended = error.to_string();
                break;
            }
        };
        within(request.headers(), tunnel::MAX_HEADER_LIST)?;
        let to = tunnel::authority(&request);
        let refused = !matches!(to, Some(Ok(_)));
        enter(&seen, format!("{} {to:?}", request.method()));
        // What is still to come of a body is nobody's: it is dropped with the request.
        let _ = respond.send_response(Response::new(()), refused);
    }
    let seen = seen.lock().clone();
    Ok((seen, ended))
}

fn enter(seen: &Seen, head: String) -> usize {
    let mut seen = seen.lock();
    seen.push(Asked { head, body: None });
    seen.len() - 1
}

/// RFC 9113, section 6.5.2: names, values, and 32 bytes for each.
fn within(headers: &HeaderMap, bound: u32) -> Result<(), String> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    match size > bound as usize {
        true => Err(format!("headers of {size} bytes passed, where {bound} are the most")),
        false => Ok(()),
    }
}

impl Asked {
    /// Whether both can be of one request: what was not read to its end may have been longer.
    fn may_be(&self, other: &Self) -> bool {
        let is_whole = |body: &Option<(usize, bool)>| body.is_some_and(|(_, whole)| whole);
        let both_whole = is_whole(&self.body) && is_whole(&other.body);
        self.head == other.head && (!both_whole || self.body == other.body)
    }

    fn way(&self) -> String {
        let method = self.head.split(' ').next().unwrap_or_default();
        let length = self.body.map(|(length, whole)| (length.checked_ilog2(), whole));
        format!("{method} {length:?}")
    }
}

const OK: &str = "well";

const MUTATOR: Mutator = Mutator {
    words: &WORDS,
    repeated: &[
        b"\0\0\0\0\0\0\0\0\x01",
        b"\0\0\x08\x06\0\0\0\0\0\x07\x07\x07\x07\x07\x07\x07\x07",
        b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    ],
    marks: b"\0\x01\x04",
    parts: frame_seeds::parts,
    most: 64 << 10,
};

const WORDS: [&[u8]; 26] = [
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\0\x01",
    b"\0\0\0\x03",
    b"\0\0\0\x02",
    // Frames: SETTINGS with each kind of value, PING, RST_STREAM, PRIORITY, WINDOW_UPDATE, GOAWAY, PUSH_PROMISE, unknown.
    b"\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff",
    b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0",
    b"\0\0\x06\x04\0\0\0\0\0\0\x06\0\0\0\x01",
    b"\0\0\0\x04\x01\0\0\0\0",
    b"\0\0\x08\x06\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\0\x05\x02\0\0\0\0\x03\0\0\0\x01\x10",
    b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff",
    b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\0",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\0\0\x04\x05\x04\0\0\0\x01\0\0\0\x02",
    b"\0\0\0\x63\0\0\0\0\0",
    b"\0\0\0\0\x01\0\0\0\x01",
    // Of HPACK: the static table, a table of no size, a long integer, a Huffman text.
    b"\x82\x86\x84",
    b"\x20",
    b"\x3f\xe1\xff\xff\xff\x0f",
    b"\x00\x0atransfer-e\x01x",
    b"\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
    b"\x00\x04host\x01b",
];
